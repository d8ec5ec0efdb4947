"""Fitting and encoding both towers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

import numpy as np
import polars as pl
import pytest
import torch

from twotower.errors import ConfigError, DataError
from twotower.preprocessing import (
    CategoryFeature,
    FeatureConfig,
    GeoFeature,
    HistoryFeature,
    IdFeature,
    MultiCategoryFeature,
    NumberFeature,
    Preprocessor,
    TextFeature,
    TimestampFeature,
    VectorFeature,
)
from twotower.types import Ragged, take_column

USERS = pl.DataFrame({"user": ["ann", "bob", "eve"], "age": [20, 40, 30]})
CONTEXT = pl.DataFrame(
    {"user": ["ann", "ann", "bob"], "item": [7, 5, 7], "time": [0, 50, 100], "device": ["tv", "phone", "tv"]}
)
ITEMS = pl.DataFrame({"item": [5, 7, 9], "title": ["Heat", "Toy Story", "Heat 2"], "genres": ["a|b", "b", ""]})
QUERY: list[FeatureConfig] = [
    TimestampFeature(column="time", num_edges=3),
    IdFeature(column="user"),
    HistoryFeature(),
    NumberFeature(column="age"),
    CategoryFeature(column="device"),
]
CANDIDATE: list[FeatureConfig] = [
    TextFeature(column="title"),
    IdFeature(column="item"),
    MultiCategoryFeature(column="genres", separator="|"),
]


def fit(
    query: Sequence[FeatureConfig] = QUERY,
    candidate: Sequence[FeatureConfig] = CANDIDATE,
    users: pl.DataFrame = USERS,
    context: pl.DataFrame = CONTEXT,
    items: pl.DataFrame = ITEMS,
    user_counts: Sequence[int] = (2, 1, 0),
    item_counts: Sequence[int] = (1, 2, 0),
) -> Preprocessor:
    return Preprocessor.fit(
        query,
        candidate,
        users=users,
        user_counts=np.array(user_counts, dtype=np.int64),
        context=context,
        items=items,
        item_counts=np.array(item_counts, dtype=np.int64),
        user_column="user",
        item_column="item",
    )


def test_columns_come_in_the_order_of_the_features() -> None:
    preprocessor = fit()
    assert [column.name for column in preprocessor.query_columns] == ["time.bucket", "user", "history", "age", "device"]
    assert [column.name for column in preprocessor.candidate_columns] == ["title", "item", "genres"]
    assert [column.name for column in fit(query=QUERY[::-1]).query_columns] == [
        "device",
        "age",
        "history",
        "user",
        "time.bucket",
    ]


def test_users_contexts_items_and_histories_are_encoded() -> None:
    preprocessor = fit()
    users = preprocessor.encode_users(pl.DataFrame({"age": [20, 99], "user": ["bob", "zoe"]}))
    assert list(users) == ["user", "age"]
    user, age = users["user"], users["age"]
    assert isinstance(user, torch.Tensor)
    assert isinstance(age, torch.Tensor)
    assert user.tolist() == [2, 0]
    assert age[:, 0].tolist() == pytest.approx([-(0.5**0.5), 2**0.5])  # 20, 20, 40: mean 26.67, deviation 9.43
    context = preprocessor.encode_context(pl.DataFrame({"time": [None, 0], "device": ["tv", "watch"]}))
    assert {name: column.tolist() for name, column in context.items() if isinstance(column, torch.Tensor)} == {
        "time.bucket": [3, 1],
        "device": [2, 0],
    }
    items = preprocessor.encode_items(ITEMS)
    title, genres, item = items["title"], items["genres"], items["item"]
    assert isinstance(title, Ragged)
    assert isinstance(genres, Ragged)
    assert isinstance(item, torch.Tensor)
    assert item.tolist() == [1, 2, 0]  # the item 9 has no interaction in train
    assert title.values.tolist() == [3, 2, 1, 3, 0]  # story, toy: twice in train; heat: once; 2: never
    assert genres.lengths.tolist() == [2, 1, 0]
    lookup = preprocessor.history_lookup(pl.Series([9, 7, 5, 1]))
    assert {name: rows.tolist() for name, rows in lookup.items()} == {"history": [0, 2, 1, 0]}


def test_json_round_trip_is_exact() -> None:
    preprocessor = fit(query=[*QUERY, NumberFeature(column="age", name="age_log", transform="log1p")])
    text = preprocessor.to_json()
    again = Preprocessor.from_json(text)
    assert again.spec == preprocessor.spec
    assert again.to_json() == text
    ours, theirs = preprocessor.encode_users(USERS), again.encode_users(USERS)
    for name in ("user", "age", "age_log"):
        mine, yours = ours[name], theirs[name]
        assert isinstance(mine, torch.Tensor)
        assert isinstance(yours, torch.Tensor)
        assert torch.equal(mine, yours)


def test_a_damaged_spec_names_the_place() -> None:
    values = json.loads(fit().to_json())
    values["user"][0]["lookup"]["ids"] = ["ann", "ann"]
    del values["item_column"]
    with pytest.raises(ConfigError, match=r"preprocessor spec: .*faults(.|\n)*item_column(.|\n)*user\.0\.id\.lookup"):
        Preprocessor.from_json(json.dumps(values))
    with pytest.raises(ConfigError, match="preprocessor spec"):
        Preprocessor.from_json("{")


def test_parts_keep_large_vocabularies_out_of_the_values() -> None:
    preprocessor = fit()
    values, tables = preprocessor.to_parts(large=2)
    assert {name: table["id"].to_list() for name, table in tables.items()} == {
        "vocabulary_0": ["ann", "bob"],
        "vocabulary_1": ["phone", "tv"],
        "vocabulary_2": [5, 7],  # of the history and of the candidate
        "vocabulary_3": ["a", "b"],
    }
    again = Preprocessor.from_parts(json.loads(json.dumps(values)), tables.__getitem__)
    assert again.spec == preprocessor.spec
    assert again.to_json() == preprocessor.to_json()
    values, tables = preprocessor.to_parts()
    assert tables == {}
    assert Preprocessor.from_parts(values, tables.__getitem__).to_json() == preprocessor.to_json()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pl.DataFrame({"ids": ["a"]}), "vocabulary_0 must be a table of one column 'id'; it has"),
        (pl.DataFrame({"id": ["a", "a"]}), "every value must be there once"),
        (pl.DataFrame({"id": [1.5]}), "all text or all integers"),
    ],
)
def test_a_table_that_is_no_vocabulary_is_a_fault(table: pl.DataFrame, message: str) -> None:
    values, _ = fit().to_parts(large=2)
    with pytest.raises(ConfigError, match=message):
        Preprocessor.from_parts(values, lambda _: table)


def test_only_the_chosen_rows_of_the_context_are_learned_from() -> None:
    chosen = np.array([0, 1])
    context = pl.concat([CONTEXT, CONTEXT])
    some = Preprocessor.fit(
        QUERY, CANDIDATE, users=USERS, context=context, items=ITEMS, user_column="user", item_column="item", context_rows=chosen
    )
    few = Preprocessor.fit(
        QUERY, CANDIDATE, users=USERS, context=CONTEXT.head(2), items=ITEMS, user_column="user", item_column="item"
    )
    assert some.spec == few.spec
    assert some.spec != fit(context=context).spec


def test_rows_are_encoded_for_keeps_as_a_context_is() -> None:
    preprocessor = fit()
    rows = np.array([2, 0])
    context = CONTEXT.with_columns(pl.col("device").cast(pl.Enum(["phone", "tv"])))
    stored, wanted = preprocessor.encode_rows(context, rows), preprocessor.encode_context(CONTEXT[rows])
    assert stored.keys() == wanted.keys()
    for name, column in wanted.items():
        assert torch.equal(cast("torch.Tensor", take_column(stored[name], torch.arange(2))), cast("torch.Tensor", column))
    with pytest.raises(DataError, match="column 'device' must be in the table"):
        preprocessor.encode_rows(CONTEXT.drop("device"))


PLACE = GeoFeature(longitude="lon", latitude="lat", name="place")


def test_a_feature_of_two_columns_needs_both_in_one_table() -> None:
    context = CONTEXT.with_columns(lon=pl.lit(1.0))
    with pytest.raises(ConfigError, match="query feature 'place': no column 'lat' among the users or in the interactions"):
        fit(query=[PLACE], context=context)
    with pytest.raises(ConfigError, match="'lon' and 'lat' must be columns of one table; one is among the users, one in the"):
        fit(query=[PLACE], context=context, users=USERS.with_columns(lat=pl.lit(1.0)))
    with pytest.raises(ConfigError, match="candidate feature 'place': no column 'lon' among the items"):
        fit(candidate=[PLACE])
    both = context.with_columns(lat=pl.lit(2.0))
    assert [feature.config for feature in fit(query=[PLACE], context=both).spec.context] == [PLACE]
    people = USERS.with_columns(lat=pl.lit(1.0), lon=pl.lit(2.0))
    assert [feature.config for feature in fit(query=[PLACE], users=people).spec.user] == [PLACE]


def test_all_faults_are_told_at_once() -> None:
    users = USERS.with_columns(device=pl.lit("tv"))
    query: list[FeatureConfig] = [
        IdFeature(column="usr"),
        CategoryFeature(column="device"),
        IdFeature(column="item"),
        NumberFeature(column="age"),
        NumberFeature(column="age"),
    ]
    with pytest.raises(ConfigError) as caught:
        fit(query=query, candidate=[HistoryFeature(), TextFeature(column="titel")], users=users)
    assert list(caught.value.faults) == [
        "query feature 'age': 2 features have this name; set name",
        "query feature 'usr': no column 'usr' among the users or in the interactions; did you mean 'user'?",
        "query feature 'device': column 'device' is ambiguous: it is among the users and in the interactions; "
        "rename one of them",
        "query feature 'item': 'item' is the item to be found; as an input of the query it would give the answer away",
        "candidate feature 'history': a history belongs to the query; items have none",
        "candidate feature 'titel': no column 'titel' among the items; did you mean 'title'?",
    ]


def test_id_columns_must_exist_and_towers_have_features() -> None:
    with pytest.raises(ConfigError) as caught:
        fit(query=[], candidate=[], users=USERS.rename({"user": "users"}), items=ITEMS.rename({"item": "items"}))
    assert list(caught.value.faults) == [
        "the table of users must have the id column 'user'; did you mean 'users'?",
        "the table of items must have the id column 'item'; did you mean 'items'?",
        "the query tower must have at least one feature",
        "the candidate tower must have at least one feature",
    ]


def test_features_that_can_not_be_fitted_are_named_all() -> None:
    query: list[FeatureConfig] = [NumberFeature(column="user", name="number"), IdFeature(column="user")]
    with pytest.raises(DataError) as caught:
        fit(query=query, candidate=[VectorFeature(column="title")])
    text = str(caught.value)
    assert text.startswith("2 features\n  - query feature 'number': column 'user' must hold numbers")
    assert "\n  - candidate feature 'title': column 'title' must hold vectors" in text
    with pytest.raises(
        DataError, match=r"^query feature 'history': column 'item' must have a value that occurs at least 9 times"
    ):
        fit(query=[HistoryFeature(min_count=9)])


def test_columns_of_two_features_with_one_name_are_a_fault() -> None:
    query: list[FeatureConfig] = [
        TimestampFeature(column="time", num_edges=2),
        CategoryFeature(column="device", name="time.bucket"),
    ]
    with pytest.raises(ConfigError, match=r"unique in the query tower; 'time\.bucket' came twice"):
        fit(query=query)


def test_both_towers_may_use_a_name() -> None:
    preprocessor = fit(query=[IdFeature(column="user", name="id")], candidate=[IdFeature(column="item", name="id")])
    assert [column.name for column in (*preprocessor.query_columns, *preprocessor.candidate_columns)] == ["id", "id"]


def test_an_absent_column_is_named_with_the_nearest() -> None:
    with pytest.raises(DataError, match="column 'age' must be in the table; did you mean 'ages'"):
        fit().encode_users(pl.DataFrame({"user": ["ann"], "ages": [3]}))


def test_tables_may_have_other_columns_and_features_may_have_none() -> None:
    preprocessor = fit(query=[IdFeature(column="user")])
    assert preprocessor.encode_context(CONTEXT) == {}
    assert preprocessor.history_lookup(ITEMS["item"]) == {}
    assert list(preprocessor.encode_users(USERS)) == ["user"]
    default = Preprocessor.fit(
        [IdFeature(column="user")], CANDIDATE, users=USERS, context=CONTEXT, items=ITEMS, user_column="user", item_column="item"
    )
    assert default.query_columns[0].model_dump()["vocabulary_size"] == 4
