from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from twotower.metrics import Ranks, Ties


def test_holds_int64_arrays_of_one_length() -> None:
    ranks = Ranks(np.array([0, 3], dtype=np.int32), np.array([1, 2], dtype=np.uint8))
    assert len(ranks) == 2
    assert (ranks.above.dtype.name, ranks.tied.dtype.name) == ("int64", "int64")
    assert len(Ranks(np.array([]), np.array([]))) == 0


@pytest.mark.parametrize(
    ("above", "tied", "message"),
    [
        ([0, 1], [1], r"one length; came \(2,\) and \(1,\)"),
        ([0.0], [1], r"above must be integers of shape \[n\]; came float64 of shape \(1,\)"),
        ([0], [[1]], r"tied must be integers of shape \[n\]; came int64 of shape \(1, 1\)"),
        ([0, -1, 2], [1, 1, 0], r"came -1 and 1 at row 1, and 1 more such rows"),
        ([5], [0], r"came 5 and 0 at row 0"),
    ],
)
def test_what_can_not_be_ranks_is_refused(above: Any, tied: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ranks(np.array(above), np.array(tied))


@pytest.mark.parametrize(
    ("ties", "above", "tied"),
    [("expected", [0, 2, 5], [1, 3, 2]), ("optimistic", [0, 2, 5], [1, 1, 1]), ("pessimistic", [0, 4, 6], [1, 1, 1])],
)
def test_ties_are_decided(ties: Ties, above: list[int], tied: list[int]) -> None:
    ranks = Ranks(np.array([0, 2, 5]), np.array([1, 3, 2])).resolve(ties)
    assert (ranks.above.tolist(), ranks.tied.tolist()) == (above, tied)


def test_an_unknown_rule_for_ties_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'pessimistic'; came 'random'"):
        Ranks(np.array([0]), np.array([1])).resolve("random")  # type: ignore[arg-type]


def test_concatenate_take_and_unranked() -> None:
    ranks = Ranks.concatenate([Ranks(np.array([3]), np.array([2])), Ranks.unranked(2, 50)])
    assert (ranks.above.tolist(), ranks.tied.tolist()) == ([3, 50, 50], [2, 1, 1])
    assert ranks.take(np.array([2, 0])).above.tolist() == [50, 3]
    assert ranks.take(np.array([True, False, False])).tied.tolist() == [2]
    assert len(Ranks.concatenate([])) == 0
