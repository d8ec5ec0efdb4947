"""Repeated (user, item) pairs, against a loop."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
import pytest

from twotower.data.repeats import count_repeats, resolve_repeats


@pytest.mark.parametrize("rule", ["first", "last", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_a_loop(rule: Literal["first", "last", "sum"], weighted: bool) -> None:
    generator = np.random.default_rng(1)
    users, items = generator.integers(0, 6, 200), generator.integers(0, 6, 200)
    order = generator.permutation(200)
    weights = generator.random(200)
    chosen: dict[tuple[int, int], int] = {}
    total: dict[tuple[int, int], float] = {}
    for row in order.tolist():
        pair = (int(users[row]), int(items[row]))
        if rule != "first" or pair not in chosen:
            chosen[pair] = row
        total[pair] = total.get(pair, 0.0) + (float(weights[row]) if weighted else 1.0)
    expected = sorted(chosen.values())

    frame = pl.DataFrame({"user": users, "row": items})  # a column called row, for the code has one of its own
    rows, summed = resolve_repeats(
        frame, user="user", item="row", rule=rule, order=order, weights=pl.Series(weights) if weighted else None
    )
    assert rows.tolist() == expected
    if rule == "sum":
        assert summed is not None
        assert summed.to_list() == pytest.approx([total[int(users[row]), int(items[row])] for row in expected])
    else:
        assert summed is None
    for form in (pl.Int64, pl.UInt32, pl.String):
        assert count_repeats(frame.cast(form), "user", "row") == 200 - len(expected)
    mixed = frame.with_columns(pl.col("user").cast(pl.UInt32), pl.col("row").cast(pl.String))
    assert count_repeats(mixed, "user", "row") == 200 - len(expected)


def test_keep_keeps() -> None:
    frame = pl.DataFrame({"u": [1, 1], "i": [2, 2]})
    rows, weights = resolve_repeats(frame, user="u", item="i", rule="keep", order=np.array([1, 0]), weights=None)
    assert (rows.tolist(), weights) == ([0, 1], None)
