"""A layer over a base is exactly the catalogue as it is now."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.errors import DataError
from twotower.index import ExactIndex, HNSWIndex, LayeredIndex, SearchResult
from twotower.types import Ragged

NONE = torch.empty(0, dtype=torch.int64)


def rows(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def same(found: SearchResult, expected: SearchResult) -> None:
    assert torch.equal(found.rows_BK, expected.rows_BK)
    assert torch.equal(found.scores_BK, expected.scores_BK)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_as_an_exact_index_over_what_there_is_now(seed: int) -> None:
    generator = np.random.default_rng(seed)
    num_base, num_new, dim = (int(number) for number in generator.integers((0, 0, 1), (40, 12, 4)))
    total = num_base + num_new
    # whole numbers in a small range: many ties within and across layers
    base_ND = generator.integers(-1, 2, (num_base, dim)).astype(np.float32)
    kinds = generator.choice(
        4, total, p=[0.5, 0.2, 0.2, 0.1]
    )  # kept (or, where new, never given), in the layer, removed, nowhere
    in_layer = np.flatnonzero(kinds == 1)
    gone = np.flatnonzero(kinds == 2)
    layer_MD = generator.integers(-1, 2, (len(in_layer), dim)).astype(np.float32)
    now_ND = np.zeros((total, dim), dtype=np.float32)
    now_ND[:num_base] = base_ND
    now_ND[in_layer] = layer_MD
    there = (np.arange(total) < num_base) & (kinds != 2) | (kinds == 1)
    shuffled = generator.permutation(len(in_layer))
    index = LayeredIndex(
        ExactIndex.build(torch.from_numpy(base_ND)),
        torch.from_numpy(in_layer[shuffled]),
        torch.from_numpy(layer_MD[shuffled]),
        torch.from_numpy(gone),
    )
    size = max([num_base, *(int(each) + 1 for each in (*in_layer, *gone))])
    assert index.num_vectors == size
    now = ExactIndex.build(torch.from_numpy(now_ND[:size]))
    shown = torch.from_numpy(there[:size])
    queries_BD = torch.from_numpy(generator.integers(-2, 3, (int(generator.integers(0, 5)), dim)).astype(np.float32))
    lists = [generator.integers(0, size, int(generator.integers(0, 6))) if size else np.empty(0, np.int64) for _ in queries_BD]
    offsets = torch.from_numpy(np.cumsum([0, *(len(each) for each in lists)]))
    excluded = Ragged(torch.from_numpy(np.concatenate([*lists, np.empty(0, np.int64)]).astype(np.int64)), offsets)
    allowed = torch.from_numpy(generator.random(size) < 0.6)
    for k in (1, 3, size + 2):
        same(index.search(queries_BD, k), now.search(queries_BD, k, allowed=shown))
        same(index.search(queries_BD, k, excluded=excluded), now.search(queries_BD, k, excluded=excluded, allowed=shown))
        found = index.search(queries_BD, k, excluded=excluded, allowed=allowed)
        same(found, now.search(queries_BD, k, excluded=excluded, allowed=shown & allowed))


@pytest.mark.parametrize("num_changed", [0, 5, 60, 700])
def test_to_the_bit_with_real_numbers_and_ties_across_layers(num_changed: int) -> None:
    generator = torch.Generator().manual_seed(num_changed)
    base_ND, queries_BD = torch.randn(4000, 24, generator=generator), torch.randn(30, 24, generator=generator)
    order = torch.randperm(4000, generator=generator)
    changed, gone = order[:num_changed], order[num_changed : 2 * num_changed]
    fresh = torch.cat([changed, torch.arange(4000, 4000 + num_changed)])
    # copies of vectors that stay: the same scores in both layers
    layer_MD = base_ND[order[2 * num_changed :][torch.arange(2 * num_changed) % 500]]
    now_ND = torch.cat([base_ND, torch.zeros(num_changed, 24)])
    now_ND[fresh] = layer_MD
    shown = torch.ones(len(now_ND), dtype=torch.bool).index_fill_(0, gone, False)
    index = LayeredIndex(ExactIndex.build(base_ND), fresh, layer_MD, gone)
    now = ExactIndex.build(now_ND)
    for k in (1, 50, 1000):
        for batch_BD in (queries_BD, queries_BD[:1]):
            same(index.search(batch_BD, k), now.search(batch_BD, k, allowed=shown))


def test_an_approximate_base_loses_nothing_of_the_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    base_ND, layer_MD = torch.randn(3000, 8, generator=generator), 10 * torch.randn(40, 8, generator=generator)
    base = HNSWIndex.build(base_ND, neighbours=8)
    fresh = torch.cat([torch.arange(0, 60, 3), torch.arange(3000, 3020)])
    index = LayeredIndex(base, fresh, layer_MD)
    queries_BD = torch.randn(20, 8, generator=generator)
    expected = ExactIndex.build(layer_MD).search(queries_BD, 5)
    assert torch.equal(index.search(queries_BD, 5).rows_BK, fresh[expected.rows_BK])


def test_nothing_changed() -> None:
    base = ExactIndex.build(torch.tensor([[1.0], [3.0], [2.0]]))
    index = LayeredIndex(base, NONE, torch.empty(0, 1))
    assert (index.num_vectors, index.base is base, index.layer_rows.tolist()) == (3, True, [])
    assert index.search(torch.ones(1, 1), 2).rows_BK.tolist() == [[1, 2]]


def test_a_layer_over_nothing_and_nothing_over_nothing() -> None:
    base = ExactIndex.build(torch.empty(0, 2))
    index = LayeredIndex(base, rows(4, 1), torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
    assert (index.num_vectors, index.layer_rows.tolist()) == (5, [1, 4])
    assert index.search(torch.tensor([[1.0, 0.0]]), 3).rows_BK.tolist() == [[1, 4, -1]]
    assert LayeredIndex(base, NONE, torch.empty(0, 2)).search(torch.ones(1, 2), 1).rows_BK.tolist() == [[-1]]


def test_rows_that_were_new_and_are_removed_count() -> None:
    base = ExactIndex.build(torch.tensor([[1.0]]))
    index = LayeredIndex(base, NONE, torch.empty(0, 1), rows(3, 3))
    assert index.num_vectors == 4
    assert index.search(torch.ones(1, 1), 2, allowed=torch.ones(4, dtype=torch.bool)).rows_BK.tolist() == [[0, -1]]


def test_it_keeps_what_it_was_given() -> None:
    numbers, vectors_MD = rows(0), torch.tensor([[5.0]])
    index = LayeredIndex(ExactIndex.build(torch.tensor([[1.0], [2.0]])), numbers, vectors_MD)
    numbers.fill_(1)
    vectors_MD.zero_()
    assert index.search(torch.ones(1, 1), 2).rows_BK.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("numbers", "vectors", "removed", "message"),
    [
        (torch.tensor([1.0]), torch.ones(1, 2), NONE, r"rows must be int64 of one dimension \(came: torch.float32 \[1\]\)"),
        (rows(0, 1), torch.ones(1, 2), NONE, r"vectors must have the shape \[2, 2\], one per row \(came: \[1, 2\]\)"),
        (rows(0), torch.ones(1, 3), NONE, r"vectors must have the shape \[1, 2\]"),
        (rows(-1), torch.ones(1, 2), NONE, r"rows must not be negative \(came: \[-1\]\)"),
        (rows(3, 0, 3), torch.ones(3, 2), NONE, r"rows must not come twice \(came: \[3\]\)"),
        (rows(0, 2), torch.ones(2, 2), rows(2, 1), r"must not be in the layer and removed \(came: \[2\]\)"),
        (NONE, torch.empty(0, 2), rows(-3), r"removed must not be negative \(came: \[-3\]\)"),
        (NONE, torch.empty(0, 2), torch.tensor([True]), r"removed must be int64 of one dimension"),
        (rows(0), torch.ones(1, 2).long(), NONE, "vectors must be floats"),
    ],
)
def test_what_a_layer_may_be(numbers: Any, vectors: Any, removed: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LayeredIndex(ExactIndex.build(torch.ones(3, 2)), numbers, vectors, removed)


def test_vectors_of_the_layer_are_finite() -> None:
    with pytest.raises(DataError, match="vectors must be finite float32"):
        LayeredIndex(ExactIndex.build(torch.ones(3, 1)), rows(0), torch.tensor([[float("nan")]]))
