"""The mean is taken off, and no order of scores changes."""

from __future__ import annotations

import pytest
import torch

from twotower.errors import CorruptBundleError
from twotower.index.centring import Centring, centring_tensors, read_centring


def test_the_mean_and_the_longest_way_from_it() -> None:
    centring = Centring.of(torch.tensor([[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]]))
    assert (centring.centre_D.tolist(), centring.unit) == ([2.0, 5.0], 1.0)
    assert centring.apply(torch.tensor([[3.0, 5.0], [2.0, 4.0]])).tolist() == [[1.0, 0.0], [0.0, -1.0]]


def test_the_order_of_scores_stays() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors_ND = torch.randn(20_000, 9, generator=generator).double().float() + 7
    queries_BD = torch.randn(5, 9, generator=generator)
    centred_ND = torch.from_numpy(Centring.of(vectors_ND).apply(vectors_ND))
    best, other = (torch.topk(queries_BD.double() @ each.double().T, 20).indices for each in (vectors_ND, centred_ND))
    assert torch.equal(best, other)
    assert float(centred_ND.norm(dim=1).max()) == pytest.approx(1.0)
    assert float(centred_ND.double().mean(dim=0).abs().max()) < 1e-6


@pytest.mark.parametrize(("vectors", "unit"), [([[0.0, 0.0]], 1.0), ([[2.0, 2.0], [2.0, 2.0]], 1.0), ([[3e38], [-3e38]], 3e38)])
def test_vectors_without_a_length_and_huge_ones(vectors: list[list[float]], unit: float) -> None:
    centring = Centring.of(torch.tensor(vectors))
    assert centring.unit == pytest.approx(unit)
    assert torch.from_numpy(centring.apply(torch.tensor(vectors))).abs().max() <= 1


def test_no_vectors() -> None:
    centring = Centring.of(torch.empty(0, 3))
    assert (centring.centre_D.tolist(), centring.unit) == ([0.0, 0.0, 0.0], 1.0)


def test_it_is_read_as_it_was_written() -> None:
    centring = Centring.of(torch.tensor([[1.0, 2.0], [4.0, 7.5]]))
    again = read_centring(centring_tensors(centring), 2)
    assert torch.equal(again.centre_D, centring.centre_D)
    assert again.unit == centring.unit


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("centre", None),
        ("centre", torch.zeros(3, dtype=torch.float64)),
        ("centre", torch.zeros(2)),
        ("centre", torch.tensor([0.0, float("nan")], dtype=torch.float64)),
        ("unit", None),
        ("unit", torch.zeros(1, dtype=torch.float64)),
        ("unit", torch.tensor([-1.0], dtype=torch.float64)),
    ],
)
def test_what_is_damaged_is_named(name: str, value: torch.Tensor | None) -> None:
    tensors = centring_tensors(Centring.of(torch.ones(3, 2)))
    tensors.pop(name)
    if value is not None:
        tensors[name] = value
    with pytest.raises(CorruptBundleError, match=f"{name} of the index must be"):
        read_centring(tensors, 2)
