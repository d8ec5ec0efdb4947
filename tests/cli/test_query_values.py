"""``--query``: pairs, commas, quotes, JSON, types, and what is said of what does not fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from twotower.cli.query_values import query_values
from twotower.errors import ConfigError

TYPES: dict[str, pl.DataType] = {
    "viewer_country": pl.Enum(["BR", "US"]),
    "viewer_lang": pl.String(),
    "viewer_age": pl.Int64(),
    "viewer_longitude": pl.Float32(),
    "follows": pl.Boolean(),
    "at": pl.Datetime(),
    "tags": pl.List(pl.String()),
}


def parsed(*parts: str) -> dict[str, object]:
    return query_values(parts, TYPES, id_column="viewer")


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("viewer_country=BR,viewer_lang=pt,viewer_age=23", {"viewer_country": "BR", "viewer_lang": "pt", "viewer_age": 23}),
        (" viewer_lang = pt , viewer_age = 23 ", {"viewer_lang": "pt", "viewer_age": 23}),
        ("viewer_lang=pt, Brazil", {"viewer_lang": "pt, Brazil"}),
        ('viewer_lang="pt, Brazil",viewer_age=23', {"viewer_lang": "pt, Brazil", "viewer_age": 23}),
        ('viewer_age=23,viewer_lang="a=1,b=2"', {"viewer_lang": "a=1,b=2", "viewer_age": 23}),
        ('viewer_age=6,viewer_lang=5"', {"viewer_age": 6, "viewer_lang": '5"'}),
        ("viewer_lang=a=b", {"viewer_lang": "a=b"}),
        ("viewer_lang=", {"viewer_lang": ""}),
        ("viewer_lang=23", {"viewer_lang": "23"}),
        ("viewer_age=23.5", {"viewer_age": 23.5}),
        ("viewer_longitude=-43,viewer_age=1e1", {"viewer_longitude": -43, "viewer_age": 10.0}),
        ("follows=true", {"follows": True}),
        ("follows=false", {"follows": False}),
        ("at=1600000000", {"at": 1_600_000_000.0}),
        ("at=2020-09-13", {"at": datetime(2020, 9, 13)}),
        ("at=2020-09-13T12:26:40Z", {"at": datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)}),
        ('{"viewer_lang": "a, b", "tags": ["x"], "viewer_age": 3}', {"viewer_lang": "a, b", "tags": ["x"], "viewer_age": 3}),
        (
            ' {"at": "2020-09-13 14:26:40+02:00"}',
            {"at": datetime(2020, 9, 13, 14, 26, 40, tzinfo=timezone(timedelta(hours=2)))},
        ),
        ('{"at": 5, "viewer_age": "old"}', {"at": 5, "viewer_age": "old"}),  # typed by whoever wrote it: the library checks it
    ],
)
def test_what_is_meant(part: str, expected: dict[str, object]) -> None:
    found = parsed(part)
    assert found == expected
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in expected.items()}


def test_options_come_together_and_the_last_wins() -> None:
    assert parsed("viewer_lang=pt", "viewer_age=23,viewer_lang=es") == {"viewer_lang": "es", "viewer_age": 23}
    assert parsed() == {}


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("viewer_contry=BR", "--query viewer_contry: the query does not read 'viewer_contry'; did you mean 'viewer_country'?"),
        ("viewer=u1", "--query viewer=u1: 'viewer' is the user's id; write --user u1"),
        ("viewer_age=old", "--query viewer_age=old: 'viewer_age' is a number in train (Int64); came 'old'"),
        ("viewer_longitude=nan", "--query viewer_longitude=nan: 'viewer_longitude' is a number in train (Float32); came 'nan'"),
        ("viewer_age=", "--query viewer_age=: 'viewer_age' is a number in train (Int64); came ''"),
        ("follows=yes", "--query follows=yes: 'follows' is true or false; came 'yes'"),
        ("at=inf", "--query at=inf: 'at' is a time; write 2024-01-31, 2024-01-31T08:30:00Z or Unix seconds"),
        (
            "viewer_age",
            "--query viewer_age: write column=value; a value that holds a comma goes between double quotes, "
            'column="a, b", or into a --query of its own',
        ),
        ("viewer_lang=a, b,viewer_age=3", "--query b: write column=value"),
        ("=3", "--query =3: write column=value"),
        ("", "--query : write column=value"),
        ("{viewer_age: 3}", "--query {viewer_age: 3}: not valid JSON"),
    ],
)
def test_what_is_not(part: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(part)
    assert str(caught.value).startswith(message)


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed("viewer_age=old,follows=maybe", "viewer", "zzz=1", "{")
    assert len(caught.value.faults) == 5
