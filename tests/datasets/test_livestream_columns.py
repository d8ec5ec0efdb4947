"""The log as its reader finds it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twotower.datasets import LIVESTREAM_COLUMNS
from twotower.datasets.livestream.columns import livestream_frame
from twotower.datasets.livestream.values import COUNTRIES
from twotower.datasets.livestream.watches import Watches, World

ROWS = 30_000
WANTED = (
    "viewer,broadcaster,viewer_age,viewer_gender,viewer_longitude,viewer_latitude,viewer_lang,viewer_country,broadcaster_age,"
    "broadcaster_gender,broadcaster_longitude,broadcaster_latitude,broadcaster_lang,broadcaster_country,duration,viewer_network,"
    "broadcaster_network,count"
)


@pytest.fixture(scope="module")
def planted() -> World:
    return World(ROWS, 2)


@pytest.fixture(scope="module")
def log(planted: World) -> Watches:
    return planted.watches(np.arange(ROWS))


@pytest.fixture(scope="module")
def frame(planted: World) -> pl.DataFrame:
    return livestream_frame(planted, np.arange(ROWS))


def test_eighteen_columns_in_order(frame: pl.DataFrame) -> None:
    assert frame.columns == WANTED.split(",")
    assert ",".join(LIVESTREAM_COLUMNS) == WANTED


@pytest.mark.parametrize("side", ["viewer", "broadcaster"])
def test_ids_are_network_and_number(frame: pl.DataFrame, side: str) -> None:
    parts = frame[side].str.extract_groups(r"^([a-z0-9]+):(\d+)$").struct.unnest()
    assert parts.null_count().sum_horizontal().item() == 0
    assert parts["1"].to_list() == frame[f"{side}_network"].to_list()
    assert parts["2"].n_unique() == frame[side].n_unique()


@pytest.mark.parametrize("side", ["viewer", "broadcaster"])
def test_what_is_missing(frame: pl.DataFrame, side: str) -> None:
    missing = {name: column.is_null().mean() for name, column in zip(frame.columns, frame.iter_columns(), strict=True)}
    assert missing[f"{side}_age"] == pytest.approx(0.12, abs=0.03)
    assert missing[f"{side}_longitude"] == pytest.approx(0.20, abs=0.04)
    assert missing[f"{side}_gender"] == pytest.approx(0.04, abs=0.02)
    assert missing[f"{side}_lang"] == pytest.approx(0.04, abs=0.02)
    for always in (side, f"{side}_country", f"{side}_network"):
        assert missing[always] == 0
    assert frame[f"{side}_longitude"].is_null().to_list() == frame[f"{side}_latitude"].is_null().to_list()
    # mostly by person: who lacks it in one row lacks it in nearly all
    by_person = frame.group_by(side).agg(pl.len().alias("rows"), pl.col(f"{side}_age").is_null().mean().alias("none"))
    some = by_person.filter(pl.col("rows") >= 3)
    assert some.filter(pl.col("none").is_between(0.5, 0.99)).height < 0.01 * some.height
    assert some.filter(pl.col("none") == 1).height / some.height == pytest.approx(0.115, abs=0.03)


def test_values_are_in_range(frame: pl.DataFrame) -> None:
    for side in ("viewer", "broadcaster"):
        assert 18 <= frame[f"{side}_age"].min() <= frame[f"{side}_age"].max() <= 80  # type: ignore[operator]
        assert frame[f"{side}_longitude"].abs().max() <= 180  # type: ignore[operator]
        assert set(frame[f"{side}_gender"].drop_nulls()) == {"female", "male", "other"}
        spoken = {country.code: set(country.languages) for country in COUNTRIES}
        pairs = frame.select(f"{side}_country", f"{side}_lang").drop_nulls().unique().rows()
        assert all(lang in spoken[country] for country, lang in pairs)
    assert frame["viewer_country"].n_unique() >= 28
    in_us = frame.filter(pl.col("viewer_country") == "US")["viewer_longitude"].mean()
    assert in_us == pytest.approx(-95, abs=3)


def test_a_viewer_is_the_same_in_all_rows_and_a_broadcaster_not_quite(frame: pl.DataFrame) -> None:
    def conflicts(side: str, column: str) -> int:
        return (
            frame.group_by(side)
            .agg(pl.col(f"{side}_{column}").drop_nulls().n_unique().alias("n"))
            .filter(pl.col("n") > 1)
            .height
        )

    for column in ("age", "gender", "longitude", "lang", "country"):
        assert conflicts("viewer", column) == 0
        assert conflicts("broadcaster", column) > 0
    assert conflicts("broadcaster", "network") == 0
    ages = frame.drop_nulls("broadcaster_age").group_by("broadcaster").agg(pl.col("broadcaster_age"))["broadcaster_age"]
    assert all(one.to_list() == sorted(one) and one[-1] - one[0] <= 1 for one in ages)


def test_outcomes_say_how_much_was_liked(frame: pl.DataFrame, log: Watches) -> None:
    told = frame.with_columns(favourite=pl.Series(log.favourite), own=pl.Series(log.own))
    for outcome in ("duration", "count"):
        assert told[outcome].is_null().mean() == pytest.approx(0.03, abs=0.01)
        assert told[outcome].min() == 1
        mean = {
            key: told.filter(pl.col("favourite") == key[0], pl.col("own") == key[1])[outcome].mean()
            for key in ((False, False), (False, True), (True, False), (True, True))
        }
        assert 1.3 * mean[False, False] < mean[False, True] < mean[True, True]  # type: ignore[operator]
        assert 1.5 * mean[False, False] < mean[True, False]  # type: ignore[operator]


def test_attributes_of_viewers_are_those_that_tastes_follow(planted: World, frame: pl.DataFrame, log: Watches) -> None:
    people = planted.viewers.attributes(log.viewers)
    said = frame["viewer_age"].is_not_null().to_numpy()
    assert frame["viewer_age"].drop_nulls().to_list() == (people.age + 18)[said].tolist()
