"""Lists, and the users that are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from twotower.evaluation import JudgedRows, ModelScorer
from twotower.runs import LoadedRun, Recipe, load_run, run
from twotower.runs.report_items import ItemTexts, by_train_rows
from twotower.runs.report_lists import example_users, first_rows, list_table, listed, popularity_shares


@pytest.fixture(scope="module")
def loaded(
    make_recipe: Callable[..., Recipe],
    interactions: pl.DataFrame,
    users: pl.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> LoadedRun:
    folder = run(make_recipe(), tmp_path_factory.mktemp("lists") / "run", interactions=interactions, users=users).folder
    return load_run(folder, interactions=interactions, users=users)


def judged_of(loaded: LoadedRun) -> JudgedRows:
    judged = loaded.judged()
    assert judged is not None
    return judged


def test_first_rows_are_first_in_time(loaded: LoadedRun, interactions: pl.DataFrame) -> None:
    judged = judged_of(loaded)
    places = first_rows(loaded, judged)
    frame = loaded.tables.interactions.frame
    test = frame[judged.rows].with_row_index("place")
    expected = test.group_by("user").agg(pl.col("place").sort_by("time").first())["place"].sort()
    assert places.tolist() == expected.to_list()
    del interactions


def test_of_many_users_some_are_drawn() -> None:
    few, many = np.arange(5), np.arange(5000) * 2
    assert listed(few, seed=0).tolist() == few.tolist()
    drawn = listed(many, seed=0)
    assert len(drawn) == len(set(drawn.tolist())) == 2000
    assert set(drawn.tolist()) <= set(many.tolist())
    assert not np.array_equal(drawn, listed(many, seed=1))


def test_shares_are_counted_by_hand() -> None:
    thirds = by_train_rows(np.array([4, 2, 2, 1, 1, 1, 1, 0]), 3)  # head 1 item, middle 2, tail 4, not in train 1
    lists = {"model": np.array([[0, 1, 7], [0, 3, -1]]), "empty": np.full((2, 3), -1)}
    found = popularity_shares(lists, np.array([0, 0, 3, -1]), thirds)
    assert found is not None
    assert found.consumed == pytest.approx((2 / 3, 0, 1 / 3, 0))
    assert found.recommended == {"model": pytest.approx((2 / 5, 1 / 5, 1 / 5, 1 / 5))}
    assert popularity_shares(lists, np.array([-1]), thirds) is None
    assert popularity_shares({"empty": lists["empty"]}, np.array([0]), thirds) is None


def test_examples_are_what_the_tables_say(loaded: LoadedRun) -> None:
    judged, examples = judged_of(loaded), loaded.phase.examples(loaded.tables.split.test, grow=True)
    scorer = ModelScorer(loaded.recommender.model, loaded.phase.items, examples, device=torch.device("cpu"))
    texts, places = ItemTexts(loaded.recommender), first_rows(loaded, judged)
    shown = example_users(loaded, judged, scorer, examples, places, texts, seed=0, count=4)
    assert len(shown) == 4
    assert len({user.user for user in shown}) == 4
    assert shown[0].kind == "a long history"
    frame = loaded.tables.interactions.frame.sort("time")
    catalogue = [str(i) for i in loaded.phase.catalogue.ids.to_list()]
    cut = frame["time"].to_list()[-20]
    for user in shown:
        mine = frame.filter(pl.col("user") == user.user)
        later = mine.filter(pl.col("time") >= cut)
        start = later["time"].to_list()[0]
        before = [str(i) for i in mine.filter(pl.col("time") < start)["item"].to_list() if str(i) in catalogue]
        assert user.history_length == len(set(before))
        assert {choice.title for choice in user.history} <= set(before)
        firsts = [item for place, item in enumerate(before) if item not in before[:place]]
        assert [choice.title for choice in user.history] == firsts[::-1][:10]
        chosen = list(dict.fromkeys(str(i) for i in later["item"].to_list() if str(i) in catalogue))
        assert [choice.title for choice in user.chosen] == chosen[:15]
        assert user.chosen_count == len(chosen)
        assert not {choice.title for choice in user.recommended} & set(before)
        for choice in user.recommended:
            assert choice.marked == (choice.title in chosen)
        for choice in user.chosen:
            assert choice.marked == (choice.title in [each.title for each in user.recommended])
        assert not any(choice.marked for choice in user.history)
    known = [user for user in shown if user.user != "u3"]
    assert all(user.details.startswith("age 2") for user in known)  # u3 is not in the users table
    assert example_users(loaded, judged, scorer, examples, places, texts, seed=0, count=0) == ()
    others = [example_users(loaded, judged, scorer, examples, places, texts, seed=s, count=2) for s in range(6)]
    assert len({users[0].user for users in others}) > 1


def test_lists_leave_out_what_was_seen(loaded: LoadedRun, tmp_path: Path) -> None:
    judged, examples = judged_of(loaded), loaded.phase.examples(loaded.tables.split.test, grow=True)
    scorer = ModelScorer(loaded.recommender.model, loaded.phase.items, examples, device=torch.device("cpu"))
    places = first_rows(loaded, judged)
    table, lists = list_table(
        {"model": scorer}, examples, places, 99, loaded.phase.item_counts, scorer.vectors_ND, ItemTexts(loaded.recommender)
    )
    assert (table.k, table.lists, table.of_users, table.categories) == (10, len(places), 99, None)
    assert {"coverage@10", "gini@10", "diversity_vectors@10"} <= set(table.rankers["model"])
    assert "calibration@10" not in table.rankers["model"]
    for place, items in zip(places, lists["model"], strict=True):
        seen = set(examples.seen(torch.tensor([place])).values.tolist())
        assert not seen & set(items.tolist())
        assert len(set(items[items >= 0].tolist())) == len(loaded.phase.catalogue) - len(seen)
