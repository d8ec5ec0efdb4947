"""Missing rules and the errors that name rows."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.config import parse_config
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import CategoryFeature, FillCategory, FillNumber, NumberFeature, VectorFeature
from twotower.preprocessing.missing import first_rows, require_present


def test_words_and_fills_are_accepted() -> None:
    assert parse_config(NumberFeature, {"column": "x", "missing": "own"}).missing == "own"
    assert parse_config(NumberFeature, {"column": "x", "missing": {"fill": 2}}).missing == FillNumber(fill=2.0)
    assert NumberFeature(column="x", missing=FillNumber(fill=2.0)).missing == FillNumber(fill=2.0)
    assert parse_config(CategoryFeature, {"column": "x", "missing": {"fill": 2}}).missing == FillCategory(fill=2)
    assert parse_config(CategoryFeature, {"column": "x", "missing": {"fill": "2"}}).missing == FillCategory(fill="2")


@pytest.mark.parametrize("rule", ["own_row", "fill", 3, None, {"fil": 3}, {"fill": 1, "more": 2}])
def test_another_rule_is_one_sentence_with_the_rules(rule: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(NumberFeature, {"column": "x", "missing": rule})
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith("missing: must be 'error', 'own' or {'fill': value}")


def test_a_rule_without_fill_refuses_a_fill() -> None:
    with pytest.raises(ConfigError, match="missing: must be 'error' or 'zeros'"):
        parse_config(VectorFeature, {"column": "x", "missing": {"fill": 0}})


def test_only_the_first_rows_are_listed() -> None:
    assert first_rows(np.ones(2_000, dtype=np.bool_)) == "2,000 of 2,000 rows, first: 0, 1, 2, 3, 4"


def test_a_missing_value_names_column_rows_and_remedy() -> None:
    require_present(np.zeros(3, dtype=np.bool_), "age", "declare it")
    with pytest.raises(DataError, match=r"'age'.*1 of 3 rows, first: 2; declare it"):
        require_present(np.array([False, False, True]), "age", "declare it")
