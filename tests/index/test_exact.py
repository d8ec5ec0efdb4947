"""Exact search on real-valued vectors: ties, invariance to tiles and batches, bounded memory, overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from twotower.errors import DataError
from twotower.index import ExactIndex
from twotower.index.exact import FirstPassChoice
from twotower.index.float64_search import Float64Search
from twotower.index.native_search import NativeSearch
from twotower.index.quickest import can_multiply
from twotower.types import Ragged


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the bytes of the largest tensor that any operation makes; views of the given ones are not made."""

    def __init__(self, *given: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.given = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage().data_ptr() not in self.given:
                self.nbytes = max(self.nbytes, leaf.untyped_storage().nbytes())
        return out


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("num_vectors", "dim"), [(50, 16), (1001, 33), (2500, 100)])
def test_the_same_vector_twice_is_always_a_tie(num_vectors: int, dim: int) -> None:
    # in float32, matrix products of these sizes give copies of a vector scores that differ in the last bit
    order = torch.randperm(2 * num_vectors, generator=torch.Generator().manual_seed(1))
    vectors_ND = normal(0, num_vectors, dim).repeat(2, 1)[order]
    index = ExactIndex.build(vectors_ND)
    original = order % num_vectors
    for num_queries in (1, 2, 5, 64):
        result = index.search(normal(2, num_queries, dim), 2 * num_vectors)
        scores_BN = torch.empty(num_queries, 2 * num_vectors).scatter_(1, result.rows_BK, result.scores_BK)
        scores_BV = torch.empty(num_queries, num_vectors)
        scores_BV[:, original] = scores_BN
        assert torch.equal(scores_BN, scores_BV[:, original])


def test_real_numbers_against_a_full_sort() -> None:
    vectors_ND, queries_BD = normal(3, 700, 24), normal(4, 40, 24)
    exact_BN = queries_BD.numpy().astype(np.float64) @ vectors_ND.numpy().astype(np.float64).T
    rows_BN = np.argsort(-exact_BN, axis=1, kind="stable")
    for tile_bytes in (1, 5_000, 50_000, 10**8):
        result = ExactIndex.build(vectors_ND, tile_bytes=tile_bytes).search(queries_BD, 25)
        assert np.array_equal(result.rows_BK.numpy(), rows_BN[:, :25])
        expected_BK = np.take_along_axis(exact_BN, rows_BN[:, :25], axis=1)
        np.testing.assert_allclose(result.scores_BK.numpy(), expected_BK, rtol=1e-6)


def test_a_query_alone_gives_what_it_gives_in_a_batch() -> None:
    index, queries_BD = ExactIndex.build(normal(5, 900, 48)), normal(6, 33, 48)
    together = index.search(queries_BD, 20)
    for number in range(33):
        alone = index.search(queries_BD[number : number + 1], 20)
        assert torch.equal(alone.rows_BK[0], together.rows_BK[number])
        assert torch.equal(alone.scores_BK[0], together.scores_BK[number])


@pytest.mark.parametrize(("num_vectors", "num_queries", "dim"), [(9_000, 9, 8), (4_000, 1, 64), (1_100, 300, 4)])
@pytest.mark.parametrize("tile_bytes", [50_000, 150_000])
def test_tile_bytes_bounds_memory(num_vectors: int, num_queries: int, dim: int, tile_bytes: int) -> None:
    index = ExactIndex.build(torch.ones(num_vectors, dim), tile_bytes=tile_bytes)  # all tied: the way that needs most
    queries_BD = torch.ones(num_queries, dim)
    with LargestTensor(index._vectors_ND, queries_BD) as largest:
        index.search(queries_BD, 2, allowed=torch.ones(num_vectors, dtype=torch.bool))
    assert 0.9 * tile_bytes < largest.nbytes <= tile_bytes


def test_tile_bytes_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"tile_bytes must be positive \(came: 0\)"):
        ExactIndex.build(torch.ones(2, 2), tile_bytes=0)


def test_scores_that_float32_can_not_hold_are_refused() -> None:
    index = ExactIndex.build(torch.tensor([[3e30, 4e30], [1.0, 0.0]]))
    assert index.search(torch.tensor([[1e7, 0.0]]), 1).rows_BK.tolist() == [[0]]
    with pytest.raises(DataError, match=r"query 1 has the norm 1e\+08 and the longest vector 5e\+30"):
        index.search(torch.tensor([[1.0, 0.0], [1e8, 0.0]]), 1)


def test_vectors_whose_squares_float32_can_not_hold_are_taken() -> None:
    huge, small = torch.tensor([[3e38, 3e38]]), torch.tensor([[0.125, 0.125]])
    assert ExactIndex.build(huge).search(small, 1).scores_BK.item() == pytest.approx(7.5e37)
    assert ExactIndex.build(small).search(huge, 1).scores_BK.item() == pytest.approx(7.5e37)


def test_scores_that_are_equal_as_float32_are_a_tie() -> None:
    index = ExactIndex.build(torch.tensor([[1.0, 0.0], [1.0, 1e-9], [1.0, 1e-3]]))
    assert index.search(torch.ones(1, 2), 3).rows_BK.tolist() == [[2, 0, 1]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_excluded_rows_of_a_later_block_of_queries(dtype: torch.dtype) -> None:
    index = ExactIndex.build(torch.tensor([[3.0], [2.0], [1.0]]), tile_bytes=8)
    excluded = Ragged(torch.tensor([0, 1, 0, 2], dtype=dtype), torch.tensor([0, 0, 2, 3, 4]))
    result = index.search(torch.ones(4, 1), 2, excluded=excluded)
    assert result.rows_BK.tolist() == [[0, 1], [2, -1], [1, 2], [0, 1]]


@pytest.mark.parametrize("first_pass", ["float32", "bfloat16", "int8", "auto", "none"])
@pytest.mark.parametrize("num_queries", [0, 1, 3, 50])
def test_every_first_pass_gives_the_same_answers(first_pass: FirstPassChoice, num_queries: int) -> None:
    if first_pass != "auto" and first_pass != "none" and not can_multiply(first_pass, 12):
        pytest.skip(f"products in {first_pass} are not exact enough on this machine")
    vectors_ND = normal(8, 12, 40_000).T  # not contiguous
    vectors_ND[1::3] = vectors_ND[::3][: len(vectors_ND[1::3])]
    vectors_ND[::7] = 0.0
    queries_BD = normal(9, 12, num_queries).T
    queries_BD[1::10] = 0.0
    index = ExactIndex.build(vectors_ND, first_pass=first_pass)
    assert index.first_pass == first_pass or first_pass == "auto"
    offsets = torch.arange(num_queries + 1) * 30
    excluded = Ragged(torch.randint(0, 40_000, (num_queries * 30,), generator=torch.Generator().manual_seed(0)), offsets)
    allowed = torch.arange(40_000) % 4 > 0
    for k in (1, 10, 39_990, 50_000):
        for one, other in ((None, None), (excluded, None), (None, allowed), (excluded, allowed)):
            found = index.search(queries_BD, k, excluded=one, allowed=other)
            expected = Float64Search(vectors_ND.contiguous(), 10**7).search(queries_BD, k, one, other)
            assert torch.equal(found.rows_BK, expected.rows_BK)
            assert torch.equal(found.scores_BK, expected.scores_BK)


def test_a_first_pass_is_taken_where_it_pays() -> None:
    assert ExactIndex.build(normal(0, 40_000, 8)).first_pass != "none"
    assert ExactIndex.build(normal(0, 4_000, 8)).first_pass == ("int8" if NativeSearch.is_fast(4_000) else "none")
    assert ExactIndex.build(normal(0, 900, 8)).first_pass == "none"
    assert ExactIndex.build(normal(0, 40_000, 8), tile_bytes=2**20).first_pass == "none"
    assert ExactIndex.build(torch.zeros(40_000, 8)).first_pass == "none"


def test_a_first_pass_that_can_not_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors_ND = normal(0, 4_000, 8)
    with pytest.raises(ValueError, match=r"first_pass must be one of auto, none, float32, bfloat16, int8 \(came: 'int4'\)"):
        ExactIndex.build(vectors_ND, first_pass="int4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"needs vectors at most.*tiles of at least 4,194,304 bytes \(came: on cpu, 8 wide"):
        ExactIndex.build(vectors_ND, first_pass="float32", tile_bytes=2**20)
    with pytest.raises(ValueError, match=r"the longest between 2 \*\* -50 and 2 \*\* 50"):
        ExactIndex.build(vectors_ND * 1e20, first_pass="float32")
    monkeypatch.setattr("twotower.index.exact.can_multiply", lambda *_: False)
    with pytest.raises(ValueError, match="products in bfloat16 are not exact enough on this machine"):
        ExactIndex.build(vectors_ND, first_pass="bfloat16")


@pytest.mark.parametrize("num_queries", [1, 60])
def test_a_first_pass_keeps_to_tile_bytes(num_queries: int) -> None:
    queries_BD = normal(2, num_queries, 16)
    for vectors_ND in (normal(1, 200_000, 16), torch.ones(200_000, 16)):
        index = ExactIndex.build(vectors_ND, tile_bytes=2**22, first_pass="float32")
        with LargestTensor(index._vectors_ND, queries_BD) as largest:
            index.search(queries_BD, 10, allowed=torch.ones(200_000, dtype=torch.bool))
        assert largest.nbytes <= 2**22


@pytest.mark.parametrize("num_queries", [1, 3, 40])
@pytest.mark.parametrize("count", [0, 1, 20, 1200, 4000])
def test_few_allowed_vectors_are_searched_alone(num_queries: int, count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    vectors_ND = torch.randint(-3, 4, (40_000, 6), generator=generator).float()
    queries_BD = torch.randint(-3, 4, (num_queries, 6), generator=generator).float()
    allowed = torch.zeros(40_000, dtype=torch.bool)
    rows = torch.randperm(40_000, generator=generator)[:count]
    allowed[rows] = True
    few = rows.repeat(40)[: 5 * num_queries] if count else torch.randint(0, 40_000, (5 * num_queries,), generator=generator)
    excluded = Ragged(few.to(torch.int32), torch.arange(num_queries + 1) * (len(few) // num_queries))
    excluded = Ragged(excluded.values[: int(excluded.offsets[-1])], excluded.offsets)
    index = ExactIndex.build(vectors_ND)
    for left_out in (None, excluded):
        for k in (1, 30, 5000):
            found = index.search(queries_BD, k, excluded=left_out, allowed=allowed)
            expected = index._slow.search(queries_BD, k, left_out, allowed)
            assert torch.equal(found.rows_BK, expected.rows_BK)
            assert torch.equal(found.scores_BK, expected.scores_BK)


def test_the_best_of_given_rows_has_the_scores_of_a_search() -> None:
    index, queries_BD = ExactIndex.build(normal(0, 5_000, 20)), normal(1, 9, 20)
    expected = index.search(queries_BD, 40)
    found = index.best_of(queries_BD.double(), expected.rows_BK.flip(1), 30)
    assert torch.equal(found.rows_BK, expected.rows_BK[:, :30])
    assert torch.equal(found.scores_BK, expected.scores_BK[:, :30])
    allowed = torch.arange(5_000) % 2 == 0
    excluded = Ragged(expected.rows_BK[:, 0].contiguous(), torch.arange(10))
    left = index.best_of(queries_BD, expected.rows_BK, 40, excluded=excluded, allowed=allowed).rows_BK
    for rows, before in zip(left.tolist(), expected.rows_BK.tolist(), strict=True):
        kept = [row for row in before[1:] if row % 2 == 0]
        assert rows == kept + [-1] * (40 - len(kept))


@pytest.mark.parametrize(
    "rows", [torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2, dtype=torch.int64), torch.zeros(3, 1).long()]
)
def test_given_rows_are_lists_of_the_queries(rows: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"rows must be int64 of shape \[2, S\], a list per query \(came: "):
        ExactIndex.build(torch.zeros(4, 1)).best_of(torch.zeros(2, 1), rows, 1)


@pytest.mark.parametrize("row", [-2, 4])
def test_given_rows_are_those_of_vectors(row: int) -> None:
    with pytest.raises(ValueError, match=r"rows must be in \[-1, 4\) \(came: "):
        ExactIndex.build(torch.zeros(4, 1)).best_of(torch.zeros(1, 1), torch.tensor([[0, row]]), 1)
