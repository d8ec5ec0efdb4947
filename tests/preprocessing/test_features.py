"""The contract that every feature keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from twotower.config import Config, parse_config
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import (
    BucketsFeature,
    CategoryFeature,
    ColumnFeatureConfig,
    FeatureConfig,
    FillCategory,
    FillNumber,
    FittedFeature,
    GeoFeature,
    IdFeature,
    MultiCategoryFeature,
    NumberFeature,
    TextFeature,
    TimestampFeature,
    VectorFeature,
)
from twotower.spec import FloatsColumn, RowsColumn
from twotower.types import Column, Ragged, column_length


class Case(NamedTuple):
    """A feature, rows to fit on, rows that train never had with what they must become, and a column of a wrong type."""

    config: ColumnFeatureConfig
    train: pl.Series
    unknown: pl.Series
    expected: dict[str, list[object]]
    wrong: pl.Series


def places(longitude: Sequence[object], latitude: Sequence[object]) -> pl.Series:
    return pl.DataFrame({"c": longitude, "b": latitude}).to_struct()


TIMES = pl.Series([1_000_000, 1_300_000, 1_700_000, 1_000_000])
CASES = {
    "id_text": Case(
        IdFeature(column="c"), pl.Series(["b", "a", "b", None]), pl.Series(["z", None]), {"c": [0, 0]}, pl.Series([1.5])
    ),
    "id_integers": Case(
        IdFeature(column="c", name="n"), pl.Series([30, 10, 30]), pl.Series([20, None]), {"n": [0, 0]}, pl.Series(["x"])
    ),
    "id_hashed": Case(
        IdFeature(column="c", hash_buckets=1), pl.Series(["b", "a"]), pl.Series(["z", None]), {"c": [1, 0]}, pl.Series([1.5])
    ),
    "category": Case(
        CategoryFeature(column="c"), pl.Series(["b", "a", "b"]), pl.Series(["z", ""]), {"c": [0, 0]}, pl.Series([1.5])
    ),
    "category_own_row": Case(
        CategoryFeature(column="c", missing="own_row"),
        pl.Series(["b", None]),
        pl.Series(["z", None]),
        {"c": [0, 2]},
        pl.Series([3]),
    ),
    "category_fill": Case(
        CategoryFeature(column="c", missing=FillCategory(fill=7)),
        pl.Series([9, 7, 9]),
        pl.Series([1, None]),
        {"c": [0, 1]},
        pl.Series(["x"]),
    ),
    "id_tail": Case(
        IdFeature(column="c", min_count=2, tail_buckets=1),
        pl.Series(["b", "a", "b", "d", "d"]),
        pl.Series(["z", None]),
        {"c": [0, 0]},
        pl.Series([1.5]),
    ),
    "category_part": Case(
        CategoryFeature(column="c", separator=":", part=1, missing="own_row"),
        pl.Series(["x:b", "y:a", "b", None, "x:"]),
        pl.Series(["x:z", "b"]),
        {"c": [0, 3]},
        pl.Series([3]),
    ),
    "geo": Case(
        GeoFeature(longitude="c", latitude="b", name="place"),
        places([10.0, 10.2, None, 200.0 - 360], [60.0, 60.1, 3.0, -5.0]),
        places([None, 50.0], [0.0, 0.0]),
        {"place": [[0, 0, 0, 1], [*(np.cos(np.radians(50)), np.sin(np.radians(50))), 0, 0]], "place_coarse": [3, 0]},
        places(["x"], ["y"]),
    ),
    "number_clip": Case(
        NumberFeature(column="c", clip=(1, 4), standardise=False),
        pl.Series([0.0, 2.0, 9.0]),
        pl.Series([-9.0, 99.0]),
        {"c": [[1], [4]]},
        pl.Series(["1"]),
    ),
    "number": Case(
        NumberFeature(column="c", transform="log1p"),
        pl.Series([0.1, 0.7, 5.0, 0.1]),
        pl.Series([9.0, 1e300]),
        {},
        pl.Series(["1"]),
    ),
    "number_own": Case(
        NumberFeature(column="c", missing="own"),
        pl.Series([1, 3, None]),
        pl.Series([None, 99]),
        {"c": [[0, 1], [1, 0]]},
        pl.Series(["1"]),
    ),
    "number_fill": Case(
        NumberFeature(column="c", missing=FillNumber(fill=0.1), standardise=False),
        pl.Series([0, 3]),
        pl.Series([-9, 99]),
        {"c": [[0], [3]]},
        pl.Series(["1"]),
    ),
    "buckets_linear": Case(
        BucketsFeature(column="c", num_edges=4, missing="own_row"),
        pl.Series([0.1, 0.7, 5.0]),
        pl.Series([-1.0, 9.0, None]),
        {"c": [1, 4, 5]},
        pl.Series(["1"]),
    ),
    "buckets_quantile": Case(
        BucketsFeature(column="c", num_edges=2, spacing="quantile", missing=FillNumber(fill=0.2)),
        pl.Series([0.1, 0.7, 5.0, 6.0]),
        pl.Series([-1.0, 9.0]),
        {"c": [0, 2]},
        pl.Series(["1"]),
    ),
    "buckets_given": Case(
        BucketsFeature(column="c", edges=(0.1, 0.3)), pl.Series([0.2]), pl.Series([-1.0, 9.0]), {"c": [0, 2]}, pl.Series(["1"])
    ),
    "timestamp": Case(
        TimestampFeature(column="c", num_edges=3, standardise=True, hour_of_day=True, day_of_week=True),
        TIMES,
        pl.Series([0, 10**9]),
        {"c.bucket": [1, 3]},
        pl.Series(["1"]),
    ),
    "text": Case(
        TextFeature(column="c", max_tokens=3),
        pl.Series(["The Matrix", "The Net", None, ""]),
        pl.Series(["zebra", None]),
        {"c": [[0], []]},
        pl.Series([1]),
    ),
    "text_separator": Case(
        TextFeature(column="c", separator="|"),
        pl.Series(["Sci-Fi|A b"]),
        pl.Series(["z|", None]),
        {"c": [[0], []]},
        pl.Series([1]),
    ),
    "multi_category": Case(
        MultiCategoryFeature(column="c"),
        pl.Series([["b", "a"], None, []]),
        pl.Series([["z"], None]),
        {"c": [[0], []]},
        pl.Series(["a"]),
    ),
    "multi_category_separator": Case(
        MultiCategoryFeature(column="c", separator=","),
        pl.Series(["b, a", ""]),
        pl.Series(["z", None]),
        {"c": [[0], []]},
        pl.Series([1]),
    ),
    "vector": Case(
        VectorFeature(column="c", normalise=True, missing="zeros"),
        pl.Series([[0.1, 0.7], None, [3.0, 4.0]]),
        pl.Series([None, [2.0, 0.0]]),
        {"c": [[0, 0], [1, 0]]},
        pl.Series(["1"]),
    ),
}
ANY_FITTED: TypeAdapter[FittedFeature] = TypeAdapter(FittedFeature)
ANY_CONFIG: TypeAdapter[FeatureConfig] = TypeAdapter(FeatureConfig)


TEXTUAL = [name for name, case in CASES.items() if case.train.dtype == pl.String]


def as_enum(column: pl.Series, *, more: Sequence[str] = ()) -> pl.Series:
    """As a converted table has it: sorted categories, some of which may be in no row."""
    return column.cast(pl.Enum(sorted({*column.drop_nulls(), *more})))


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def plain(column: Column) -> list[object]:
    if isinstance(column, Ragged):
        ends, values = column.offsets.tolist(), column.values.tolist()
        return [values[start:end] for start, end in pairwise(ends)]
    rows: list[object] = column.tolist()
    return rows


def check_encoded(fitted: FittedFeature, encoded: dict[str, Column], num_rows: int) -> None:
    """Names, order, shapes, dtypes and ranges are those that the columns promise."""
    assert list(encoded) == [spec.name for spec in fitted.columns]
    for spec in fitted.columns:
        column = encoded[spec.name]
        assert column_length(column) == num_rows
        if isinstance(spec, FloatsColumn):
            assert isinstance(column, torch.Tensor)
            assert (column.shape, column.dtype) == ((num_rows, spec.width), torch.float32)
            assert bool(torch.isfinite(column).all())
            continue
        assert isinstance(spec, RowsColumn)
        assert spec.ragged == isinstance(column, Ragged)
        rows = column.values if isinstance(column, Ragged) else column
        assert rows.dtype == torch.int32
        assert rows.shape == (rows.numel(),)
        assert not rows.numel() or 0 <= int(rows.min()) <= int(rows.max()) < spec.vocabulary_size
        if isinstance(column, Ragged):
            assert column.offsets.dtype == torch.int64
            assert column.offsets[0] == 0
            assert int(column.offsets[-1]) == column.values.numel()


def encode(fitted: FittedFeature, column: pl.Series) -> dict[str, Column]:
    return dict(fitted.encode(column))


def test_encoded_is_what_the_columns_promise(case: Case) -> None:
    fitted = case.config.fit(case.train)
    check_encoded(fitted, encode(fitted, case.train), len(case.train))
    check_encoded(fitted, encode(fitted, case.unknown), len(case.unknown))


def test_no_rows(case: Case) -> None:
    fitted = case.config.fit(case.train)
    check_encoded(fitted, encode(fitted, case.train.clear()), 0)


def test_unknown_values_have_their_place(case: Case) -> None:
    encoded = encode(case.config.fit(case.train), case.unknown)
    for name, expected in case.expected.items():
        rows = plain(encoded[name])
        assert rows == [pytest.approx(row, abs=1e-6) if isinstance(row, list) else row for row in expected]


def test_json_round_trip_is_exact(case: Case) -> None:
    fitted = case.config.fit(case.train)
    before = encode(fitted, case.train)
    again = ANY_FITTED.validate_json(fitted.model_dump_json())
    assert type(again) is type(fitted)
    assert again == fitted
    assert again.model_dump_json() == fitted.model_dump_json()
    assert ANY_FITTED.validate_python(json.loads(fitted.model_dump_json())) == fitted
    after = encode(again, case.train)
    assert {name: plain(column) for name, column in after.items()} == {name: plain(column) for name, column in before.items()}
    assert ANY_CONFIG.validate_json(case.config.model_dump_json()) == case.config == fitted.config
    assert fitted.kind == case.config.kind


def test_fitting_twice_and_in_another_order_finds_the_same(case: Case) -> None:
    fitted = case.config.fit(case.train)
    backwards = case.config.fit(case.train.reverse())
    assert case.config.fit(case.train) == fitted
    names = [spec.name for spec in fitted.columns]
    assert [spec.name for spec in backwards.columns] == names
    forwards_rows, backwards_rows = encode(fitted, case.train), encode(backwards, case.train)
    for name in names:
        ours, theirs = forwards_rows[name], backwards_rows[name]
        if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
        else:
            assert plain(ours) == plain(theirs)


def test_counts_are_repeated_rows(case: Case) -> None:
    counts = np.arange(len(case.train), dtype=np.int64)[::-1].copy() if len(case.train) > 1 else np.array([2])
    repeated = case.config.fit(case.train.gather(np.repeat(np.arange(len(case.train)), counts)))
    fitted = case.config.fit(case.train, counts)
    if isinstance(case.config, VectorFeature):
        assert fitted == repeated
        return
    assert [(spec.name, spec.kind) for spec in fitted.columns] == [(spec.name, spec.kind) for spec in repeated.columns]
    ours, theirs = encode(fitted, case.train), encode(repeated, case.train)
    for name, column in ours.items():
        other = theirs[name]
        if isinstance(column, torch.Tensor) and isinstance(other, torch.Tensor):
            torch.testing.assert_close(column, other, rtol=1e-6, atol=1e-6)
        else:
            assert plain(column) == plain(other)


def test_the_same_rows_whatever_rows_are_beside_them(case: Case) -> None:
    fitted = case.config.fit(case.train)
    together = encode(fitted, pl.concat([case.unknown.cast(case.train.dtype), case.train]))
    alone = encode(fitted, case.train)
    for name, column in alone.items():
        assert plain(together[name])[len(case.unknown) :] == plain(column)


def test_a_wrong_type_names_the_column(case: Case) -> None:
    with pytest.raises(DataError, match="column 'c'"):
        case.config.fit(case.train).encode(case.wrong)


def test_fitted_features_are_frozen(case: Case) -> None:
    fitted: Config = case.config.fit(case.train)
    with pytest.raises(ValueError, match="frozen"):
        fitted.kind = "other"  # type: ignore[attr-defined]


class Tower(Config):
    """As a recipe would hold features."""

    features: tuple[FeatureConfig, ...]


def test_features_are_told_apart_by_kind() -> None:
    tower = parse_config(Tower, {"features": [{"kind": "id", "column": "user"}, {"kind": "history", "max_length": 5}]})
    assert [feature.kind for feature in tower.features] == ["id", "history"]
    assert tower.features[0] == IdFeature(column="user")


def test_an_unknown_key_of_a_feature_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown key; did you mean 'min_count'"):
        parse_config(Tower, {"features": [{"kind": "id", "column": "user", "min_cuont": 2}]})


@pytest.mark.parametrize("name", TEXTUAL)
def test_categories_are_fitted_and_encoded_as_their_texts(name: str) -> None:
    case = CASES[name]
    counts = np.arange(1, len(case.train) + 1)
    for weights in (None, counts):
        texts, enums = case.config.fit(case.train, weights), case.config.fit(as_enum(case.train, more=["a", "z"]), weights)
        assert enums == texts
    fitted = case.config.fit(case.train)
    for rows in (case.train, case.unknown, pl.concat([case.train, case.unknown] * 50)):
        ours, theirs = encode(fitted, as_enum(rows, more=["a", "x:9"])), encode(fitted, rows)
        check_encoded(fitted, ours, len(rows))
        assert {name: plain(column) for name, column in ours.items()} == {
            name: plain(column) for name, column in theirs.items()
        }


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(TEXTUAL),
    train=st.lists(st.sampled_from(["a", "b", "a b", "x:a", "x:b", "", "a|b, c", "b:", "Ab!", None]), min_size=1, max_size=12),
    later=st.lists(st.sampled_from(["a", "b", "x:c", "b a", "", "c|a", "z:", None]), max_size=12),
)
def test_any_categories_are_as_their_texts(name: str, train: list[str | None], later: list[str | None]) -> None:
    def outcome(enums: bool) -> object:
        columns = [pl.Series(values, dtype=pl.String) for values in (train, later)]
        seen, asked = [as_enum(column, more=["b", "x:"]) for column in columns] if enums else columns
        try:
            fitted = CASES[name].config.fit(seen)
            return fitted, {output: plain(column) for output, column in encode(fitted, asked).items()}
        except DataError as error:
            return str(error)

    assert outcome(enums=True) == outcome(enums=False)
