"""Sequences in rows of one tensor, and the states of some of their places."""

from __future__ import annotations

import torch

from twotower.nn.sequence_layout import as_prefixes, pad, take_states
from twotower.types import Prefixes, Ragged


def test_sequences_are_padded_with_zeros_behind() -> None:
    vectors_VD = torch.arange(1.0, 9.0).view(4, 2)
    padded_SLD = pad(vectors_VD, torch.tensor([0, 1, 1, 4]))
    assert padded_SLD.tolist() == [[[1, 2], [0, 0], [0, 0]], [[0, 0]] * 3, [[3, 4], [5, 6], [7, 8]]]


def test_no_sequences_and_empty_ones() -> None:
    assert pad(torch.empty(0, 2), torch.tensor([0])).shape == (0, 0, 2)
    assert pad(torch.empty(0, 2), torch.tensor([0, 0, 0])).shape == (2, 0, 2)


def test_the_gradient_of_each_vector_comes_back() -> None:
    vectors_VD = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda vectors: pad(vectors, torch.tensor([0, 2, 2, 5])), (vectors_VD,))


def test_states_of_rows_and_places() -> None:
    states_SLD = torch.arange(24.0).view(2, 3, 4)
    taken_BD = take_states(states_SLD, torch.tensor([1, 0, 1]), torch.tensor([2, 0, 2]))
    assert torch.equal(taken_BD, torch.stack([states_SLD[1, 2], states_SLD[0, 0], states_SLD[1, 2]]))


def test_a_ragged_column_is_all_of_its_rows() -> None:
    column = Ragged(torch.tensor([4, 5, 6]), torch.tensor([0, 2, 2, 3]))
    prefixes = as_prefixes(column)
    assert prefixes.sequence_of.tolist() == [0, 1, 2]
    assert prefixes.lengths.tolist() == [2, 0, 1]
    assert as_prefixes(prefixes) is prefixes
    again = prefixes.ragged()
    assert torch.equal(again.values, column.values)
    assert torch.equal(again.offsets, column.offsets)


def test_prefixes_one_by_one() -> None:
    column = Prefixes(
        Ragged(torch.tensor([4, 5, 6]), torch.tensor([0, 2, 3])), torch.tensor([0, 1, 0]), torch.tensor([2, 1, 0])
    )
    assert column.num_rows == 3
    assert column.ragged().values.tolist() == [4, 5, 6]
    assert column.ragged().offsets.tolist() == [0, 2, 3, 3]
    assert column.to("cpu").lengths.tolist() == [2, 1, 0]
