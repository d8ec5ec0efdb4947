"""Whole runs whose query tower reads histories in order: they learn order, and answer alike wherever they are asked."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.runs import events_world

from twotower.errors import ConfigError
from twotower.recommender import Recommender
from twotower.runs import diagnose, explain, run
from twotower.runs.fit_model import untrained_model
from twotower.runs.recipe import Recipe
from twotower.runs.tables import load_tables
from twotower.types import Ragged

ITEMS, USERS, LENGTH = 24, 120, 14
ENCODERS: dict[str, dict[str, Any]] = {
    "transformer": {"kind": "transformer", "blocks": 1, "heads": 2, "hidden": 2, "dropout": 0.1},
    "gru": {"kind": "gru", "dropout": 0.1},
    "attention": {"kind": "attention"},
}


def planted() -> pl.DataFrame:
    """What comes next is decided by the last two items together, and by neither alone; all items are equally popular."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(USERS):
        items = list(rng.integers(0, ITEMS, 2))
        while len(items) < LENGTH + user % 7:
            follows = items[-1] + 1 if (items[-2] + items[-1]) % 2 else items[-1] + 7
            items.append(follows % ITEMS if rng.random() < 0.95 else rng.integers(0, ITEMS))
        rows += [(f"u{user}", f"i{item}", 1_000 * user + at) for at, item in enumerate(items)]
    return pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")


def recipe(encoder: str = "transformer", **changes: Any) -> Recipe:
    training = {
        "epochs": 25,
        "batch_size": 64,
        "optimizer": {"kind": "adamw", "learning_rate": 0.01},
        "early_stopping": False,
    }
    return events_world.recipe(ENCODERS[encoder], **{"name": "ordered", "training": training, **changes})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for encoder in ("transformer", "gru"):
        folders[encoder] = tmp_path_factory.mktemp(encoder) / "run"
        run(recipe(encoder), folders[encoder], interactions=planted())
    return folders


@pytest.mark.parametrize("encoder", ["transformer", "gru"])
def test_it_learns_what_only_order_tells(trained: dict[str, Path], encoder: str) -> None:
    result = json.loads((trained[encoder] / "result.json").read_text())
    found = json.dumps(result)
    model = pl.read_parquet(trained[encoder] / "judged" / "test.parquet")
    assert "recall@1" in found
    assert len(model) == USERS
    recommender: Any = Recommender.load(trained[encoder] / "bundle")
    # after two items one of two follows, and which one the pair says
    pairs = [(a, b) for a in range(ITEMS) for b in range(ITEMS) if (b - a) % ITEMS in (1, 7)]
    histories = [[f"i{a}", f"i{b}"] for a, b in pairs]
    expected = [f"i{(b + 1 if (a + b) % 2 else b + 7) % ITEMS}" for a, b in pairs]
    frame = recommender.recommend(histories=histories, k=1, exclude_seen=False).frame
    assert np.mean([found == wanted for found, wanted in zip(frame["item"].to_list(), expected, strict=True)]) > 0.8


def test_the_same_history_has_the_same_vector_everywhere(trained: dict[str, Path]) -> None:
    recommender: Any = Recommender.load(trained["transformer"] / "bundle")
    table = planted()
    tables = load_tables(recipe(), interactions=table)
    untrained = untrained_model(recipe(), tables, tables.split.train)
    batch = untrained.batches.batch(0, 0)
    with torch.no_grad():
        in_training_BD = recommender.model.encode_queries(batch.queries)
    alone = untrained.batches.examples.queries(batch.rows, training=True)["sequence"]
    lookup = untrained.phase.preprocessor.spec.history[0].lookup
    assert lookup is not None
    ids = np.array(["", *lookup.ids.to_list()])  # row 0 is unknown
    assert isinstance(alone, Ragged)
    ends, rows = alone.offsets.tolist(), alone.values.tolist()
    histories = [[str(ids[row]) for row in rows[start:end]] for start, end in itertools.pairwise(ends)]
    served_BD = recommender.encode_queries(histories=histories)
    torch.testing.assert_close(served_BD, in_training_BD, rtol=1e-4, atol=1e-5)
    one_by_one_BD = torch.cat([recommender.encode_queries(histories=[history]) for history in histories])
    torch.testing.assert_close(one_by_one_BD, served_BD, rtol=1e-4, atol=1e-5)


def test_no_more_than_the_latest_items_are_read(trained: dict[str, Path]) -> None:
    recommender: Any = Recommender.load(trained["transformer"] / "bundle")
    history = [f"i{each % ITEMS}" for each in range(30)]
    long_BD = recommender.encode_queries(histories=[history])
    torch.testing.assert_close(long_BD, recommender.encode_queries(histories=[history[-8:]]))
    assert not torch.allclose(long_BD, recommender.encode_queries(histories=[history[-7:]]))


def test_a_run_that_is_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    table = planted()
    short = recipe(training={"epochs": 3, "batch_size": 64, "early_stopping": False})
    whole = run(short, tmp_path / "whole", interactions=table)

    class StopError(Exception):
        pass

    steps = 0

    def stop(phase: str, event: object) -> None:
        nonlocal steps
        steps += type(event).__name__ == "StepDone"
        if steps == 30:
            raise StopError

    always = recipe(training={"epochs": 3, "batch_size": 64, "early_stopping": False, "checkpoint_every_s": 0})
    with pytest.raises(StopError):
        run(always, tmp_path / "cut", interactions=table, listener=stop)
    run(always, tmp_path / "cut", interactions=table, resume=True)
    first, second = (Recommender.load(tmp_path / name / "bundle") for name in ("whole", "cut"))
    assert torch.equal(first.item_vectors_ND, second.item_vectors_ND)
    assert whole is not None


@pytest.mark.parametrize(
    ("embedding", "kind", "message"),
    [
        ({}, "sequence", "a sequence needs what reads it in order"),
        ({"encoder": {"kind": "gru"}}, "history", "a feature of kind 'history' is not read in order; use kind = 'sequence'"),
        ({"encoder": {"kind": "gru"}, "pooling": "mean"}, "sequence", "a sequence is read by its encoder, and not pooled"),
        ({"encoder": {"kind": "gru"}, "value_dropout": 0.1}, "sequence", "a sequence is read by its encoder, and not pooled"),
        ({"encoder": {"kind": "lstm"}}, "sequence", "lstm"),
        ({"encoder": {"kind": "transformer", "head": 2}}, "sequence", "did you mean 'heads'"),
    ],
)
def test_what_a_recipe_may_not_say(embedding: dict[str, Any], kind: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(query={"features": [{"kind": kind, "embedding": embedding}]})


def test_how_rows_are_ordered_is_explained() -> None:
    found: Any = explain(recipe(), interactions=planted())
    assert found["feed"]["order"] == "sequences whole, those of about one length together"


def test_heads_must_divide_the_width() -> None:
    odd = {"dim": 16, "encoder": {"kind": "transformer", "heads": 3}}
    with pytest.raises(ConfigError, match="multiple of the encoder's heads; came 16 for 3"):
        recipe(query={"features": [{"kind": "sequence", "embedding": odd}]})


def test_batches_must_hold_a_sequence() -> None:
    with pytest.raises(ConfigError, match=r"training.batch_size: up to 9 rows share a sequence"):
        recipe(training={"epochs": 1, "batch_size": 8, "early_stopping": False})
    assert recipe(training={"epochs": 1, "batch_size": 9, "early_stopping": False}).training.batch_size == 9


def test_more_rows_may_be_judged_by_one_history_than_a_batch_has(tmp_path: Path) -> None:
    # histories stay at the train rows, so that all later rows of a user are judged by one
    at = pl.col("time") % 1_000
    part = pl.when(at < 8).then(pl.lit("train")).when(at % 2 == 0).then(pl.lit("validation")).otherwise(pl.lit("test"))
    long = pl.concat([planted(), planted().filter(user="u6").with_columns(time=pl.col("time") + 100)] * 2)
    table = long.with_columns(part=part)
    judged = table.filter(user="u6", part="validation")
    short = recipe(
        split={"kind": "given", "column": "part"},
        training={"epochs": 1, "batch_size": 9, "early_stopping": False},
        evaluation={"ks": [1], "draws": 0, "per_user": False},
    )
    assert len(judged) > 9
    run(short, tmp_path / "run", interactions=table)
    assert diagnose(tmp_path / "run", interactions=table).findings is not None


def test_no_advice_is_what_a_sequence_does_not_have(tmp_path: Path) -> None:
    # the same items again and again, until a last one that is new
    rows = [(f"u{user}", f"i{at % 3 if at < 9 else at + user % 9}", at) for user in range(30) for at in range(11)]
    table = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    short = recipe(training={"epochs": 1, "batch_size": 64, "early_stopping": False})
    run(short, tmp_path / "run", interactions=table)
    leakage = next(found for found in diagnose(tmp_path / "run", interactions=table).findings if found.code == "leakage")
    assert any("'sequence' holds the row's own item" in said for said in leakage.evidence)
    assert not any("own_item" in fix for fix in leakage.fix)
