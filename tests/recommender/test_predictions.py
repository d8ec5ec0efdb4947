"""Predicted outcomes of pairs: ids in, ratings out, as evaluation has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.data import IdTable
from twotower.errors import ConfigError, DataError, UnknownIdError
from twotower.evaluation import predict_outcomes
from twotower.recommender import Predictions, Recommender

MakeWorld = Callable[..., Any]


@pytest.mark.parametrize("integers", [False, True])
def test_served_ratings_are_the_judged_ones(make_world: MakeWorld, integers: bool) -> None:
    world = make_world(tasks=("stars",), integers=integers)
    phase = world.fitted.phase
    rows = phase.tables.split.test
    rows = rows[phase.item_rows[rows] >= 0]
    examples = phase.examples(rows, grow=False)
    judged = predict_outcomes(world.fitted.model, phase.items, examples, head="stars", device=torch.device("cpu"))
    asked = phase.tables.interactions.frame[rows]
    features = asked.select("at", "device")
    answer = world.recommender.predict(asked["user"].to_list(), asked["item"].to_list(), features=features)
    np.testing.assert_allclose(answer.frame["prediction"].to_numpy(), judged, rtol=1e-5)
    assert answer.frame["item"].to_list() == asked["item"].to_list()
    assert answer.frame["query"].to_list() == list(range(len(rows)))
    assert answer.frame.schema["prediction"] == pl.Float64
    assert (answer.task, dict(answer.assumed)) == ("stars", {})
    assert answer.frame["prediction"].n_unique() > len(rows) / 2
    assert answer.frame["prediction"].is_between(1, 5).all()


def test_a_bundle_carries_its_heads(make_world: MakeWorld, tmp_path: Path) -> None:
    recommender = make_world(tasks=("stars", "level")).recommender
    users, items = ["user-03", "user-07"], ["Item 02", "Item 05"]
    recommender.save(tmp_path / "bundle")
    loaded = Recommender.load(tmp_path / "bundle")
    for task in ("stars", "level"):
        assert loaded.predict(users, items, task=task).frame.equals(recommender.predict(users, items, task=task).frame)
    assert not loaded.predict(users, items, task="stars").frame.equals(loaded.predict(users, items, task="level").frame)


def test_a_history_and_what_is_assumed(make_world: MakeWorld) -> None:
    recommender = make_world(tasks=("stars",)).recommender
    pairs = {"users": [None, None], "items": ["Item 02", "Item 02"]}
    features = [{"age": 30, "city": "Rome"}] * 2
    answer = recommender.predict(**pairs, features=features, histories=[["Item 01"], ["Item 09", "Item 04"]])
    first, second = answer.frame["prediction"].to_list()
    assert first != second
    assert "at" in answer.assumed


def test_requests_that_can_not_be_answered(make_world: MakeWorld, world: Any) -> None:
    with pytest.raises(ConfigError, match=r"predicts nothing beside its ranking; train one with \[\[tasks\]\]"):
        world.recommender.predict(["user-03"], ["Item 02"])
    two = make_world(tasks=("stars", "level")).recommender
    with pytest.raises(ConfigError, match="task: name one of stars, level; none was named"):
        two.predict(["user-03"], ["Item 02"])
    with pytest.raises(ConfigError, match=r"task: no 'star'; did you mean 'stars'\?"):
        two.predict(["user-03"], ["Item 02"], task="star")
    one = make_world(tasks=("stars",)).recommender
    with pytest.raises(DataError, match="came 2 items for 1 requests"):
        one.predict(["user-03"], ["Item 02", "Item 03"])
    with pytest.raises(UnknownIdError, match="items: no item 'Item 99'"):
        one.predict(["user-03"], ["Item 99"])
    with pytest.raises(UnknownIdError, match="no user 'nobody'"):
        one.predict(["nobody"], ["Item 02"])


def test_an_id_column_gives_way_to_the_answers_own(tmp_path: Path) -> None:
    catalogue = IdTable.from_ids(pl.Series([7, 9]), "prediction")
    found = Predictions.of(np.array([4.5]), catalogue.ids[[1]], task="stars", assumed={})
    assert found.frame.to_dicts() == [{"query": 0, "item_prediction": 9, "prediction": 4.5}]
