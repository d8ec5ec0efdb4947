"""Splits, against slow obvious ones."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from twotower.config import Config, parse_config
from twotower.data import GivenSplit, Interactions, LeaveLastOut, RandomSplit, Schema, SplitConfig, TimeSplit, split
from twotower.errors import ConfigError, DataError


def world(num_rows: int = 200, num_users: int = 30) -> Interactions:
    generator = np.random.default_rng(5)
    frame = pl.DataFrame(
        {
            "u": generator.integers(0, num_users, num_rows),
            "i": generator.integers(0, 50, num_rows),
            "t": generator.integers(0, 20, num_rows),
        }
    )
    return Interactions.from_table(frame, Schema(user="u", item="i", time="t"))


def test_random_is_the_permutation() -> None:
    parts = split(world(), RandomSplit(seed=7, test=40, validation=16))
    expected = np.random.default_rng(7).permutation(200)
    assert parts.train.tolist() == expected[:144].tolist()
    assert parts.validation.tolist() == expected[144:160].tolist()
    assert parts.test.tolist() == expected[160:].tolist()
    assert {parts.train.dtype, parts.validation.dtype, parts.test.dtype} == {np.dtype(np.int64)}


def test_random_by_default() -> None:
    parts = split(world(), RandomSplit())
    expected = np.random.default_rng(42).permutation(200)
    assert parts.test.tolist() == expected[160:].tolist()
    assert len(parts.validation) == 16  # a tenth of the 160 that remain
    assert split(world(), RandomSplit(seed=43)).test.tolist() != parts.test.tolist()


def test_random_does_not_look_at_time() -> None:
    interactions = world()
    shuffled = interactions.frame.with_columns(pl.col("t").reverse())
    other = Interactions.from_table(shuffled, interactions.schema)
    assert split(other, RandomSplit()).test.tolist() == split(interactions, RandomSplit()).test.tolist()


def test_time_takes_the_last_rows() -> None:
    interactions = world()
    times = interactions.frame["t"].to_list()
    expected = sorted(range(200), key=lambda row: (times[row], row))
    parts = split(interactions, TimeSplit(test=0.25, validation=30))
    assert parts.train.tolist() == expected[:120]
    assert parts.validation.tolist() == expected[120:150]
    assert parts.test.tolist() == expected[150:]


def test_parts_are_the_callers_own() -> None:
    interactions = world()
    before = interactions.order.tolist()
    split(interactions, TimeSplit()).train.sort()
    assert interactions.order.tolist() == before


def test_fractions_are_rounded_to_the_nearest_row() -> None:
    parts = split(world(num_rows=100), TimeSplit(test=0.29, validation=0.1))
    assert (len(parts.test), len(parts.validation), len(parts.train)) == (29, 7, 64)


@pytest.mark.parametrize("config", [TimeSplit(validation=0), RandomSplit(validation=0), LeaveLastOut(validation=False)])
def test_no_validation(config: TimeSplit | RandomSplit | LeaveLastOut) -> None:
    parts = split(world(), config)
    assert len(parts.validation) == 0
    assert sorted([*parts.train.tolist(), *parts.test.tolist()]) == list(range(200))


def test_no_test() -> None:
    parts = split(world(), TimeSplit(test=0, validation=20))
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (180, 20, 0)


@pytest.mark.parametrize("validation", [True, False])
def test_leave_last_out_against_a_loop(validation: bool) -> None:
    interactions = world(num_rows=120, num_users=60)
    users, times = interactions.frame["u"].to_list(), interactions.frame["t"].to_list()
    order = sorted(range(120), key=lambda row: (times[row], row))
    train, held, test = set(range(120)), set(), set()
    for user in set(users):
        rows = [row for row in order if users[row] == user]
        if len(rows) >= 2:
            test.add(rows[-1])
        if len(rows) >= 3 and validation:
            held.add(rows[-2])
    train -= held | test
    assert {users.count(user) for user in users} >= {1, 2, 3}
    parts = split(interactions, LeaveLastOut(validation=validation))
    assert (set(parts.train.tolist()), set(parts.validation.tolist()), set(parts.test.tolist())) == (train, held, test)
    for part in (parts.train, parts.validation, parts.test):
        assert part.tolist() == [row for row in order if row in set(part.tolist())]


def given(labels: list[str | None], **config: str) -> list[list[int]]:
    frame = pl.DataFrame({"u": range(len(labels)), "i": range(len(labels)), "part": labels})
    interactions = Interactions.from_table(frame, Schema(user="u", item="i", order="row"))
    parts = split(interactions, GivenSplit(column="part", **config))
    return [parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()]


def test_given() -> None:
    assert given(["test", "train", "validation", "train"]) == [[1, 3], [2], [0]]
    assert given(["test", "train"]) == [[1], [], [0]]
    assert given(["c", "a", "b"], train="a", validation="b", test="c") == [[1], [2], [0]]


def test_given_labels_that_are_unknown() -> None:
    with pytest.raises(DataError, match=r"must hold 'train', 'validation', 'test'; row 1 holds 'tset' \(2 such rows\)"):
        given(["train", "tset", None])
    with pytest.raises(DataError, match="no column 'prt'; valid: i, t, u"):
        split(world().take(np.arange(3)), GivenSplit(column="prt"))
    with pytest.raises(DataError, match="must hold text; came Int64"):
        split(world(), GivenSplit(column="t"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TimeSplit(test=200, validation=0), r"train must not be empty; of 200 rows came 0 train, 0 validation, 200 test"),
        (TimeSplit(test=500, validation=1), r"train and validation must not be empty"),
        (TimeSplit(test=0.001), "test must not be empty"),
        (RandomSplit(test=190, validation=0.01), "validation must not be empty"),
        (RandomSplit(test=100, validation=100), "train must not be empty"),
    ],
)
def test_empty_parts_say_the_counts(config: TimeSplit | RandomSplit, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(world(), config)


def test_parts_that_a_table_cannot_give() -> None:
    lonely = world().take(np.unique(world().frame["u"].to_numpy(), return_index=True)[1])
    with pytest.raises(DataError, match="'leave_last_out': validation and test must not be empty"):
        split(lonely, LeaveLastOut())
    with pytest.raises(DataError, match="'given': test must not be empty"):
        given(["train", "validation"])


class Holder(Config):
    cut: SplitConfig


def test_configs_are_told_apart_by_kind() -> None:
    for config in (TimeSplit(test=3), LeaveLastOut(validation=False), RandomSplit(seed=1), GivenSplit(column="x")):
        assert TypeAdapter(SplitConfig).validate_json(config.model_dump_json()) == config
    assert parse_config(Holder, {"cut": {"kind": "random", "seed": 3}}).cut == RandomSplit(seed=3)


@pytest.mark.parametrize("value", [-1, 1.0, 1.5, -0.1, True, "0.2"])
def test_sizes_that_are_none(value: object) -> None:
    for kind in ("time", "random"):
        with pytest.raises(ConfigError, match=r"cut.*test"):
            parse_config(Holder, {"cut": {"kind": kind, "test": value}})


def test_labels_must_differ() -> None:
    with pytest.raises(ValidationError, match="three labels must differ"):
        GivenSplit(column="x", train="test")


def test_a_random_split_may_train_on_fewer_rows() -> None:
    interactions = world()
    whole = split(interactions, RandomSplit(seed=3, test=10, validation=5))
    fewer = split(interactions, RandomSplit(seed=3, train=20, test=10, validation=5))
    assert fewer.train.tolist() == whole.train.tolist()[:20]
    assert fewer.test.tolist() == whole.test.tolist()
    assert fewer.validation.tolist() == whole.validation.tolist()
    half = split(interactions, RandomSplit(seed=3, train=0.5, test=10, validation=5))
    assert len(half.train) == round(len(whole.train) / 2)
    with pytest.raises(DataError, match=r"train asks for 999 rows, but \d+ remain after 5 validation and 10 test rows"):
        split(interactions, RandomSplit(train=999, test=10, validation=5))
    with pytest.raises(DataError, match="train must not be empty"):
        split(interactions, RandomSplit(train=0, test=10, validation=5))
