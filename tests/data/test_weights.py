"""How much a row counts: cap, then transform, then base."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.config import parse_config
from twotower.data import Interactions, Schema
from twotower.data.weights import row_weights
from twotower.errors import DataError

VALUES = [0, 1, 59, 3600, 86_400]


def schema(**options: Any) -> Schema:
    return parse_config(Schema, {"user": "u", "item": "i", "order": "row", "weight": "w", **options})


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt32, pl.Float32, pl.Float64])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 59, 3600, 86_400]),
        ({"weight_transform": "log1p"}, [math.log(1 + value) for value in VALUES]),
        ({"weight_cap": 3600}, [0, 1, 59, 3600, 3600]),
        ({"weight_base": 0.25}, [0.25, 1.25, 59.25, 3600.25, 86_400.25]),
        (
            {"weight_transform": "log1p", "weight_cap": 59, "weight_base": 0.5},
            [0.5, math.log(2) + 0.5, *[math.log(60) + 0.5] * 3],
        ),
    ],
)
def test_cap_then_transform_then_base(options: dict[str, Any], expected: list[float], dtype: type[pl.DataType]) -> None:
    found = row_weights(pl.Series("w", VALUES, dtype=dtype), schema(**options))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_table_is_left_as_it_was() -> None:
    frame = pl.DataFrame({"u": ["a", "b"], "i": ["x", "y"], "w": [3.0, 8.0]})
    interactions = Interactions.from_table(frame, schema(weight_cap=5, weight_base=1))
    assert interactions.weights is not None
    assert interactions.weights.tolist() == [4.0, 6.0]
    interactions.weights[0] = 9
    assert interactions.frame["w"].to_list() == [3.0, 8.0]
    assert frame["w"].to_list() == [3.0, 8.0]


def test_of_repeats_the_sum_is_capped() -> None:
    frame = pl.DataFrame({"u": ["a", "a", "b"], "i": ["x", "x", "y"], "w": [3, 4, 8]})
    weighted = Interactions.from_table(frame, schema(repeats="sum", weight_cap=5, weight_base=0.5))
    assert weighted.weights is not None
    assert weighted.weights.tolist() == [5.5, 5.5]
    counted = Interactions.from_table(
        frame.drop("w"), parse_config(Schema, {"user": "u", "item": "i", "order": "row", "repeats": "sum", "weight_base": 1})
    )
    assert counted.weights is not None
    assert counted.weights.tolist() == [3.0, 2.0]


def test_a_missing_weight_is_no_guess() -> None:
    frame = pl.DataFrame({"u": ["a", "b"], "i": ["x", "y"], "w": [3.0, None]})
    with pytest.raises(DataError, match=r"row 1: None.*say what a missing one counts as: fill = \{ w = 0 \} in the table"):
        Interactions.from_table(frame, schema(weight_base=1))
    with pytest.raises(DataError, match=r"row 1: -1.0\); correct or drop them$"):
        Interactions.from_table(frame.with_columns(w=pl.Series([1.0, -1.0])), schema(weight_base=1))


def test_rows_are_weighed_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = pl.Series("w", VALUES * 3)
    options = schema(weight_transform="log1p", weight_cap=59, weight_base=0.5)
    whole = row_weights(values, options)
    monkeypatch.setattr("twotower.data.weights._AT_ONCE", 4)
    assert row_weights(values, options).tolist() == whole.tolist()
    assert row_weights(values[:0], options).tolist() == []
