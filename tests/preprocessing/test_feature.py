"""What features on columns share."""

from __future__ import annotations

import polars as pl
import pytest

from twotower.config import parse_config
from twotower.errors import ConfigError
from twotower.preprocessing import IdFeature


def test_the_name_is_the_column_unless_given() -> None:
    assert IdFeature(column="user").output_name == "user"
    assert IdFeature(column="user", name="who").output_name == "who"


def test_the_given_name_names_the_encoded_column() -> None:
    fitted = IdFeature(column="user", name="who").fit(pl.Series(["ann"]))
    assert [column.name for column in fitted.columns] == ["who"]
    assert list(fitted.encode(pl.Series(["ann"]))) == ["who"]


@pytest.mark.parametrize("values", [{"column": ""}, {"column": "user", "name": ""}, {}])
def test_an_empty_or_absent_name_is_a_fault(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"column|name"):
        parse_config(IdFeature, values)
