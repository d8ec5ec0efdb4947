"""The vocabulary of histories."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from twotower.config import parse_config
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import FittedHistory, HistoryFeature, SequenceFeature
from twotower.spec import ItemsColumn, RowsColumn


def test_each_item_of_the_catalogue_has_its_row() -> None:
    fitted = HistoryFeature().fit(pl.Series(["b", "a", "c"]))
    rows = fitted.encode(pl.Series(["c", "a", "new", None]))
    assert rows.dtype == torch.int32
    assert rows.tolist() == [3, 1, 0, 0]
    assert fitted.columns == (RowsColumn(name="history", vocabulary_size=4, ragged=True),)


def test_min_count_and_name() -> None:
    items, counts = pl.Series([10, 20, 30]), np.array([1, 2, 0])
    assert HistoryFeature().fit(items, counts).encode(items).tolist() == [1, 2, 0]
    fitted = HistoryFeature(name="watched", min_count=2).fit(items, counts)
    assert fitted.encode(items).tolist() == [0, 1, 0]
    assert fitted.columns == (RowsColumn(name="watched", vocabulary_size=2, ragged=True),)


def test_the_choices_travel_with_the_fitted_feature() -> None:
    config = HistoryFeature(max_length=20, mode="others", own_item="allow")
    fitted = FittedHistory.model_validate_json(config.fit(pl.Series(["a"])).model_dump_json())
    assert (fitted.config.max_length, fitted.config.mode, fitted.config.own_item) == (20, "others", "allow")
    assert (HistoryFeature().max_length, HistoryFeature().mode, HistoryFeature().own_item) == (None, "before", "exclude")


@pytest.mark.parametrize("values", [{"max_length": 0}, {"mode": "after"}, {"own_item": "no"}, {"column": "x"}, {"name": ""}])
def test_faults(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        parse_config(HistoryFeature, values)


def test_errors_name_the_column() -> None:
    with pytest.raises(DataError, match="column 'item' must hold text or integers"):
        HistoryFeature().fit(pl.Series("item", [1.5]))
    with pytest.raises(DataError, match="column 'item ids' must hold what it was fitted on"):
        HistoryFeature().fit(pl.Series([1])).encode(pl.Series(["1"]))


def test_a_sequence_has_the_vocabulary_of_a_history() -> None:
    items, counts = pl.Series(["x", "y", "z"]), np.array([5, 1, 2])
    config = SequenceFeature(name="read", max_length=7, min_count=2)
    fitted = config.fit(items, counts)
    assert fitted.lookup == HistoryFeature(min_count=2).fit(items, counts).lookup
    assert fitted.columns == (RowsColumn(name="read", vocabulary_size=3, ragged=True),)
    assert (config.mode, config.own_item, config.source_columns) == ("before", "allow", ())
    assert FittedHistory.model_validate_json(fitted.model_dump_json()) == fitted
    assert fitted.encode(pl.Series(["z", "w"])).tolist() == [2, 0]


def test_a_sequence_has_a_length() -> None:
    with pytest.raises(ConfigError, match="max_length"):
        parse_config(SequenceFeature, {"max_length": None})
    with pytest.raises(ConfigError, match="mode"):
        parse_config(SequenceFeature, {"mode": "others"})


@pytest.mark.parametrize("config", [HistoryFeature(items="candidate", max_length=7), SequenceFeature(items="candidate")])
def test_items_that_are_candidates_need_no_vocabulary(config: HistoryFeature | SequenceFeature) -> None:
    fitted = config.fit(pl.Series(["x", "y"]), np.array([1, 0]))
    assert fitted.lookup is None
    assert fitted.columns == (ItemsColumn(name=config.name),)
    assert FittedHistory.model_validate_json(fitted.model_dump_json()) == fitted
    with pytest.raises(ValueError, match="are found by catalogue row"):
        fitted.encode(pl.Series(["x"]))
    assert config.fit(pl.Series(["x", "y"], dtype=pl.Enum(["x", "y"]))) == fitted


def test_what_items_are_is_written_only_where_they_are_candidates() -> None:
    assert list(HistoryFeature().model_dump()) == ["kind", "name", "max_length", "mode", "own_item", "min_count"]
    assert list(SequenceFeature(items="table").model_dump()) == ["kind", "name", "max_length", "min_count"]
    assert SequenceFeature(items="candidate").model_dump()["items"] == "candidate"
    fitted = HistoryFeature().fit(pl.Series(["x"])).model_dump()
    for wrong in ({**fitted, "lookup": None}, {**fitted, "config": {"kind": "history", "items": "candidate"}}):
        with pytest.raises(ConfigError, match="a history whose items are"):
            parse_config(FittedHistory, wrong)


@pytest.mark.parametrize("kind", [HistoryFeature, SequenceFeature])
def test_candidates_share_no_row(kind: type[HistoryFeature]) -> None:
    with pytest.raises(ConfigError, match="min_count: with items = 'candidate' no item shares a row"):
        parse_config(kind, {"items": "candidate", "min_count": 3})
    with pytest.raises(ConfigError, match="items"):
        parse_config(kind, {"items": "query"})
