"""Ids in a spec: series, lists, and names of those that are too many for JSON."""

from __future__ import annotations

import json

import polars as pl
import pytest
from pydantic import ValidationError

from twotower.preprocessing import Lookup
from twotower.preprocessing.vocabulary_field import LargeVocabularies


def test_ids_from_json_are_distinct_of_one_type_and_never_converted() -> None:
    texts, integers = Lookup.model_validate({"ids": ["1", "2"]}), Lookup.model_validate_json('{"ids": [1, 2]}')
    assert texts.ids.to_list() == ["1", "2"]
    assert texts.ids.dtype == pl.String
    assert integers.ids.to_list() == [1, 2]
    assert integers.ids.dtype == pl.Int64
    large = "[9223372036854775808]"
    for bad in ('["a", "a"]', '["b", "a", "b"]', '["a", 1]', "[]", "[1.0]", "[true]", "[null]", large, '"ab"'):
        with pytest.raises(ValidationError):
            Lookup.model_validate_json(f'{{"ids": {bad}}}')


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (pl.Series([1.0]), "all text or all integers"),
        (pl.Series([1], dtype=pl.Int32), "all text or all integers"),
        (pl.Series([], dtype=pl.String), "at least one id"),
        (pl.Series(["a", None]), "none of them null"),
        (pl.Series(["a", "b", "b"]), "there once"),
        (pl.Series(["b", "a", "b"]), "there once"),
    ],
    ids=str,
)
def test_a_series_is_held_to_the_same(ids: pl.Series, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Lookup(ids=ids)


def test_only_large_vocabularies_leave_the_json() -> None:
    small, large = Lookup(ids=pl.Series(["a", "b"])), Lookup(ids=pl.Series([1, 2, 3]))
    found = LargeVocabularies(at_least=3)
    assert small.model_dump(mode="json", context=found) == {"ids": ["a", "b"]}
    assert large.model_dump(mode="json", context=found) == {"ids": {"vocabulary": "vocabulary_0"}}
    assert json.loads(large.model_dump_json()) == {"ids": [1, 2, 3]}
    assert {name: ids.to_list() for name, ids in found.found.items()} == {"vocabulary_0": [1, 2, 3]}


def test_equal_ids_are_kept_once_and_others_beside_them() -> None:
    found = LargeVocabularies(at_least=1)
    names = [found.put(pl.Series(ids)) for ids in ([1, 2], [1, 2], [2, 1], ["1", "2"])]
    assert names == ["vocabulary_0", "vocabulary_0", "vocabulary_1", "vocabulary_2"]
