"""Planted worlds hold what they promise."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from twotower.datasets import checkerboard, tastes, time_drift


def test_checkerboard_is_every_liked_pair_once() -> None:
    world = checkerboard(num_users=9, num_items=12, held_out=2, seed=3)
    pairs = world.select("user_id", "item_id").rows()
    assert pairs == [(u, i) for u in range(9) for i in range(12) if u % 2 == i % 2]
    test = world.filter(pl.col("split") == "test")
    assert Counter(test["user_id"].to_list()) == dict.fromkeys(range(9), 2)
    assert set(world["split"].to_list()) == {"train", "test"}


def test_checkerboard_tests_come_after_train_and_times_are_distinct() -> None:
    world = checkerboard(num_users=9, num_items=12, held_out=2)
    assert world["timestamp"].n_unique() == world.height
    train, test = world.filter(pl.col("split") == "train")["timestamp"], world.filter(pl.col("split") == "test")["timestamp"]
    assert train.to_list() != sorted(train.to_list())
    assert max(train.to_list()) < min(test.to_list())


def test_checkerboard_popularity_says_nothing() -> None:
    train = checkerboard(num_users=200, num_items=100, held_out=5).filter(pl.col("split") == "train")
    counts = Counter(train["item_id"].to_list())
    assert len(counts) == 100
    assert min(counts.values()) > 75
    assert max(counts.values()) < 100


def test_time_drift_tells_its_group_by_time_alone() -> None:
    world = time_drift(num_users=20, num_items=12, num_periods=3, rows_per_user=30, period_s=1000, seed=1)
    assert world.height == 600
    start = 1_600_000_000
    assert all((t - start) // 1000 == i % 3 for t, i in world.select("timestamp", "item_id").rows())
    assert world["timestamp"].is_sorted()
    assert set(world["item_id"].to_list()) == set(range(12))
    for part in ("train", "test"):
        groups = Counter(i % 3 for i in world.filter(pl.col("split") == part)["item_id"].to_list())
        assert set(groups) == {0, 1, 2}
    assert set(Counter(world["user_id"].to_list()).values()) == {30}


def test_time_drift_users_do_not_differ() -> None:
    world = time_drift(num_users=2, num_items=8, num_periods=2, rows_per_user=4000, seed=2)
    for user in (0, 1):
        counts = Counter(world.filter(pl.col("user_id") == user)["item_id"].to_list())
        assert all(400 < counts[item] < 600 for item in range(8))


def test_the_test_fraction() -> None:
    for fraction in (0.1, 0.5):
        world = time_drift(test_fraction=fraction, rows_per_user=100)
        assert (world["split"] == "test").sum() / world.height == pytest.approx(fraction, abs=0.02)


def test_seeds() -> None:
    assert checkerboard(seed=1).equals(checkerboard(seed=1))
    assert not checkerboard(seed=1).equals(checkerboard(seed=2))
    assert time_drift(seed=1).equals(time_drift(seed=1))
    assert not time_drift(seed=1).equals(time_drift(seed=2))


@pytest.mark.parametrize("wrong", [{"num_users": 1}, {"num_items": 1}, {"held_out": 50}, {"held_out": -1}])
def test_checkerboards_that_are_none(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a checkerboard needs"):
        checkerboard(**wrong)


@pytest.mark.parametrize("wrong", [{"num_periods": 1}, {"num_items": 42}, {"num_items": 0}])
def test_drifts_that_are_none(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a drift needs"):
        time_drift(**wrong)
    with pytest.raises(ValueError, match="a drift needs"):
        time_drift(test_fraction=1.0)


def test_tastes_follow_the_group_and_popularity_serves_one() -> None:
    world = tastes(num_users=9, num_items=10, rows_per_user=3, seed=1)
    group = dict(world["users"].iter_rows())
    assert [group[user] for user in range(9)] == ["a", "a", "b"] * 3
    pairs = world["interactions"].select("user_id", "item_id").rows()
    assert all((item >= 5) == (group[user] == "b") for user, item in pairs)
    assert Counter(user for user, _ in pairs) == dict.fromkeys(range(9), 3)
    assert len(set(pairs)) == 27
    assert sum(item < 5 for _, item in pairs) == 18
    times = world["interactions"]["timestamp"].to_list()
    assert times == sorted(set(times))


@pytest.mark.parametrize("changed", [{"num_items": 9}, {"num_users": 2}, {"rows_per_user": 0}, {"rows_per_user": 6}])
def test_tastes_that_can_not_be(changed: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="tastes need"):
        tastes(**({"num_users": 6, "num_items": 10, "rows_per_user": 3} | changed))
