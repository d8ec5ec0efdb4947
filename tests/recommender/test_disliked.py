"""Rows that are no positives: no history, no recommendation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import torch


def test_what_a_user_did_not_like_is_left_out_with_what_was_seen(make_world: Callable[..., Any]) -> None:
    world = make_world(positives="rating >= 4")
    recommender = world.recommender
    cut = world.interactions.filter(pl.col("rating") >= 4).sort("at")["at"][: len(world.fitted.phase.fit_rows)].max()
    later = 0
    users = [user for user in world.users["user"] if recommender.history(user)]
    answers = recommender.recommend(users, k=1000).frame
    everything = recommender.recommend(users, k=1000, exclude_seen=False).frame
    left_out = 0
    for query, user in enumerate(users):
        mine = world.interactions.filter(pl.col("user") == user)
        disliked = set(mine.filter((pl.col("rating") < 4) & (pl.col("at") <= cut))["item"])
        later += len(set(mine.filter(pl.col("rating") < 4)["item"]) - disliked)
        history = recommender.history(user)
        assert set(history) <= set(mine.filter(pl.col("rating") >= 4)["item"])
        offered = set(answers.filter(pl.col("query") == query)["item"])
        assert offered == set(world.items["item"]) - disliked - set(history)
        assert everything.filter(pl.col("query") == query).height == 30
        left_out += len(disliked - set(history))
    assert left_out > 20
    assert later > 0  # what was disliked after the cut was not known then


def test_dislikes_are_left_out_whatever_history_is_given_and_are_not_those_of_others(make_world: Callable[..., Any]) -> None:
    world = make_world(positives="rating >= 4")
    rows = world.interactions
    cut = rows.filter(pl.col("rating") >= 4).sort("at")["at"][: len(world.fitted.phase.fit_rows)].max()
    mine = rows.filter((pl.col("user") == "user-03") & (pl.col("rating") < 4) & (pl.col("at") <= cut))
    offered = set(world.recommender.recommend(["user-03"], histories=[[]], k=1000).frame["item"])
    assert not mine.is_empty()
    assert offered.isdisjoint(set(mine["item"]))
    stranger = world.recommender.recommend(["nobody"], histories=[[]], k=1000).frame
    assert stranger.height == 30


def test_what_came_after_the_cut_is_not_known_in_the_order_of_rows_either(make_world: Callable[..., Any]) -> None:
    world = make_world(positives="rating >= 4", order="row")
    rows = world.interactions.with_row_index("row")
    liked = rows.filter(pl.col("rating") >= 4)
    cut = liked["row"][len(world.fitted.phase.fit_rows) - 1]
    disliked = rows.filter(pl.col("rating") < 4)
    known, later = 0, 0
    for user in world.users["user"]:
        mine = disliked.filter(pl.col("user") == user)
        before = set(mine.filter(pl.col("row") < cut)["item"])
        users = world.recommender.users
        found = users.disliked_at(users.rows([user])).values.tolist()
        assert {world.items["item"][row] for row in found} == before
        known, later = known + len(before), later + len(set(mine["item"]) - before)
    assert known > 20
    assert later > 20


def test_where_every_row_is_a_positive_there_are_none(make_world: Callable[..., Any]) -> None:
    world = make_world()
    assert world.recommender.users.disliked is None
    assert world.recommender.users.disliked_at(torch.tensor([3, -1])).lengths.tolist() == [0, 0]
