"""Columns that are encoded once and taken are those of encoding what is known of each request by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from twotower.data import Histories, IdTable
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import (
    BucketsFeature,
    CategoryFeature,
    FeatureConfig,
    GeoFeature,
    IdFeature,
    MultiCategoryFeature,
    NumberFeature,
    Preprocessor,
    TextFeature,
    TimestampFeature,
    VectorFeature,
)
from twotower.recommender import query_rows
from twotower.recommender.query_rows import QueryRows
from twotower.recommender.requests import RequestDefaults
from twotower.recommender.stored_users import StoredUsers
from twotower.types import Ragged

SIZE = 23
DEFAULTS = RequestDefaults("at", {"at": 1_600_000_500, "age": 33, "device": "tv", "since": 1_500_000_000, "income": 7.5})
# what may not be missing: columns of features of missing="error", and the time of the request; others say what null means
STRICT = ("age", "device", "at")
TOGETHER = ("lon", "lat")
GIVEN: dict[str, list[Any]] = {
    "age": [18, 44, 44.0, 300],
    "city": ["Rome", "Bari"],
    "device": ["desk", "fridge"],
    "income": [3, 8.25, math.nan],
    "at": [1_600_000_100, 1_600_000_200.5],
    "since": [1_400_000_000],
    "lon": [10.5, -77],
    "lat": [59.5, -12],
    "bio": ["likes new films", "", "nothing of this"],
    "tags": [["a", "c"], [], ["never seen"]],
    "genres": ["Drama | War", "", "Western"],
    "face": [[1.0, 2.0], [0.0, 3.0]],
}


def stored_table(*, integers: bool = False) -> pl.DataFrame:
    rng = np.random.default_rng(3)

    def some(values: list[Any], dtype: Any) -> pl.Series:
        chosen = [values[place] if place < len(values) else None for place in rng.integers(0, len(values) + 1, SIZE)]
        return pl.Series(chosen, dtype=dtype)

    return pl.DataFrame(
        {
            "user": [100 + u if integers else f"{('net', 'web')[u % 2]}:{u}" for u in range(SIZE)],
            "age": some([20, 30, 40], pl.Int8),
            "city": some(["Rome", "Oslo"], pl.String),
            "income": some([1.5, 4.0, 9.0, math.nan], pl.Float32),
            "since": some([1_450_000_000, 1_460_000_000], pl.Int64),
            "lon": some([10.7, -77.0], pl.Float64),
            "lat": some([59.9, -12.0], pl.Float64),
            "bio": some(["likes old films", "new here"], pl.String),
            "tags": some([["a"], ["a", "b"], []], pl.List(pl.String)),
            "genres": some(["Drama|War", "War"], pl.String),
            "face": some([[3.0, 4.0], [1.0, 0.0]], pl.List(pl.Float64)),
            "device": some(["tv", "desk", "phone"], pl.String),
            "at": pl.Series([None] * SIZE, dtype=pl.Int64),
        }
    )


def made(*, integers: bool = False, hashed: bool = True) -> tuple[Preprocessor, StoredUsers, QueryRows]:
    table = stored_table(integers=integers)
    train = table.with_columns(
        pl.col("age").fill_null(25), pl.col("since").fill_null(1_455_000_000), pl.col("device").fill_null("tv")
    )
    user_columns = ["user", "age", "city", "income", "since", "lon", "lat", "bio", "tags", "genres", "face"]
    context = train.select("user", "device").with_columns(at=1_600_000_000 + 37 * pl.int_range(SIZE), item=pl.lit("x"))
    features: list[FeatureConfig] = [
        IdFeature(column="user"),
        NumberFeature(column="age"),
        NumberFeature(column="age", name="years", missing="own"),
        CategoryFeature(column="age", name="of_age", missing="own_row"),
        CategoryFeature(column="city", missing="own_row"),
        BucketsFeature(column="income", num_edges=3, missing="own_row"),
        TimestampFeature(column="since", standardise=True, num_edges=3),
        GeoFeature(longitude="lon", latitude="lat", name="place"),
        TextFeature(column="bio"),
        MultiCategoryFeature(column="tags"),
        MultiCategoryFeature(column="genres", separator="|"),
        VectorFeature(column="face", missing="zeros"),
        CategoryFeature(column="device"),
        TimestampFeature(column="at", hour_of_day=True, standardise=True),
    ]
    if hashed:
        features.append(IdFeature(column="user", name="bucket", hash_buckets=50))
    if not integers:
        features.append(CategoryFeature(column="user", name="network", separator=":", part=0, missing="own_row"))
    preprocessor = Preprocessor.fit(
        features,
        [IdFeature(column="item")],
        users=train.select(user_columns),
        context=context,
        items=pl.DataFrame({"item": ["x", "y"]}),
        user_column="user",
        item_column="item",
    )
    empty = Histories(
        torch.zeros(SIZE + 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int32), torch.zeros(0, dtype=torch.bool), None
    )
    users = StoredUsers(IdTable(table, "user", "user"), empty)
    return preprocessor, users, QueryRows(preprocessor, users, DEFAULTS)


def missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def by_itself(
    preprocessor: Preprocessor, table: pl.DataFrame, user: object, given: Mapping[str, object]
) -> tuple[dict[str, Any], dict[str, bool]]:
    """One request, from a row that is made for it alone: the encoded columns, and where a default stands in."""
    ids = table["user"].to_list()
    known = type(user) is type(ids[0]) and user in ids
    row: dict[str, Any] = dict(table.row(ids.index(user), named=True)) if known else dict.fromkeys(table.columns)
    row["user"] = user if type(user) is type(ids[0]) else None
    there = {name: value for name, value in given.items() if value is not None}
    if set(there) & set(TOGETHER):
        row |= dict.fromkeys(TOGETHER)
    row |= there
    assumed = {name: missing(row[name]) for name in STRICT}
    row |= {name: DEFAULTS.values[name] for name in STRICT if missing(row[name])}
    columns = []
    for name, dtype in table.schema.items():
        fits = dtype
        if dtype.is_numeric():
            fits = pl.Float64() if isinstance(row[name], float) and not float(row[name]).is_integer() else dtype
            fits = pl.Int64() if fits.is_integer() and row[name] is not None and abs(row[name]) > 127 else fits
        columns.append(pl.Series(name, [row[name]], dtype=fits, strict=False))
    frame = pl.DataFrame(columns)
    return preprocessor.encode_users(frame) | preprocessor.encode_context(frame), assumed


def plain(column: Any, row: int) -> Any:
    """A row of a column as values of Python."""
    if isinstance(column, Ragged):
        return column.values[int(column.offsets[row]) : int(column.offsets[row + 1])].tolist()
    return column[row].tolist()


def same(
    preprocessor: Preprocessor,
    users: StoredUsers,
    rows: QueryRows,
    asked: Sequence[Any],
    features: Sequence[Mapping[str, object]] | None,
) -> None:
    columns, masks = rows.columns(asked, users.rows(asked), features)
    assert set(columns) == {column.name for column in preprocessor.query_columns}
    assert set(masks) == set(STRICT)
    for place, user in enumerate(asked):
        expected, assumed = by_itself(preprocessor, users.table.frame, user, {} if features is None else features[place])
        for name, column in expected.items():
            assert type(columns[name]) is type(column)
            assert plain(columns[name], place) == plain(column, 0), (name, user, features and features[place])
            values = [part.values if isinstance(part, Ragged) else part for part in (columns[name], column)]
            assert values[0].dtype == values[1].dtype, name
        assert {name: bool(mask[place]) for name, mask in masks.items()} == assumed


def drawn(rng: np.random.Generator, ids: list[Any], size: int) -> tuple[list[Any], list[dict[str, object]]]:
    """Requests of all kinds: known, unknown and nameless users; every column given, not given, or given as null."""
    other: list[Any] = ["net:999", "web:none", "of no network", None, 7, "100", 10**6, ""]
    asked = [ids[place] if place < len(ids) else other[place - len(ids)] for place in rng.integers(0, len(ids) + 8, size)]
    names = [name for name in GIVEN if rng.random() < 0.4]
    features = []
    for _ in range(size):
        row: dict[str, object] = {}
        for name in names:
            values: list[Any] = [*GIVEN[name], None]
            if rng.random() < 0.7:
                row[name] = values[int(rng.integers(len(values)))]
        features.append(row)
    return asked, features


@pytest.mark.parametrize(("at_once", "integers"), [(2**18, False), (5, True), (24, False)])
def test_requests_of_all_kinds(monkeypatch: pytest.MonkeyPatch, at_once: int, integers: bool) -> None:
    monkeypatch.setattr(query_rows, "_AT_ONCE", at_once)
    preprocessor, users, rows = made(integers=integers)
    ids = users.table.ids.to_list()
    same(preprocessor, users, rows, [*ids, None, ids[0]], None)
    rng = np.random.default_rng(at_once)
    for _ in range(12):
        asked, features = drawn(rng, ids, int(rng.integers(1, 9)))
        same(preprocessor, users, rows, asked, features)
        same(preprocessor, users, rows, asked, None)


def test_columns_of_nothing_and_of_what_is_not_read() -> None:
    _, users, rows = made()
    columns, masks = rows.columns([], users.rows([]), None)
    assert all(len(column.offsets) == 1 if isinstance(column, Ragged) else len(column) == 0 for column in columns.values())
    assert {name: mask.tolist() for name, mask in masks.items()} == {"age": [], "device": [], "at": []}
    assert rows.readable == tuple(sorted(set(stored_table().columns) - {"user"}))
    with pytest.raises(ConfigError, match=r"(?s)'user' is the user's id.*does not read 'aeg'; did you mean 'age'"):
        rows.columns(["net:0"], users.rows(["net:0"]), [{"user": "web:1", "aeg": 3}])
    with pytest.raises(DataError, match="1 rows for 2 requests"):
        rows.columns(["net:0", None], users.rows(["net:0", None]), [{}])
    with pytest.raises(DataError, match="column 'city' must be String"):
        rows.columns(["net:0"], users.rows(["net:0"]), [{"city": 5}])


def test_the_stored_part_is_encoded_once_and_of_a_request_only_what_it_touches(monkeypatch: pytest.MonkeyPatch) -> None:
    _, users, rows = made()
    encoded: list[list[str]] = []
    encode = Preprocessor.encode_features

    def watched(self: Preprocessor, features: Any, frame: pl.DataFrame) -> Any:
        features = list(features)
        encoded.append(sorted(feature.config.output_name for feature in features))
        return encode(self, features, frame)

    known = ["net:0", "web:1"]
    rows.columns(known, users.rows(known), None)
    monkeypatch.setattr(Preprocessor, "encode_features", watched)
    for features, touched in (
        (None, None),
        ([{}, {}], None),
        ([{"city": "Rome"}, {}], ["city"]),
        ([{"lat": 3.0}, {}], ["place"]),
        ([{"age": 3}, {"age": None}], ["age", "of_age", "years"]),
    ):
        encoded.clear()
        rows.columns(known, users.rows(known), features)  # type: ignore[arg-type]
        assert encoded == ([] if touched is None else [touched]), features
    rows.columns(["net:0", None], users.rows(["net:0", None]), None)
    assert encoded == [["age", "of_age", "years"]]  # none but those of the last request above
    encoded.clear()
    rows.columns(["net:77"], users.rows(["net:77"]), None)
    assert encoded == [["bucket", "network", "user"]]


def test_what_can_not_be_encoded_of_somebody_unknown_is_no_fault_of_those_who_are_known() -> None:
    """A vector has no default: whoever has none must give it, and nobody else."""
    table = pl.DataFrame({"user": ["a", "b", "c"], "face": [[1.0, 2.0], [3.0, 4.0], None], "city": ["x", "y", None]})
    preprocessor = Preprocessor.fit(
        [VectorFeature(column="face"), CategoryFeature(column="city", missing="own_row")],
        [IdFeature(column="item")],
        users=table.head(2),
        context=pl.DataFrame({"user": ["a", "b"], "item": ["x", "x"]}),
        items=pl.DataFrame({"item": ["x"]}),
        user_column="user",
        item_column="item",
    )
    nothing = torch.zeros(0, dtype=torch.int32)
    histories = Histories(torch.zeros(4, dtype=torch.int64), nothing, nothing.bool(), None)
    users = StoredUsers(IdTable(table, "user", "user"), histories)
    rows = QueryRows(preprocessor, users, RequestDefaults(None, {}))

    def face(asked: list[str | None], features: list[dict[str, object]] | None) -> list[list[float]]:
        found = rows.columns(asked, users.rows(asked), features)[0]["face"]
        assert isinstance(found, Tensor)
        return [list(map(float, row)) for row in found]

    for _ in range(2):
        assert face(["b", "a"], None) == [[3.0, 4.0], [1.0, 2.0]]
        assert face(["b", "a"], [{"city": "x"}, {}]) == [[3.0, 4.0], [1.0, 2.0]]
        assert face(["b", None, "c"], [{}, {"face": [5.0, 6.0]}, {"face": [7.0, 8.0]}]) == [[3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
        for lacking in ("c", "nobody", None):
            with pytest.raises(DataError, match="column 'face' must not have missing values; missing in 1 of 2 rows, first: 1"):
                face(["a", lacking], None)
