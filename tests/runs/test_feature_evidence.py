from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from twotower.diagnosis import Importances, NotMade, SoftmaxScale
from twotower.runs import LoadedRun, Recipe, load_run, run
from twotower.runs.feature_evidence import importances, only_ids, training_data, unknown_values
from twotower.runs.fit_model import OwnParts
from twotower.runs.loss_evidence import softmax_scale
from twotower.runs.probe import headline, make_probe
from twotower.runs.trained_parts import measured_parts

MakeRecipe = Callable[..., Recipe]
USER: dict[str, Any] = {"kind": "id", "column": "user", "embedding": {"dim": 4, "id_dropout": 0}}
HISTORY: dict[str, Any] = {"kind": "history", "embedding": {"dim": 4, "table": "items", "id_dropout": 0}}
ITEM: dict[str, Any] = {"kind": "id", "column": "item", "embedding": {"dim": 4, "table": "items", "id_dropout": 0.1}}
CONSTANTS: list[dict[str, Any]] = [{"kind": "category", "column": name, "embedding": {"dim": 2}} for name in ("shop", "land")]


@pytest.fixture(scope="module")
def loaded(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    recipe = make_recipe(
        query={"features": [USER, HISTORY]}, candidate={"features": [ITEM, *CONSTANTS]}, model={"layer_sizes": [4]}
    )
    folder: Path = tmp_path_factory.mktemp("features") / "run"
    items = pl.DataFrame({"item": range(9), "shop": ["one"] * 9, "land": ["one"] * 9})
    run(recipe, folder, interactions=interactions, items=items)
    return load_run(folder, interactions=interactions, items=items)


def test_unknown_values_are_those_that_train_has_not(loaded: LoadedRun) -> None:
    rows = loaded.tables.interactions.frame.to_dicts()
    train = [rows[row] for row in loaded.phase.fit_rows.tolist()]
    test = [rows[row] for row in loaded.tables.split.test.tolist()]
    users, items = {row["user"] for row in train}, {row["item"] for row in train}
    histories = [
        other["item"] for row in test for other in rows if other["user"] == row["user"] and other["time"] < row["time"]
    ]
    found = {entry.feature: entry for entry in unknown_values(loaded.recommender.model, loaded.phase, loaded.tables.split.test)}
    assert found["user"].test == pytest.approx(sum(row["user"] not in users for row in test) / len(test))
    assert found["item"].test == pytest.approx(sum(row["item"] not in items for row in test) / len(test))
    assert found["history"].test == pytest.approx(sum(item not in items for item in histories) / len(histories))
    assert found["user"].test > 0
    assert found["item"].test > 0
    assert {entry.train for entry in found.values()} == {0.0}
    # the history's row of unknown items is trained by the item's id dropout: they share it
    assert {n: found[n].trained for n in ("user", "history", "item")} == {"user": False, "history": True, "item": True}


def test_tables_of_ids_with_the_rows_that_read_them(loaded: LoadedRun) -> None:
    found = training_data(loaded.recipe, loaded.recommender.model, loaded.phase)
    rows = loaded.tables.interactions.frame[loaded.phase.fit_rows]
    loads = {table.feature: (table.tower, table.ids, table.width, table.rows) for table in found.tables}
    assert loads == {
        "user": ("query", rows["user"].n_unique(), 4, 70),
        "item": ("candidate", rows["item"].n_unique(), 4, 70),
    }
    assert (found.catalogue, found.untrained) == (9, 9 - rows["item"].n_unique())
    assert not found.only_item_ids
    assert not only_ids(loaded.recipe, loaded.phase, "query")


def test_nothing_is_chosen_on_test_rows(loaded: LoadedRun) -> None:
    wanted = headline(loaded.recipe)
    split = loaded.tables.split
    model, phase = loaded.recommender.model, loaded.phase
    assert isinstance(importances(make_probe(loaded, model, phase, split.test, of_test=True), wanted), NotMade)
    found = importances(make_probe(loaded, model, phase, split.validation, of_test=False), wanted)
    assert isinstance(found, Importances)
    assert [(entry.feature, entry.constant) for entry in found.features] == [
        ("user", False),
        ("history", False),
        ("item", False),
        ("shop", True),
        ("land", True),
    ]
    assert found.rows == 10
    assert found.together is not None
    assert found.together.constant


def test_held_out_rows_are_asked_as_they_are_judged(loaded: LoadedRun) -> None:
    parts = measured_parts(loaded, OwnParts())
    rows = loaded.tables.split.validation
    probe = make_probe(loaded, parts.model, parts.phase, rows, of_test=False)
    found = softmax_scale(loaded.recipe, parts, probe)
    assert isinstance(found, SoftmaxScale)
    assert found.held_out is not None
    known = probe.examples.item_rows >= 0
    scores = probe.scorer.queries_QD[known] @ probe.scorer.items_ND.T
    wanted = torch.nn.functional.cross_entropy(scores, probe.examples.item_rows[known])
    assert found.held_out[found.factors.index(1.0)] == pytest.approx(float(wanted), rel=1e-6)
