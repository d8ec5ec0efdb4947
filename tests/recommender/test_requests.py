"""What is stored, what is given and what is assumed, in one frame."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
import torch

from twotower.data import HistoryInput
from twotower.errors import ConfigError, DataError
from twotower.recommender.events import history_columns
from twotower.recommender.requests import RequestDefaults, given_frame, join_rows, request_frame
from twotower.types import Ragged

KNOWN = pl.DataFrame(
    {
        "user": ["ann", None, "bob"],
        "age": pl.Series([20, None, 40], dtype=pl.Int8),
        "height": [1.5, None, float("nan")],
        "city": pl.Series(["Rome", None, "Oslo"], dtype=pl.Categorical),
        "member": [True, None, False],
        "tags": [["a"], None, ["b", "c"]],
        "born": [date(2000, 1, 1), None, date(1990, 5, 5)],
        "at": pl.Series([None, None, None], dtype=pl.Int64),
    }
)
NO_DEFAULTS = RequestDefaults(None, {})


def framed(
    features: Any, defaults: RequestDefaults = NO_DEFAULTS, strict: list[str] | None = None
) -> tuple[dict[str, list[Any]], dict[str, object]]:
    given = None if features is None else given_frame(features, KNOWN.height, columns=KNOWN.columns, id_column="user")
    frame, masks = request_frame(KNOWN, given, defaults, strict_columns=strict or [])
    assert frame.columns == KNOWN.columns
    return frame.to_dict(as_series=False), {name: defaults.values[name] for name, mask in masks.items() if mask.any()}


def test_given_values_win_and_missing_ones_do_not() -> None:
    found, assumed = framed([{"age": 30, "city": "Bari"}, {"age": None}, {"city": "Lima"}])
    assert found["age"] == [30, None, 40]
    assert found["city"] == ["Bari", None, "Lima"]
    assert found["member"] == [True, None, False]
    assert assumed == {}


@pytest.mark.parametrize(
    ("column", "given", "expected"),
    [
        ("age", [30, 1000, None], [30, 1000, 40]),  # wider than what is stored
        ("age", [30.0, None, None], [30, None, 40]),
        ("age", [Decimal("30.5"), None, None], [30.5, None, 40.0]),
        ("age", [30.5, 1, None], [30.5, 1.0, 40.0]),  # nothing is cut off
        ("age", [None, None, None], [20, None, 40]),
        ("height", [2, None, 1], [2.0, None, 1.0]),
        ("city", [None, "Rome", "Lima"], ["Rome", "Rome", "Lima"]),
        ("member", [False, True, None], [False, True, False]),
        ("tags", [[], ["x"], None], [[], ["x"], ["b", "c"]]),
        ("tags", [[], None, None], [[], None, ["b", "c"]]),
        ("born", [date(1980, 1, 1), None, None], [date(1980, 1, 1), None, date(1990, 5, 5)]),
        ("at", [1.5, 2, None], [1.5, 2.0, None]),
    ],
)
def test_types_that_fit(column: str, given: list[Any], expected: list[Any]) -> None:
    assert framed([{column: value} for value in given])[0][column] == expected


@pytest.mark.parametrize(
    ("column", "given", "message"),
    [
        ("age", ["30", "x", None], "column 'age' must be Int8 as in train; came String"),
        ("city", [1, 2, 3], "column 'city' must be Categorical as in train; came Int64"),
        ("member", [1, 0, 1], "column 'member' must be Boolean as in train; came Int64"),
        ("tags", ["a", "b", "c"], r"column 'tags' must be List\(String\) as in train; came String"),
        ("age", [1, "x", None], "column 'age' must hold values of one type; came"),
        ("tags", [[1.5], ["x"], None], "column 'tags' must"),
    ],
)
def test_types_that_do_not_fit(column: str, given: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        framed([{column: value} for value in given])


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (datetime(1970, 1, 2, 0, 0, 7), 86_407),  # without a zone: UTC
        (datetime(1970, 1, 2, 2, 0, 7, tzinfo=timezone(timedelta(hours=2))), 86_407),
        (datetime(1970, 1, 1, 0, 0, 1, 500_000), 1.5),
        (date(1970, 1, 3), 172_800),
    ],
)
def test_the_time_of_a_request_may_be_a_date_or_a_datetime(given: date, seconds: float) -> None:
    found, assumed = framed([{"at": given}, {"at": None}, {}], RequestDefaults("at", {"at": 9}), ["at"])
    assert found["at"] == [seconds, 9, 9]
    assert assumed == {"at": 9}


def test_a_frame_is_as_good_as_mappings() -> None:
    rows = [{"age": 30, "at": 5}, {"age": 31, "at": None}, {"age": None, "at": 7}]
    for one, other in ((pl.DataFrame(rows), rows), ([{}, {}, {}], None)):
        (found, _), (expected, _) = framed(one), framed(other)
        assert str(found) == str(expected)  # NaN equals nothing


def test_what_belongs_together_is_not_joined_from_a_request_and_the_store() -> None:
    given: list[dict[str, object]] = [{"age": 30}, {"height": 1.9}, {"age": None, "height": None}]
    rows = given_frame(given, KNOWN.height, columns=KNOWN.columns, id_column="user")
    frame, _ = request_frame(KNOWN, rows, NO_DEFAULTS, strict_columns=[], together=[("age", "height"), ("born", "member")])
    assert frame["age"].to_list() == [30, None, 40]
    assert str(frame["height"].to_list()) == "[None, 1.9, nan]"
    assert frame["member"].to_list() == KNOWN["member"].to_list()
    apart, _ = framed(given)
    assert apart["height"][:2] == [1.5, 1.9]


def test_defaults_fill_strict_columns_alone() -> None:
    defaults = RequestDefaults("at", {"at": 99, "age": 33, "city": "Rome", "member": True, "height": 1.7})
    found, assumed = framed([{"at": 5}, {}, {}], defaults, ["age", "at", "city", "member", "tags", "height"])
    assert found["at"] == [5, 99, 99]
    assert found["age"] == [20, 33, 40]
    assert found["city"] == ["Rome", "Rome", "Oslo"]
    assert found["member"] == [True, True, False]
    assert found["height"] == [1.5, 1.7, 1.7]  # NaN is missing, like null
    assert found["tags"] == [["a"], None, ["b", "c"]]
    assert assumed == {"at": 99, "age": 33, "city": "Rome", "member": True, "height": 1.7}
    found, assumed = framed([{"age": 1, "at": 1}] * 3, defaults, ["age", "at"])
    assert assumed == {}
    assert found["city"] == ["Rome", None, "Oslo"]


def test_faults_of_features() -> None:
    with pytest.raises(DataError, match="one row per request; came 2 rows for 3 requests"):
        framed([{}, {}])
    with pytest.raises(ConfigError, match=r"(?s)does not read 'aeg'; did you mean 'age'.*'user' is the user's id"):
        framed([{"aeg": 1, "user": "ann"}, {}, {}])
    with pytest.raises(DataError, match="an entry came as 'age'"):
        framed(["age", "age", "age"])


def test_defaults_of_train() -> None:
    frame = pl.DataFrame(
        {
            "at": [3, 9, 4, 1, None],
            "age": [1, 2, 3, 40, None],
            "weight": [1.0, 2.0, float("nan"), 4.0, None],
            "city": pl.Series(["b", "a", "b", "a", None], dtype=pl.Categorical),
            "member": [True, False, True, None, None],
            "tags": [["a"]] * 5,
            "nothing": pl.Series([None] * 5, dtype=pl.Int64),
            "nan": [float("nan")] * 5,
        }
    )
    found = RequestDefaults.from_train(frame, frame.columns, time_column="at")
    assert found.values == {"at": 9, "age": 3, "weight": 2.0, "city": "a", "member": True}
    assert found.time_column == "at"
    without = RequestDefaults.from_train(frame, ["age"], time_column="at")
    assert (without.time_column, without.values) == (None, {"age": 3})


def test_histories_are_cut_to_the_latest_and_looked_up() -> None:
    lookup = torch.tensor([10, 11, 12, 13], dtype=torch.int32)
    inputs = [HistoryInput("all", lookup), HistoryInput("latest", lookup, max_length=2)]
    histories = Ragged(torch.tensor([0, 1, 2, 3, 1], dtype=torch.int32), torch.tensor([0, 4, 4, 5]))
    found = history_columns(inputs, histories)
    assert list(found) == ["all", "latest"]
    assert all(isinstance(column, Ragged) for column in found.values())
    assert found["all"].values.tolist() == [10, 11, 12, 13, 11]  # type: ignore[union-attr]
    assert found["latest"].values.tolist() == [12, 13, 11]  # type: ignore[union-attr]
    assert found["latest"].offsets.tolist() == [0, 2, 2, 3]  # type: ignore[union-attr]


def test_join_rows_keeps_each_row_together() -> None:
    one = Ragged(torch.tensor([1, 2, 3], dtype=torch.int32), torch.tensor([0, 2, 2, 3]))
    two = Ragged(torch.tensor([7, 8]), torch.tensor([0, 1, 2, 2]))
    three = Ragged(torch.tensor([9]), torch.tensor([0, 0, 0, 1]))
    joined = join_rows(one, two, three)
    assert (joined.values.tolist(), joined.offsets.tolist()) == ([1, 2, 7, 8, 3, 9], [0, 3, 4, 6])
    assert join_rows(one).values.tolist() == [1, 2, 3]
