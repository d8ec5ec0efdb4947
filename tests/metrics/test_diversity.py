from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.metrics import (
    ListValues,
    RaggedArray,
    diversity,
    intra_list_diversity_by_categories,
    intra_list_diversity_by_vectors,
)

rankings = st.lists(st.permutations([0, 1, 2, 3, 4, -1, -1, -1]).map(lambda each: each[:4]), min_size=1, max_size=6)


def ragged(lists: list[list[int]]) -> RaggedArray:
    ends = [sum(len(each) for each in lists[:number]) for number in range(len(lists) + 1)]
    return RaggedArray(np.array([value for each in lists for value in each], dtype=np.int64), np.array(ends))


def compare(found: ListValues, lists: list[list[int]], distances: list[list[float]]) -> None:
    """Against the mean over pairs, one after the other."""
    expected = {}
    for query, items in enumerate(lists):
        pairs = list(itertools.combinations([item for item in items if item >= 0], 2))
        if pairs:
            expected[query] = sum(distances[one][other] for one, other in pairs) / len(pairs)
    assert found.queries.tolist() == list(expected)
    assert found.values.tolist() == pytest.approx(list(expected.values()), rel=1e-9, abs=1e-12)
    assert found.left_out == len(lists) - len(expected)


def cosine_distance(one: list[float], other: list[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return 1 - sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 1.0


def jaccard_distance(one: list[int], other: list[int]) -> float:
    either = set(one) | set(other)
    return 1 - len(set(one) & set(other)) / len(either) if either else 0.0


@given(rankings, st.lists(st.lists(st.integers(-3, 3).map(float), min_size=3, max_size=3), min_size=5, max_size=5))
def test_vectors_against_every_pair(lists: list[list[int]], vectors: list[list[float]]) -> None:
    distances = [[cosine_distance(one, other) for other in vectors] for one in vectors]
    compare(intra_list_diversity_by_vectors(np.array(lists), np.array(vectors)), lists, distances)


@given(rankings, st.lists(st.lists(st.sampled_from([0, 1, 2, 70]), max_size=4), min_size=5, max_size=5))
def test_categories_against_every_pair(lists: list[list[int]], categories: list[list[int]]) -> None:
    distances = [[jaccard_distance(one, other) for other in categories] for one in categories]
    compare(intra_list_diversity_by_categories(np.array(lists), ragged(categories)), lists, distances)


@pytest.mark.parametrize("at_once", [1, 60])
def test_blocks_of_any_size_give_the_same(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(30)[:5] for _ in range(40)])
    lists[7, 2:] = -1
    lists[9, 1:] = -1
    vectors = rng.normal(size=(30, 4))
    categories = ragged([rng.integers(0, 9, rng.integers(0, 4)).tolist() for _ in range(30)])
    whole = intra_list_diversity_by_vectors(lists, vectors), intra_list_diversity_by_categories(lists, categories)
    monkeypatch.setattr(diversity, "_NUMBERS_AT_ONCE", at_once)
    parts = intra_list_diversity_by_vectors(lists, vectors), intra_list_diversity_by_categories(lists, categories)
    for one, other in zip(whole, parts, strict=True):
        assert one.queries.tolist() == other.queries.tolist()
        assert one.values.tolist() == pytest.approx(other.values.tolist(), rel=1e-12)
        assert one.left_out == 1


def test_vectors_by_hand() -> None:
    vectors = np.array([[1.0, 0.0], [5.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [0.0, 0.0]])
    lists = np.array([[0, 1, -1], [0, 2, -1], [0, 3, -1], [0, 1, 2], [4, 0, -1], [0, -1, -1]])
    found = intra_list_diversity_by_vectors(lists, vectors)
    assert found.queries.tolist() == [0, 1, 2, 3, 4]
    assert found.values.tolist() == pytest.approx([0.0, 1.0, 2.0, 2 / 3, 1.0])
    assert found.mean == pytest.approx((0 + 1 + 2 + 2 / 3 + 1) / 5)


@pytest.mark.parametrize("length", [1e-300, 1e300])
def test_only_directions_matter(length: float) -> None:
    vectors = np.array([[length, 0.0], [length, length]])
    found = intra_list_diversity_by_vectors(np.array([[0, 1]]), vectors)
    assert found.values.tolist() == pytest.approx([1 - math.sqrt(0.5)])


def test_equal_vectors_are_not_below_zero() -> None:
    vectors = np.tile(np.array([[0.1, 0.7, -0.3]], dtype=np.float32), (6, 1))
    (value,) = intra_list_diversity_by_vectors(np.arange(6)[None, :], vectors).values.tolist()
    assert 0 <= value < 1e-12


def test_categories_by_hand() -> None:
    categories = ragged([[0, 1], [1, 0, 0], [1, 2], [], [], [3]])
    lists = np.array([[0, 1, -1], [0, 2, -1], [3, 4, -1], [0, 3, -1], [0, 1, 5]])
    found = intra_list_diversity_by_categories(lists, categories)
    assert found.values.tolist() == pytest.approx([0.0, 2 / 3, 0.0, 1.0, 2 / 3])
    assert found.left_out == 0


def test_nothing_to_compare() -> None:
    none = np.empty((0, 3), dtype=np.int64)
    for lists in (none, np.array([[1], [0]]), np.array([[0, -1, -1]])):
        for found in (
            intra_list_diversity_by_vectors(lists, np.eye(2)),
            intra_list_diversity_by_categories(lists, ragged([[0], []])),
        ):
            assert (found.values.shape, found.left_out) == ((0,), len(lists))


@pytest.mark.parametrize("vectors", [[1.0, 2.0], [[1, 2]], [[1.0, float("nan")]]])
def test_vectors_must_be_vectors(vectors: object) -> None:
    with pytest.raises(ValueError, match=r"finite floats of shape \[N, D\]"):
        intra_list_diversity_by_vectors(np.array([[0]]), np.array(vectors))


def test_lists_must_be_of_the_catalogue() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 2\)"):
        intra_list_diversity_by_vectors(np.array([[2]]), np.eye(2))
    with pytest.raises(ValueError, match=r"in \[0, 2\)"):
        intra_list_diversity_by_categories(np.array([[2]]), ragged([[0], []]))
