"""Whole runs on an emulated device: what is judged and shipped is what a run on the CPU gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from emulated_device import DEVICE, emulated

from twotower.errors import ConfigError
from twotower.recommender import Recommender
from twotower.runs import Recipe, explain, reevaluate, run
from twotower.training import EpochDone
from twotower.training.captured import CAPTURES

MakeRecipe = Callable[..., Recipe]
HISTORY = {"kind": "history", "max_length": 5, "embedding": {"dim": 4}}
USER = {"kind": "id", "column": "user", "embedding": {"dim": 4}}
ITEM = {"kind": "id", "column": "item", "embedding": {"dim": 4}}
PRICE = {"kind": "number", "column": "price"}
AGE = {"kind": "number", "column": "age", "missing": "own"}
ADAMW = {"optimizer": {"kind": "adamw", "epsilon": 0.01}}  # of gradients near 0, an epsilon near 0 makes noise


def _there(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("run", "split_tables"):
        monkeypatch.setattr(import_module(f"twotower.runs.{module}"), "resolve_device", {"cpu": DEVICE}.get)


SEQUENCE = {
    "kind": "sequence",
    "max_length": 4,
    "embedding": {"dim": 4, "encoder": {"kind": "transformer", "blocks": 1}},
}
STARS = {"name": "stars", "column": "rating", "kind": "regression"}
TAGS = {"kind": "multi_category", "column": "tags", "embedding": {"dim": 4, "pooling": "mean", "id_dropout": 0}}
WHOLE = {"dim": 4, "id_dropout": 0}  # of lists that are filled up other values would be dropped
LISTS = {
    "query": {"features": [{**USER, "embedding": WHOLE}, {**HISTORY, "embedding": WHOLE}]},
    "candidate": {"features": [{**ITEM, "embedding": WHOLE}, TAGS]},
}
RESIDENT = {"resident_data": "always", **ADAMW}


def _uncaptured(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"cuda_graph": False})})


@pytest.mark.parametrize(
    "sections",
    [
        {"query": {"features": [USER, HISTORY]}},
        {"query": {"features": [USER, AGE]}, "candidate": {"features": [ITEM, PRICE]}, "training": ADAMW},
        {"training": RESIDENT, "refit": "all"},
        {"training": {**RESIDENT, "cuda_graph": True}, "loss": {"kind": "in_batch"}, "refit": "all"},
        {**LISTS, "training": {**RESIDENT, "cuda_graph": True}, "loss": {"kind": "in_batch"}},
        {**LISTS, "training": {**RESIDENT, "cuda_graph": True}, "loss": {"kind": "full"}},
        {"query": {"features": [USER, HISTORY]}, "training": RESIDENT, "model": {"l2_normalise": True}},
        {"loss": {"kind": "full"}, "training": RESIDENT},
        {"query": {"features": [{**USER, "embedding": {"dim": 4, "update": "rows"}}]}, "training": RESIDENT},
        {"query": {"features": [SEQUENCE]}, "model": {"layer_sizes": []}, "training": RESIDENT},
        {"query": {"features": [SEQUENCE]}, "model": {"layer_sizes": []}, "training": ADAMW},
        {"tasks": [STARS], "training": RESIDENT},
        {"loss": {"kind": "in_batch", "sketch": {"width": 32}}, "training": RESIDENT},
    ],
    ids=str,
)
def test_a_run_there_is_a_run_here(
    sections: dict[str, Any],
    make_recipe: MakeRecipe,
    interactions: pl.DataFrame,
    items: pl.DataFrame,
    users: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tags = pl.Series("tags", [["a"], [], ["b", "a"], ["c"], ["a", "b", "c"], ["b"], [], ["c"]])
    tables: dict[str, Any] = {"interactions": interactions, "items": items.with_columns(tags), "users": users}
    sections = {**sections, "model": {"layer_sizes": [4], **sections.get("model", {})}}
    recipe = make_recipe(**sections)
    expected = run(_uncaptured(recipe), tmp_path / "here", **tables).summary
    with emulated() as emulation:
        _there(monkeypatch)
        monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
        found = run(recipe, tmp_path / "there", **tables).summary
    again = reevaluate(tmp_path / "there", **tables)
    for variant, figures in expected["metrics"]["test"].items():
        assert found["metrics"]["test"][variant] == pytest.approx(figures, rel=1e-4)
        assert again["metrics"]["test"][variant] == pytest.approx(figures, rel=1e-4)
    assert found["device"] == str(DEVICE)
    logs = [(tmp_path / place / "metrics.jsonl").read_text().splitlines() for place in ("here", "there")]
    for line, other in zip(*logs, strict=True):
        first, second = json.loads(line), json.loads(other)
        assert second["loss"] == pytest.approx(first["loss"], rel=1e-4)
        assert second.get("losses", {}) == pytest.approx(first.get("losses", {}), rel=1e-4)
    here, there = (Recommender.load(tmp_path / place / "bundle") for place in ("here", "there"))
    for (name, values), (_, others) in zip(here.model.named_parameters(), there.model.named_parameters(), strict=True):
        assert others.device.type == "cpu"
        torch.testing.assert_close(others, values, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("sections", "not_captured"),
    [
        ({}, None),
        ({"query": {"features": [USER, HISTORY]}}, None),
        (
            {"query": {"features": [SEQUENCE]}, "model": {"layer_sizes": []}},
            "the history 'sequence' is read in order, and sequences are shared by as many rows as they are",
        ),
        ({"tasks": [STARS]}, "the task 'stars' learns from the rows that have an outcome, however many these are"),
    ],
    ids=str,
)
def test_explain_says_what_would_be_on_the_device(
    sections: dict[str, Any],
    not_captured: str | None,
    make_recipe: MakeRecipe,
    interactions: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = make_recipe(**{"model": {"layer_sizes": [4]}, **sections})
    assert "accelerator" not in explain(recipe, interactions=interactions)
    with emulated():
        monkeypatch.setattr(import_module("twotower.runs.explain"), "resolve_device", {"cpu": DEVICE}.get)
        found = explain(recipe, interactions=interactions)["accelerator"]
    assert isinstance(found, dict)
    assert (found["resident_data"], found["cuda_graph"], found["not_captured"]) == ("auto", False, not_captured)
    assert 1_000 < found["bytes"] < 100_000  # type: ignore[operator]


def test_a_run_goes_on_on_another_device(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {**ADAMW, "epochs": 4, "checkpoint_every_s": 0}
    recipe = make_recipe(model={"layer_sizes": [4]}, loss={"kind": "in_batch"}, training=training)
    expected = run(recipe, tmp_path / "undisturbed", interactions=interactions).summary

    def interrupt(phase: str, event: object) -> None:
        if isinstance(event, EpochDone) and event.epoch == 2:
            raise InterruptedError

    there = {**training, "resident_data": "always", "cuda_graph": True}
    captured = make_recipe(model={"layer_sizes": [4]}, loss={"kind": "in_batch"}, training=there, device="auto")
    with emulated() as emulation:
        monkeypatch.setattr(import_module("twotower.runs.run"), "resolve_device", {"auto": DEVICE}.get)
        monkeypatch.setitem(CAPTURES, DEVICE.type, emulation.capture)
        with pytest.raises(InterruptedError):
            run(captured, tmp_path / "run", interactions=interactions, listener=interrupt)
    monkeypatch.undo()
    found = run(recipe, tmp_path / "run", interactions=interactions, resume=True).summary
    assert found["device"] == "cpu"
    for variant, figures in expected["metrics"]["test"].items():
        assert found["metrics"]["test"][variant] == pytest.approx(figures, rel=1e-4)
    other = make_recipe(model={"layer_sizes": [4]}, loss={"kind": "in_batch"}, training={**training, "batch_size": 8})
    with pytest.raises(ConfigError, match=r"training\.batch_size is 8, was 16"):
        run(other, tmp_path / "run", interactions=interactions, resume=True)


def test_a_step_that_can_not_be_captured_is_refused_before_a_run_is_begun(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="the device is cpu"):
        run(make_recipe(training={"cuda_graph": True}), tmp_path / "run", interactions=interactions)
    assert not list((tmp_path / "run").glob("*.json"))
