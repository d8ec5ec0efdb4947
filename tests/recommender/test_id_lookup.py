"""Ids to rows, and the nearest id to a wrong one."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest

from twotower.data import IdTable
from twotower.errors import DataError, UnknownIdError
from twotower.recommender.id_lookup import IdLookup, require_list
from twotower.types import Id


def lookup_of(ids: list[Id]) -> IdLookup:
    return IdLookup(IdTable.from_table(pl.DataFrame({"item": ids}), "item"))


def test_rows() -> None:
    assert lookup_of(["b", "a"]).rows(["a", "b", "c", None, 1]).tolist() == [1, 0, -1, -1, -1]
    assert lookup_of([5, 3]).rows([3, "3", 5]).tolist() == [1, -1, 0]
    assert lookup_of([5, 3]).rows([]).tolist() == []


@pytest.mark.parametrize(
    ("ids", "asked", "hint"),
    [
        ([7, 70, 700], "700", r"integers; did you mean 700\?"),
        (["7", "70", "700"], 70, r"text; did you mean '70'\?"),
        ([-7, 70], "-7", r"integers; did you mean -7\?"),
        (["The Matrix", "Heat"], " the matrix ", r"text; did you mean 'The Matrix'\?"),
        (["Heat", "The Matrix (1999)"], "The Martix (1999)", r"text; did you mean 'The Matrix \(1999\)'\?"),
        ([1000001, 5], 1000002, r"integers; did you mean 1000001\?"),
        (["Heat", "Alien"], "Star Wars", "text$"),
        ([1, 2], "x", "integers$"),
        ([1, 2], None, "integers$"),
    ],
)
def test_the_nearest_id(ids: list[Id], asked: Id, hint: str) -> None:
    with pytest.raises(
        UnknownIdError, match=rf"^only: no item {re.escape(repr(asked))} among {len(ids)}, whose ids are {hint}"
    ):
        lookup_of(ids).require([ids[0], asked], "only")


def test_require_gives_rows() -> None:
    assert lookup_of(["b", "a"]).require(["a", "a", "b"], "only").tolist() == [1, 1, 0]
    assert lookup_of(["b", "a"]).require([], "only").tolist() == []


@pytest.mark.parametrize("single", ["abc", 7, b"abc"])
def test_a_single_id_is_no_list(single: object) -> None:
    with pytest.raises(DataError, match="exclude must be a list of ids; came the single value"):
        require_list(single, "exclude")
    require_list([single], "exclude")


@pytest.mark.parametrize("other", [None, 1.5, object(), iter(["a"])])
def test_what_is_no_list_at_all(other: object) -> None:
    with pytest.raises(DataError, match="exclude must be a list of ids; came "):
        require_list(other, "exclude")


def test_what_python_takes_for_an_integer_is_none() -> None:
    lookup = IdLookup(IdTable.from_ids(pl.Series([1, 2]), "user", noun="user"))
    odd: list[Any] = [True, 1.0, np.float64(1), np.bool_(True), Decimal(1), Fraction(1), 1 + 0j, "1", None]
    assert lookup.rows(odd).tolist() == [-1] * len(odd)
    assert lookup.rows([1, np.int64(2), np.int8(1)]).tolist() == [0, 1, 0]  # type: ignore[list-item]
    texts = IdLookup(IdTable.from_ids(pl.Series(["a", "b"]), "user", noun="user"))
    assert "user '\\ud800' among 2" in texts.describe_unknown("\ud800")
