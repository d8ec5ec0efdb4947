from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from twotower.diagnosis import TestKnowledge, check_leakage

SOUND = TestKnowledge(
    split="time",
    later_rows=0.01,
    later_histories=(("history", 0.0),),
    time_features=("time",),
    own_in_train=(("history", 0.05),),
    own_in_test=(("history", 0.02),),
    cold_users=0.9,
    cold_items=0.1,
)


def test_a_split_in_time_is_no_finding() -> None:
    assert check_leakage(SOUND) is None
    assert check_leakage(TestKnowledge(split="random")) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"later_rows": 0.9}, "90% of the test rows have a user with train rows of a later time"),
        ({"later_histories": (("history", 0.4),)}, "'history' in 40% of the test rows"),
        ({"fit_on_all": True}, "data.fit_on = 'all'"),
        ({"validate_on_test": True}, "evaluation.validate_on = 'test'"),
        ({"own_in_train": (("history", 0.5),)}, "in 50% of the train rows, and in 2% of the test rows"),
        ({"only_user_ids": True, "cold_users": 1.0}, "100% of the test rows have a user without train rows"),
        ({"only_item_ids": True, "cold_items": 0.96}, "96% of the test rows ask for an item without train rows"),
    ],
)
def test_each_way_to_leak(change: dict[str, Any], said: str) -> None:
    finding = check_leakage(replace(SOUND, **change))
    assert finding is not None
    assert finding.code == "leakage"
    assert said in finding.evidence[0]
    assert finding.fix


@pytest.mark.parametrize(
    "change",
    [
        {"cold_users": 1.0},  # the query reads more than ids
        {"only_user_ids": True},
        {"cold_items": 1.0},
        {"only_item_ids": True},
        {"own_in_train": (("history", 0.1),)},
        {"own_in_train": (("history", 0.5),), "own_in_test": (("history", 0.5),)},  # people do choose things again
    ],
)
def test_what_looks_like_a_leak_and_is_none(change: dict[str, Any]) -> None:
    assert check_leakage(replace(SOUND, **change)) is None


def test_all_ways_are_one_finding() -> None:
    finding = check_leakage(
        replace(SOUND, later_rows=0.9, later_histories=(("history", 0.9),), fit_on_all=True, validate_on_test=True)
    )
    assert finding is not None
    assert len(finding.evidence) == 5  # the time is read, too
    assert "leak" in finding.title
    assert len(finding.fix) == len(set(finding.fix))


def test_what_is_read_in_order_has_no_own_item_to_set() -> None:
    repeated = replace(SOUND, own_in_train=(("history", 0.5),))
    pooled, read = check_leakage(repeated), check_leakage(replace(repeated, in_order=("history",)))
    assert pooled is not None
    assert read is not None
    assert pooled.fix == ("query.features: own_item = 'exclude' for the history 'history', or data.columns.repeats = 'first'",)
    assert read.fix == ("data.columns.repeats = 'first'",)
