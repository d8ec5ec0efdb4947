"""Ids, with a vocabulary and hashed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from twotower.config import parse_config
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import FittedId, IdFeature, Lookup
from twotower.spec import RowsColumn


def test_rows_are_sorted_and_unknown_is_zero() -> None:
    fitted = IdFeature(column="user").fit(pl.Series(["bob", "ann", None, "bob"]))
    assert fitted.encode(pl.Series(["ann", "bob", "eve", None]))["user"].tolist() == [1, 2, 0, 0]
    assert fitted.columns == (RowsColumn(name="user", vocabulary_size=3),)


def test_min_count_counts_interactions() -> None:
    column, counts = pl.Series(["a", "b", "c", "b"]), np.array([2, 1, 0, 1])
    later = pl.Series(["a", "b", "c"])
    assert IdFeature(column="x").fit(column, counts).encode(later)["x"].tolist() == [1, 2, 0]
    assert IdFeature(column="x", min_count=2).fit(column, counts).encode(later)["x"].tolist() == [1, 2, 0]
    assert IdFeature(column="x", min_count=2).fit(column).encode(later)["x"].tolist() == [0, 1, 0]


def test_hashing_keeps_no_ids_and_fills_the_buckets() -> None:
    fitted = IdFeature(column="user", hash_buckets=10).fit(pl.Series(["ann"]))
    assert fitted.lookup is None
    assert fitted.columns == (RowsColumn(name="user", vocabulary_size=11),)
    rows = fitted.encode(pl.Series([f"user {i}" for i in range(1_000)]))["user"]
    assert sorted(set(rows.tolist())) == list(range(1, 11))
    assert np.bincount(rows.numpy())[1:].min() > 60
    assert fitted.encode(pl.Series([None, None], dtype=pl.String))["user"].tolist() == [0, 0]


def test_hashed_rows_are_the_documented_hash() -> None:
    # printf '%s' ann | b2sum -l 64 prints 8d3adf6abf23f3a5, and for bob 74f32b2bb966a492
    fitted = IdFeature(column="user", hash_buckets=1_000).fit(pl.Series(["x"]))
    expected = [0xA5F323BF6ADF3A8D % 1_000 + 1, 0, 0x92A466B92B2BF374 % 1_000 + 1, 0xA5F323BF6ADF3A8D % 1_000 + 1]
    assert fitted.encode(pl.Series(["ann", None, "bob", "ann"]))["user"].tolist() == expected
    integers = IdFeature(column="user", hash_buckets=1_000).fit(pl.Series([1]))
    texts = fitted.encode(pl.Series(["17"]))["user"]
    assert integers.encode(pl.Series([17]))["user"].tolist() == texts.tolist()


def test_min_count_with_hashing_is_a_fault() -> None:
    with pytest.raises(ConfigError, match="min_count needs a vocabulary"):
        parse_config(IdFeature, {"column": "x", "min_count": 2, "hash_buckets": 10})


def test_hashing_checks_the_type_too() -> None:
    with pytest.raises(DataError, match="must hold text or integers"):
        IdFeature(column="x", hash_buckets=3).fit(pl.Series([1.5]))
    with pytest.raises(ValueError, match="one entry per row"):
        IdFeature(column="x", hash_buckets=3).fit(pl.Series([1]), np.array([1, 2]))


def test_a_fitted_id_has_a_vocabulary_or_a_hash() -> None:
    with pytest.raises(ValidationError, match="and not both"):
        FittedId(config=IdFeature(column="x"), lookup=None)


def test_rare_ids_share_the_rows_of_the_tail_and_unseen_ones_have_row_zero() -> None:
    column = pl.Series(["ann", "bob", "eve", "eve", None])
    fitted = IdFeature(column="user", min_count=2, tail_buckets=1_000).fit(column)
    assert fitted.columns == (RowsColumn(name="user", vocabulary_size=1_002),)
    # eve has row 1, the tail begins at row 2; the hashes of ann and bob are those of b2sum, above
    expected = [2 + 0xA5F323BF6ADF3A8D % 1_000, 2 + 0x92A466B92B2BF374 % 1_000, 1, 0, 0]
    assert fitted.encode(pl.Series(["ann", "bob", "eve", "zoe", None]))["user"].tolist() == expected
    without = IdFeature(column="user", min_count=2).fit(column)
    assert without.encode(pl.Series(["ann", "bob", "eve", "zoe", None]))["user"].tolist() == [0, 0, 1, 0, 0]
    fewer = IdFeature(column="user", min_count=2, tail_buckets=1).fit(column)
    assert fewer.encode(pl.Series(["ann", "bob", "eve", "zoe"]))["user"].tolist() == [2, 2, 1, 0]


def test_a_tail_that_nobody_is_in() -> None:
    fitted = IdFeature(column="user", min_count=2, tail_buckets=3).fit(pl.Series([7, 7]))
    assert fitted.tail is None
    assert fitted.encode(pl.Series([7, 8]))["user"].tolist() == [1, 0]


def test_an_id_of_weight_zero_is_not_in_the_tail() -> None:
    fitted = IdFeature(column="user", min_count=2, tail_buckets=3).fit(pl.Series(["a", "b", "c"]), np.array([2, 1, 0]))
    rows = fitted.encode(pl.Series(["a", "b", "c"]))["user"].tolist()
    assert (rows[0], rows[2]) == (1, 0)
    assert 2 <= rows[1] < 5


def test_a_tail_needs_rare_ids_and_a_vocabulary() -> None:
    with pytest.raises(ConfigError, match="tail_buckets are for ids of fewer than min_count interactions"):
        parse_config(IdFeature, {"column": "x", "tail_buckets": 10})
    with pytest.raises(ConfigError, match="min_count needs a vocabulary"):
        parse_config(IdFeature, {"column": "x", "tail_buckets": 10, "min_count": 2, "hash_buckets": 10})
    with pytest.raises(ValidationError, match="only an id feature with tail_buckets has a tail"):
        FittedId(config=IdFeature(column="x"), lookup=Lookup(ids=pl.Series(["a"])), tail=Lookup(ids=pl.Series(["b"])))
