"""Ids, with a vocabulary and hashed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from twotower.config import parse_config
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import FittedId, IdFeature
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
