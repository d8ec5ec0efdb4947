"""What a training will do is told before it does it: what is told is held to what is then built and done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from twotower.data import Batches
from twotower.losses.native_tiles import NativeTiles
from twotower.losses.torch_tiles import TorchTiles
from twotower.models import TwoTower, build
from twotower.runs import Recipe, explain, load_tables, run
from twotower.runs.explain import explain_untrained
from twotower.runs.fit_model import untrained_model
from twotower.spec import ModelSpec
from twotower.training import StepDone
from twotower.types import Computed

MakeRecipe = Callable[..., Recipe]

TRAIN = sys.modules["twotower.training.optimizer_states"]
FIT, EXPLAIN = (sys.modules[f"twotower.runs.{name}"] for name in ("fit_model", "explain"))


class Trained(NamedTuple):
    model: TwoTower
    optimizers: list[Optimizer]
    sparse: dict[str, bool]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, interactions: pl.DataFrame, tmp_path: Path) -> Callable[[Recipe], Trained]:
    """Train, and look at the first training's optimisers and gradients on the way."""
    optimizers: list[list[Optimizer]] = []
    models: list[TwoTower] = []
    sparse: dict[str, bool] = {}
    original = TRAIN.build_optimizers

    def building(*args: Any, **options: Any) -> list[Optimizer]:
        optimizers.append(original(*args, **options))
        return optimizers[-1]

    def builder(spec: ModelSpec, *, seed: int) -> TwoTower:
        models.append(build(spec, seed=seed))
        return models[-1]

    def listen(phase: str, event: object) -> None:
        if isinstance(event, StepDone):
            for name in models[0].embeddings.specs:
                gradient = models[0].embeddings.table(name).grad
                assert gradient is not None
                sparse[name] = gradient.is_sparse

    def train(recipe: Recipe) -> Trained:
        monkeypatch.setattr(TRAIN, "build_optimizers", building)
        run(recipe, tmp_path / "run", interactions=interactions, builder=builder, listener=listen)
        return Trained(models[0], optimizers[0], sparse)

    return train


def large(**optimizer: Any) -> dict[str, Any]:
    """A table that is updated by rows where nothing stands against it, one that is dense, and one where the recipe says so."""
    user = {"kind": "id", "column": "user", "hash_buckets": 200_000, "embedding": {"dim": 4}}
    history = {"kind": "history", "embedding": {"dim": 4, "update": "rows"}}
    return {
        "query": {"features": [user, history]},
        "model": {"layer_sizes": [4]},
        "loss": {"learn_temperature": True},
        "training": {"optimizer": optimizer, "epochs": 1},
    }


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ({"kind": "adagrad"}, {"query/user": "rows", "query/history": "rows", "candidate/item": "dense"}),
        (
            {"kind": "adamw", "learning_rate": 0.01},
            {"query/user": "dense", "query/history": "rows", "candidate/item": "dense"},
        ),
        (
            {"kind": "rowwise_adagrad", "learning_rate": 0.2, "sparse_learning_rate": 0.3},
            {"query/user": "dense", "query/history": "rows", "candidate/item": "dense"},
        ),
    ],
)
def test_what_is_told_is_what_is_built(
    optimizer: dict[str, Any],
    expected: dict[str, str],
    make_recipe: MakeRecipe,
    interactions: pl.DataFrame,
    trained: Callable[[Recipe], Trained],
) -> None:
    recipe = make_recipe(**large(**optimizer))
    told: dict[str, Any] = explain(recipe, interactions=interactions)
    assert {table["name"]: table["update"] for table in told["tables"]} == expected
    found = trained(recipe)
    assert found.sparse == {name: update == "rows" for name, update in expected.items()}

    def owner(parameter: Tensor) -> tuple[str, float]:
        ((kind, rate),) = [
            (type(each).__name__, group["initial_lr"])
            for each in found.optimizers
            for group in each.param_groups
            if any(other is parameter for other in group["params"])
        ]
        return kind, rate

    for table in told["tables"]:
        assert owner(found.model.embeddings.table(table["name"])) == (table["optimizer"], table["learning_rate"])
        assert table["rows"] == len(found.model.embeddings.table(table["name"]))
    sizes = told["bytes"]
    states = [state for each in found.optimizers for state in each.state.values()]
    kept = [value for state in states for name, value in state.items() if name != "step"]
    assert sizes["optimizer_states"] == sum(4 * value.numel() for value in kept)
    parameters = [parameter for each in found.optimizers for group in each.param_groups for parameter in group["params"]]
    assert sizes["parameters"] == sum(4 * parameter.numel() for parameter in parameters)
    tables = sum(table["rows"] * table["width"] for table in told["tables"])
    others = sum(other["numbers"] for other in told["others"])
    assert 4 * (tables + others) == sizes["parameters"]
    by_rows = {True: "touched", False: "rows"}
    counted = sum(table["width"] * table[by_rows[table["update"] == "rows"]] for table in told["tables"])
    assert sizes["gradients"] == 4 * (counted + others)


def test_rows_that_would_pay_are_told_where_something_stands_against_them(
    make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    told: dict[str, Any] = explain(make_recipe(**large(kind="adamw")), interactions=interactions)
    assert {table["name"]: table["rows_would_pay"] for table in told["tables"]} == {
        "query/user": True,
        "query/history": False,
        "candidate/item": False,
    }


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        ({}, "FullSoftmax"),
        ({"kind": "in_batch"}, "InBatchSoftmax"),
        ({"kind": "bsl"}, "BilateralSoftmax"),
        ({"precision": "bfloat16"}, "FullSoftmax"),
        ({"hard_negatives": 3}, "FullSoftmax"),
    ],
)
def test_the_path_of_the_loss_is_the_one_that_is_taken(
    loss: dict[str, Any],
    kind: str,
    make_recipe: MakeRecipe,
    interactions: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    trained: Callable[[Recipe], Trained],
) -> None:
    recipe = make_recipe(loss=loss, training={"epochs": 1})
    told: dict[str, Any] = explain(recipe, interactions=interactions)["loss"]  # type: ignore[assignment]
    taken: set[str] = set()
    for name, tiles in (("tiles by a kernel in C", NativeTiles), ("tiles by torch", TorchTiles)):

        def losses(self: Any, *args: Any, name: str = name, original: Any = tiles.losses, **options: Any) -> Any:
            taken.add(name)
            return original(self, *args, **options)

        monkeypatch.setattr(tiles, "losses", losses)
    trained(recipe)
    assert told["kind"] == kind
    assert told["negatives"].keys() == {"drawn", "distinct", "effective"}
    assert 0 < told["negatives"]["effective"] <= told["negatives"]["distinct"] + 1e-6
    assert told["precision"] == loss.get("precision", "float32")
    assert {told["path"]} == taken


def test_where_counts_come_from_and_what_they_take(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    def told(**loss: Any) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = explain(make_recipe(loss=loss), interactions=interactions)
        return found["loss"], found["bytes"]["data_in_memory"]

    assert "counts" not in told()[0]
    held, with_held = told(kind="in_batch")
    assert held["counts"] == {"kind": "held", "bytes": 4 * 7}
    sketch, with_sketch = told(kind="in_batch", sketch={"width": 512, "depth": 3})
    assert sketch["counts"] == {"kind": "sketch", "width": 512, "depth": 3, "bytes": 4 * 512 * 3}
    assert with_sketch - with_held == 4 * 512 * 3 - 4 * 7
    assert sketch["negatives"] == held["negatives"]


def test_an_accelerator_has_all_logits(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EXPLAIN, "fits_tiles", lambda _: False)
    told: dict[str, Any] = explain(make_recipe(), interactions=interactions)["loss"]  # type: ignore[assignment]
    assert (told["path"], told["bytes"]) == ("matrix", 4 * 16 * told["candidates"])


@pytest.mark.parametrize(("extra", "most"), [(0, 7), (3, 3)])
def test_gbce_has_the_logits_of_what_was_drawn(
    extra: int, most: int, make_recipe: MakeRecipe, interactions: pl.DataFrame
) -> None:
    recipe = make_recipe(loss={"kind": "gbce", "extra_negatives": extra})
    told: dict[str, Any] = explain(recipe, interactions=interactions)["loss"]  # type: ignore[assignment]
    assert (told["kind"], told["corrected"], told["path"], told["bytes"]) == ("GBCE", False, "matrix", 2 * 4 * 16 * most)


def test_rows_and_validation_are_those_of_the_run(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, monkeypatch: pytest.MonkeyPatch, trained: Callable[[Recipe], Trained]
) -> None:
    recipe = make_recipe(evaluation={"max_validation_rows": 7}, training={"epochs": 4, "validate_every": 2})
    told: dict[str, Any] = explain(recipe, interactions=interactions)
    judged: list[int] = []
    original = FIT.evaluate

    def evaluate(scorer: object, examples: Any, **options: Any) -> object:
        judged.append(len(examples))
        return original(scorer, examples, **options)

    monkeypatch.setattr(FIT, "evaluate", evaluate)
    trained(recipe)
    evaluation = told["evaluation"]
    assert judged == [evaluation["validation_rows"]] * (4 // evaluation["every_epochs"]) == [7, 7]
    assert (evaluation["test_rows"], evaluation["stops_on"]) == (20, "recall@5")
    assert told["rows"] == {"train": 70, "validation": 10, "test": 20}
    assert told["training"]["steps_per_epoch"] == 5
    assert told["threads"] == torch.get_num_threads()


def test_without_validation_rows_nothing_stops(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    told: dict[str, Any] = explain(make_recipe(split={"validation": 0}), interactions=interactions)["evaluation"]  # type: ignore[assignment]
    assert (told["validation_rows"], told["every_epochs"], told["stops_on"]) == (0, 0, None)


def test_columns_are_told_by_where_they_come_from(make_recipe: MakeRecipe, interactions: pl.DataFrame) -> None:
    features = [{"kind": "id", "column": "user"}, {"kind": "history"}]
    recipe = make_recipe(query={"features": features}, model={"layer_sizes": [4]})
    tables = load_tables(recipe, interactions=interactions)
    untrained = untrained_model(recipe, tables, tables.split.train)
    examples = untrained.batches.examples
    found: dict[str, Any] = explain_untrained(recipe, untrained, torch.device("cpu"))["feed"]  # type: ignore[assignment]
    assert found == {
        "columns": 1,
        "in_files": [],
        "computed": [],
        "histories": ["history"],
        "order": "one permutation an epoch",
    }
    column = Computed(len(examples), lambda rows: rows)
    batches = Batches(
        replace(examples, context={"place": column}),
        batch_size=16,
        catalogue_size=len(untrained.phase.catalogue),
        seed=1,
        candidates="in_batch",
        most_in_memory=3,
    )
    changed = explain_untrained(recipe, replace(untrained, batches=batches), torch.device("cpu"))["feed"]
    assert changed == found | {"columns": 2, "computed": ["place"], "order": "computed batch by batch"}


def test_nothing_is_written(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explain(make_recipe(), interactions=interactions)
    assert list(tmp_path.iterdir()) == []
