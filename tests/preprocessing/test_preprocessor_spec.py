"""What makes a spec consistent."""

from __future__ import annotations

import polars as pl
import pytest
from pydantic import ValidationError

from twotower.preprocessing import HistoryFeature, IdFeature, NumberFeature, PreprocessorSpec, TimestampFeature

USER = IdFeature(column="user").fit(pl.Series(["ann"]))
TIME = TimestampFeature(column="time", num_edges=2, standardise=True).fit(pl.Series([0, 1]))
HISTORY = HistoryFeature().fit(pl.Series(["x"]))
ITEM = IdFeature(column="item").fit(pl.Series(["x", "y"]))
PRICE = NumberFeature(column="price").fit(pl.Series([1]))


def spec(order: tuple[str, ...], candidate: tuple[object, ...] = (ITEM, PRICE)) -> PreprocessorSpec:
    return PreprocessorSpec.model_validate(
        {
            "user_column": "user",
            "item_column": "item",
            "user": (USER,),
            "context": (TIME,),
            "history": (HISTORY,),
            "candidate": candidate,
            "query_order": order,
        }
    )


@pytest.mark.parametrize("order", [("user", "time", "history"), ("history", "time", "user"), ("time", "user", "history")])
def test_query_columns_come_in_the_given_order(order: tuple[str, ...]) -> None:
    columns = {"user": ["user"], "time": ["time.bucket", "time.standardised"], "history": ["history"]}
    expected = [column for name in order for column in columns[name]]
    assert [column.name for column in spec(order).query_columns] == expected
    assert [column.name for column in spec(order).candidate_columns] == ["item", "price"]


@pytest.mark.parametrize("order", [("user", "time"), ("user", "time", "history", "history"), ("user", "time", "past"), ()])
def test_the_order_must_name_every_feature_once(order: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="query_order"):
        spec(order)


def test_columns_must_be_unique_in_a_tower() -> None:
    with pytest.raises(ValidationError, match="unique in the candidate tower; 'item' came twice"):
        spec(("user", "time", "history"), candidate=(ITEM, PRICE, ITEM))
