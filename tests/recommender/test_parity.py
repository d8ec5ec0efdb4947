"""What is served is what was judged: the same user, time and history give the same vector and the same list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from twotower.data import Examples
from twotower.evaluation import ModelScorer, encode_catalogue


def judged_rows(world: Any) -> tuple[np.ndarray, pl.DataFrame]:
    tables = world.fitted.phase.tables
    return tables.split.test, tables.interactions.frame[tables.split.test]


def judged_scores(world: Any, examples: Examples) -> torch.Tensor:
    """Scores of all items for all examples, as evaluation has them."""
    scorer = ModelScorer(world.fitted.model, world.fitted.phase.items, examples, device=torch.device("cpu"))
    ((_, scores_BN),) = scorer.tiles(torch.arange(len(examples)), scorer.num_items)
    return scores_BN


def served_scores(world: Any, answer: pl.DataFrame, count: int) -> torch.Tensor:
    """Scores of all items for all requests, from the answer."""
    assert answer.height == count * world.items.height
    rows = world.recommender.catalogue.rows(answer["item"])
    scores_BN = torch.full((count, world.items.height), torch.nan)
    scores_BN[torch.from_numpy(answer["query"].to_numpy().copy()), torch.from_numpy(rows)] = torch.from_numpy(
        answer["score"].to_numpy().copy()
    )
    return scores_BN


@pytest.mark.parametrize(
    ("mode", "split", "max_length"), [("before", "time", None), ("before", "time", 3), ("others", "random", None)]
)
def test_stored_histories(make_world: Callable[..., Any], mode: str, split: str, max_length: int | None) -> None:
    world = make_world(mode=mode, split=split, max_length=max_length)
    rows, frame = judged_rows(world)
    examples = world.fitted.phase.examples(rows, grow=False)
    answer = world.recommender.recommend(
        frame["user"].to_list(), features=frame.select("at", "device"), k=1000, exclude_seen=False
    )
    assert torch.equal(served_scores(world, answer.frame, len(rows)), judged_scores(world, examples))
    assert dict(answer.assumed) == {}


def test_histories_that_have_grown(make_world: Callable[..., Any]) -> None:
    world = make_world(max_length=4)
    rows, frame = judged_rows(world)
    examples = world.fitted.phase.examples(rows, grow=True)
    past: list[list[str]] = []
    everything = world.interactions.with_row_index("row").sort("at", "row")
    for user, at, row in zip(frame["user"], frame["at"], rows.tolist(), strict=True):
        earlier = everything.filter(
            (pl.col("user") == user) & ((pl.col("at") < at) | ((pl.col("at") == at) & (pl.col("row") < row)))
        )
        past.append(earlier["item"].to_list())
    answer = world.recommender.recommend(
        frame["user"].to_list(), histories=past, features=frame.select("at", "device"), k=1000, exclude_seen=False
    )
    served, judged = served_scores(world, answer.frame, len(rows)), judged_scores(world, examples)
    assert torch.equal(served, judged)
    frozen = judged_scores(world, world.fitted.phase.examples(rows, grow=False))
    assert not torch.allclose(frozen, judged)


def test_what_was_seen_is_what_evaluation_leaves_out(make_world: Callable[..., Any]) -> None:
    world = make_world()
    rows, frame = judged_rows(world)
    seen = world.fitted.phase.examples(rows, grow=False).seen(torch.arange(len(rows)))
    answer = world.recommender.recommend(frame["user"].to_list(), features=frame.select("at", "device"), k=1000).frame
    ids = world.recommender.catalogue.ids.to_list()
    for query in range(len(rows)):
        left_out = seen.values[seen.offsets[query] : seen.offsets[query + 1]].tolist()
        offered = set(answer.filter(pl.col("query") == query)["item"])
        assert offered == set(ids) - {ids[row] for row in left_out}


def test_a_user_with_a_missing_value_is_encoded_as_in_training(make_world: Callable[..., Any]) -> None:
    """Device has a row of its own for what is missing: it is not filled with the most frequent one."""
    world = make_world()
    newcomer = world.recommender.recommend(["nobody"], features=[{"age": 30, "city": "Rome", "at": 1_600_500_000}], k=1000)
    assert "device" not in newcomer.assumed
    preprocessor = world.recommender.preprocessor
    frame = pl.DataFrame(
        {"user": ["nobody"], "age": [30], "city": ["Rome"], "at": [1_600_500_000], "device": [None]},
        schema_overrides={"device": pl.String},
    )
    columns = preprocessor.encode_users(frame) | preprocessor.encode_context(frame)
    no_history = world.fitted.phase.train.histories.slices(torch.tensor([0]), world.fitted.phase.train.histories.offsets[:1])
    columns["history"] = no_history
    vectors_ND = encode_catalogue(world.fitted.model, world.fitted.phase.items, device=torch.device("cpu"))
    scores_BN = (world.vectors(columns).double() @ vectors_ND.double().T).float()
    assert torch.equal(served_scores(world, newcomer.frame, 1), scores_BN)
