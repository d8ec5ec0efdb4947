from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.metrics import RaggedArray, calibration, calibration_divergence

rankings = st.permutations([0, 1, 2, 3, 4, -1, -1, -1]).map(lambda each: each[:3])


def ragged(lists: list[list[int]]) -> RaggedArray:
    ends = [sum(len(each) for each in lists[:number]) for number in range(len(lists) + 1)]
    return RaggedArray(np.array([value for each in lists for value in each], dtype=np.int64), np.array(ends))


def shares(items: list[int], categories: list[list[int]]) -> dict[int, float]:
    found: dict[int, float] = {}
    for item in items:
        for category in set(categories[item]) if item >= 0 else ():
            found[category] = found.get(category, 0) + 1 / len(set(categories[item]))
    return {category: share / sum(found.values()) for category, share in found.items()}


def divergence(p: dict[int, float], q: dict[int, float], smoothing: float) -> float:
    return sum(share * math.log(share / ((1 - smoothing) * q.get(c, 0) + smoothing * share)) for c, share in p.items())


@given(
    st.lists(st.tuples(rankings, st.lists(st.integers(0, 4), max_size=5)), min_size=1, max_size=6),
    st.lists(st.lists(st.sampled_from([0, 1, 2, 9]), max_size=3), min_size=5, max_size=5),
    st.sampled_from([0.01, 0.2]),
)
def test_against_the_sum_over_categories(
    pairs: list[tuple[list[int], list[int]]], categories: list[list[int]], smoothing: float
) -> None:
    expected = {}
    for query, (items, past) in enumerate(pairs):
        p, q = shares(past, categories), shares(items, categories)
        if p and q:
            expected[query] = divergence(p, q, smoothing)
    lists, histories = np.array([items for items, _ in pairs]), ragged([past for _, past in pairs])
    found = calibration_divergence(lists, histories, ragged(categories), smoothing=smoothing)
    assert found.queries.tolist() == list(expected)
    assert found.values.tolist() == pytest.approx(list(expected.values()), rel=1e-9, abs=1e-12)
    assert found.left_out == len(pairs) - len(expected)
    assert all(0 <= value <= -math.log(smoothing) + 1e-12 for value in found.values)


def test_by_hand() -> None:
    categories = ragged([[0], [1], [0, 1], []])
    histories = ragged([[0, 1], [2], [0, 0, 0, 1], [0, 3], [], [3]])
    lists = np.array([[2, -1], [1, 0], [0, 1], [1, -1], [0, 1], [0, 1]])
    found = calibration_divergence(lists, histories, categories)
    third = 0.75 * math.log(0.75 / (0.99 * 0.5 + 0.01 * 0.75)) + 0.25 * math.log(0.25 / (0.99 * 0.5 + 0.01 * 0.25))
    assert found.queries.tolist() == [0, 1, 2, 3]
    assert found.values.tolist() == pytest.approx([0.0, 0.0, third, math.log(100)])
    assert (found.left_out, found.total) == (2, 6)


def test_a_list_without_categories_is_left_out() -> None:
    found = calibration_divergence(np.array([[1, -1], [0, -1], [-1, -1]]), ragged([[0], [0], [0]]), ragged([[0], []]))
    assert found.queries.tolist() == [1]


def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(30)[:5] for _ in range(40)])
    histories = ragged([rng.integers(0, 30, rng.integers(0, 9)).tolist() for _ in range(40)])
    categories = ragged([rng.integers(0, 9, rng.integers(0, 4)).tolist() for _ in range(30)])
    whole = calibration_divergence(lists, histories, categories)
    monkeypatch.setattr(calibration, "_NUMBERS_AT_ONCE", 30)
    parts = calibration_divergence(lists, histories, categories)
    assert whole.queries.tolist() == parts.queries.tolist()
    assert whole.values.tolist() == pytest.approx(parts.values.tolist(), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 1.0, float("nan")])
def test_smoothing_is_between_0_and_1(smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"smoothing must be in \(0, 1\)"):
        calibration_divergence(np.array([[0]]), ragged([[0]]), ragged([[0]]), smoothing=smoothing)


def test_histories_must_fit() -> None:
    with pytest.raises(ValueError, match=r"a row for each list; came 2 for 1 lists"):
        calibration_divergence(np.array([[0]]), ragged([[0], [0]]), ragged([[0]]))
    with pytest.raises(ValueError, match=r"in \[0, 1\); came 1"):
        calibration_divergence(np.array([[0]]), ragged([[1]]), ragged([[0]]))
