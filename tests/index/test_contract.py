"""What every index promises, asked of each; a later index joins by a line in ``BUILDERS``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.index import ExactIndex, VectorIndex
from twotower.types import Ragged


class Built(NamedTuple):
    build: Callable[[Tensor], VectorIndex]
    exact: bool


BUILDERS = {
    "exact": Built(ExactIndex.build, exact=True),
    "exact, tiles of one vector": Built(lambda vectors: ExactIndex.build(vectors, tile_bytes=1), exact=True),
    "exact, tiles of a few": Built(lambda vectors: ExactIndex.build(vectors, tile_bytes=600), exact=True),
}


@pytest.fixture(params=BUILDERS)
def built(request: pytest.FixtureRequest) -> Built:
    return BUILDERS[str(request.param)]


def oracle(
    vectors: list[list[float]],
    queries: list[list[float]],
    k: int,
    excluded: list[list[int]] | None = None,
    allowed: list[bool] | None = None,
) -> tuple[list[list[int]], list[list[float]]]:
    """Score everything, sort everything, cut."""
    rows, scores = [], []
    for number, query in enumerate(queries):
        found = []
        for row, vector in enumerate(vectors):
            if (excluded and row in excluded[number]) or (allowed and not allowed[row]):
                continue
            found.append((-sum(a * b for a, b in zip(query, vector, strict=True)), row))
        found = [*sorted(found)[:k]]
        pad = k - len(found)
        rows.append([row for _, row in found] + [-1] * pad)
        scores.append([0.0 - score for score, _ in found] + [float("-inf")] * pad)
    return rows, scores


def ragged(rows: list[list[int]]) -> Ragged:
    offsets = np.cumsum([0] + [len(row) for row in rows])
    return Ragged(torch.tensor([value for row in rows for value in row], dtype=torch.int64), torch.tensor(offsets))


def whole_numbers(generator: np.random.Generator, shape: tuple[int, int], most: int) -> list[list[float]]:
    """Whole numbers have exact dot products, and few of them have many ties."""
    return [[float(value) for value in row] for row in generator.integers(-most, most + 1, shape)]


def check(built: Built, vectors: list[list[float]], queries: list[list[float]], k: int, dim: int, **chosen: object) -> None:
    excluded, allowed = chosen.get("excluded"), chosen.get("allowed")
    assert excluded is None or isinstance(excluded, list)
    assert allowed is None or isinstance(allowed, list)
    index = built.build(torch.tensor(vectors).reshape(-1, dim))
    result = index.search(
        torch.tensor(queries).reshape(-1, dim),
        k,
        excluded=None if excluded is None else ragged(excluded),
        allowed=None if allowed is None else torch.tensor(allowed, dtype=torch.bool),
    )
    rows, scores = oracle(vectors, queries, k, excluded, allowed)
    assert result.rows_BK.dtype == torch.int64
    assert result.scores_BK.dtype == torch.float32
    assert result.rows_BK.shape == result.scores_BK.shape == (len(queries), k)
    if built.exact:
        assert result.rows_BK.tolist() == rows
        assert result.scores_BK.tolist() == scores
        return
    for number, (found, expected) in enumerate(zip(result.rows_BK.tolist(), rows, strict=True)):
        real = [row for row in found if row != -1]
        assert len(real) == len([row for row in expected if row != -1])
        assert len(set(real)) == len(real)
        assert found == real + [-1] * (k - len(real))
        assert not excluded or not set(real) & set(excluded[number])
        assert not allowed or all(allowed[row] for row in real)
    assert bool((result.scores_BK.diff(dim=1).nan_to_num(0) <= 0).all())


@pytest.mark.parametrize("seed", range(6))
def test_random_worlds_with_ties_exclusions_and_filters(built: Built, seed: int) -> None:
    generator = np.random.default_rng(seed)
    num_vectors, num_queries, dim = (int(value) for value in generator.integers((1, 1, 1), (60, 9, 6)))
    vectors = whole_numbers(generator, (num_vectors, dim), 1 + seed % 3)
    queries = whole_numbers(generator, (num_queries, dim), 2)
    excluded = [generator.integers(0, num_vectors, int(generator.integers(0, 9))).tolist() for _ in queries]
    allowed = (generator.random(num_vectors) < 0.7).tolist()
    for k in (1, 4, num_vectors, num_vectors + 5):
        check(built, vectors, queries, k, dim)
        check(built, vectors, queries, k, dim, excluded=excluded)
        check(built, vectors, queries, k, dim, excluded=excluded, allowed=allowed)


def test_all_scores_equal_gives_the_lowest_rows(built: Built) -> None:
    check(built, [[1.0, 1.0]] * 40, [[1.0, 2.0], [0.0, 0.0], [-1.0, 0.0]], 7, 2)


def test_zero_and_minus_zero_are_a_tie(built: Built) -> None:
    check(built, [[-0.0], [0.0], [-0.0], [0.0]], [[1.0], [-1.0]], 3, 1)
    result = built.build(torch.tensor([[-0.0], [0.0]])).search(torch.tensor([[1.0], [-1.0]]), 2)
    assert not result.scores_BK.signbit().any()


def test_a_tie_at_the_cut_of_one_query_only(built: Built) -> None:
    vectors = [[0.0, 1.0], [5.0, 3.0], [5.0, 2.0], [5.0, 9.0], [7.0, 4.0]]
    check(built, vectors, [[1.0, 0.0], [0.0, 1.0]], 3, 2)


def test_everything_excluded_is_all_padding(built: Built) -> None:
    check(built, [[1.0], [2.0]], [[1.0], [1.0]], 2, 1, excluded=[[0, 1, 1], [1]])
    check(built, [[1.0], [2.0]], [[1.0]], 2, 1, allowed=[False, False])


def test_no_queries(built: Built) -> None:
    check(built, [[1.0], [2.0]], [], 3, 1, excluded=[])


def test_no_vectors(built: Built) -> None:
    check(built, [], [[1.0], [2.0]], 3, 1, excluded=[[], []], allowed=[])
    assert built.build(torch.empty(0, 4)).num_vectors == 0


def test_sizes(built: Built) -> None:
    index = built.build(torch.zeros(7, 3))
    assert (index.num_vectors, index.embedding_dim) == (7, 3)


def test_the_index_keeps_what_it_was_built_from(built: Built) -> None:
    vectors_ND = torch.tensor([[1.0], [2.0]])
    index = built.build(vectors_ND)
    vectors_ND.mul_(-1)
    assert index.search(torch.tensor([[1.0]]), 1).rows_BK.tolist() == [[1]]


def test_a_search_changes_nothing(built: Built) -> None:
    index = built.build(torch.tensor([[1.0], [2.0], [3.0]]))
    queries_BD, allowed = torch.tensor([[1.0]]), torch.tensor([True, True, False])
    excluded = Ragged(torch.tensor([1, 0]), torch.tensor([0, 2]))
    first = index.search(queries_BD, 3, excluded=excluded, allowed=allowed)
    assert queries_BD.tolist() == [[1.0]]
    assert allowed.tolist() == [True, True, False]
    assert (excluded.values.tolist(), excluded.offsets.tolist()) == ([1, 0], [0, 2])
    assert first.rows_BK.tolist() == [[-1, -1, -1]]
    assert index.search(queries_BD, 3).rows_BK.tolist() == [[2, 1, 0]]


def test_queries_that_have_a_gradient(built: Built) -> None:
    queries_BD = torch.tensor([[1.0]], requires_grad=True)
    result = built.build(torch.tensor([[1.0], [2.0]], requires_grad=True)).search(queries_BD, 2)
    assert not result.scores_BK.requires_grad
    assert result.scores_BK.numpy().tolist() == [[2.0, 1.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_taken(built: Built, dtype: torch.dtype) -> None:
    result = built.build(torch.tensor([[1.0], [2.0]], dtype=dtype)).search(torch.tensor([[1.5]], dtype=dtype), 2)
    assert (result.scores_BK.dtype, result.scores_BK.tolist()) == (torch.float32, [[3.0, 1.5]])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_vectors_and_queries_must_be_finite(built: Built, bad: float) -> None:
    with pytest.raises(DataError, match=r"vectors must be finite float32; 2 of 3 are not, the first at row 1, 2"):
        built.build(torch.tensor([[1.0, 2.0], [1.0, bad], [bad, bad]]))
    with pytest.raises(DataError, match=r"queries must be finite float32; 1 of 2 are not, the first at row 1"):
        built.build(torch.ones(3, 2)).search(torch.tensor([[1.0, 2.0], [1.0, bad]]), 1)


@pytest.mark.parametrize("shape", [(3,), (3, 0), (3, 2, 2)])
def test_vectors_have_two_dimensions(built: Built, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"vectors must have the shape \[N, D\] with D >= 1 \(came: \[3"):
        built.build(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(2,), (1, 3), (1, 1), (1, 2, 2)])
def test_queries_have_the_width_of_the_vectors(built: Built, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"queries must have the shape \[B, 2\] \(came: \["):
        built.build(torch.zeros(5, 2)).search(torch.zeros(shape), 1)


def test_integers_are_no_vectors(built: Built) -> None:
    with pytest.raises(ValueError, match=r"vectors must be floats \(came: torch.int64\)"):
        built.build(torch.zeros(5, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"queries must be floats \(came: torch.int64\)"):
        built.build(torch.zeros(5, 2)).search(torch.zeros(1, 2, dtype=torch.int64), 1)


@pytest.mark.parametrize("k", [0, -1, True, 2.0])
def test_k_is_a_positive_integer(built: Built, k: int) -> None:
    with pytest.raises(ValueError, match="k must be an integer of at least 1"):
        built.build(torch.zeros(5, 2)).search(torch.zeros(1, 2), k)


@pytest.mark.parametrize(
    ("values", "offsets", "message"),
    [
        ([0.0], [0, 1], r"excluded rows must be integers \(came: torch.float32\)"),
        ([0], [0, 1, 1], r"one row per query: 1 \(came: 2\)"),
        ([0, 1], [0, 1], "must rise from 0 to 2"),
        ([0, 1], [1, 2], "must rise from 0 to 2"),
        ([5], [0, 1], r"excluded rows must be in \[0, 5\) \(came: \[5\]\)"),
        ([-1], [0, 1], r"excluded rows must be in \[0, 5\) \(came: \[-1\]\)"),
    ],
)
def test_what_excluded_may_be(built: Built, values: list[float], offsets: list[int], message: str) -> None:
    excluded = Ragged(torch.tensor(values), torch.tensor(offsets))
    with pytest.raises(ValueError, match=message):
        built.build(torch.zeros(5, 2)).search(torch.zeros(1, 2), 1, excluded=excluded)


def test_offsets_of_excluded_must_not_fall(built: Built) -> None:
    with pytest.raises(ValueError, match="must rise from 0 to 2"):
        built.build(torch.zeros(5, 2)).search(
            torch.zeros(3, 2), 1, excluded=Ragged(torch.tensor([0, 1]), torch.tensor([0, 2, 1, 2]))
        )


@pytest.mark.parametrize("allowed", [torch.ones(4, dtype=torch.bool), torch.ones(5), torch.ones(1, 5, dtype=torch.bool)])
def test_what_allowed_may_be(built: Built, allowed: Tensor) -> None:
    with pytest.raises(ValueError, match=r"allowed must be bool of shape \[5\], one per vector \(came: torch\."):
        built.build(torch.zeros(5, 2)).search(torch.zeros(1, 2), 1, allowed=allowed)
