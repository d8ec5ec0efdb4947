"""The declaration of what columns mean."""

from __future__ import annotations

import pytest

from twotower.config import parse_config
from twotower.data import Schema
from twotower.errors import ConfigError


def test_order_by_row_must_be_declared_where_there_is_no_time() -> None:
    with pytest.raises(ConfigError, match="no time column is declared; name one in `time`, or declare order = 'row'"):
        parse_config(Schema, {"user": "u", "item": "i"})
    assert parse_config(Schema, {"user": "u", "item": "i", "order": "row"}).time is None
    assert parse_config(Schema, {"user": "u", "item": "i", "time": "t"}).order == "time"
    assert parse_config(Schema, {"user": "u", "item": "i", "time": "t", "order": "row"}).order == "row"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"user": "u", "item": "u", "order": "row"}, "must be two columns; both are 'u'"),
        ({"user": "u", "item": "i", "order": "row", "positives": "rating => 4"}, "positives must read like"),
        ({"user": "u", "item": "i", "order": "row", "min_item_count": 0}, "min_item_count"),
        ({"user": "u", "item": "i", "order": "row", "repeats": "mean"}, "repeats"),
        ({"user": "u", "item": "i", "order": "row", "repeat": "sum"}, "did you mean 'repeats'"),
        ({"user": "u", "item": "i", "order": "row", "weight": "w", "weight_transform": "log"}, "weight_transform"),
        ({"user": "u", "item": "i", "order": "row", "weight": "w", "weight_cap": 0}, "weight_cap"),
        ({"user": "u", "item": "i", "order": "row", "weight": "w", "weight_cap": float("inf")}, "weight_cap"),
        ({"user": "u", "item": "i", "order": "row", "weight": "w", "weight_base": -0.1}, "weight_base"),
        (
            {"user": "u", "item": "i", "order": "row", "weight_transform": "log1p"},
            "weight_transform shapes a weight, and there is none",
        ),
        ({"user": "u", "item": "i", "order": "row", "weight_cap": 9}, "weight_cap shapes a weight"),
        ({"user": "u", "item": "i", "order": "row", "weight_base": 1}, "weight_base shapes a weight"),
    ],
)
def test_faults(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(Schema, values)


def test_counted_repeats_can_be_shaped() -> None:
    assert parse_config(Schema, {"user": "u", "item": "i", "order": "row", "repeats": "sum", "weight_cap": 9}).weight_cap == 9.0


def test_round_trip() -> None:
    plain = Schema(user="u", item="i", order="row")
    assert Schema.model_validate_json(plain.model_dump_json()) == plain
    schema = Schema(user="u", item="i", time="t", positives="r >= 4", repeats="sum", min_user_count=3)
    assert Schema.model_validate_json(schema.model_dump_json()) == schema
