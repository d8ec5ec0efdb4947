"""What a report says of a run besides its ranks: how it was trained, from what, on what, for how long."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from twotower.reports import Epoch, Estimate, Facts, Outcome, Training
from twotower.runs.load_run import LoadedRun
from twotower.runs.run_folder import flat_keys
from twotower.training import smaller_is_better

__all__ = ["facts", "outcomes", "training"]

_PHASES = {
    "select": "training to choose the epoch",
    "refit": "training anew on train and validation rows",
    "production": "training anew on all rows",
}


def training(loaded: LoadedRun) -> Training:
    """The curves, as ``metrics.jsonl`` has them.

    Raises:
        BundleError: If the run's records are missing or damaged.
    """
    recipe = loaded.recipe
    epochs = []
    spent: dict[str, float] = {}
    for record in loaded.records:
        phase = record["phase"]
        spent[phase] = spent.get(phase, 0.0) + record["seconds"]
        epochs.append(
            Epoch(phase=phase, epoch=record["epoch"], seconds=spent[phase], loss=record["loss"], metrics=record["metrics"])
        )
    stopping = recipe.training.early_stopping
    metric = stopping.metric if stopping is not None else f"recall@{recipe.evaluation.ks[-1]}"
    if stopping is None and recipe.loss.weight == 0:
        metric = f"{recipe.tasks[0].name} rmse"
    validated_on: Literal["validation", "test"] | None = None
    if any(epoch.metrics for epoch in epochs):
        validated_on = recipe.evaluation.validate_on
    return Training(
        epochs=tuple(epochs),
        metric=metric,
        validated_on=validated_on,
        chosen_epoch=loaded.result["selection"]["epoch"],
        smaller_is_better=smaller_is_better(metric),
        tasks=tuple(task.name for task in recipe.tasks),
    )


def facts(loaded: LoadedRun) -> Facts:
    """The recipe, what was read, versions, hardware, seconds and memory."""
    result, card = loaded.result, loaded.recommender.card
    spent: dict[str, float] = {}
    for record in loaded.records:
        name = _PHASES.get(record["phase"], record["phase"])
        spent[name] = spent.get(name, 0.0) + record["seconds"]
    spent["judging the model"] = result["evaluation"]["seconds"]
    lines = loaded.tables.report_lines()
    hardware = {
        "device": str(result["device"]),
        **{name.replace("_", " "): str(value) for name, value in result.get("hardware", {}).items()},
    }
    return Facts(
        recipe={key: json.dumps(value, ensure_ascii=False) for key, value in _leaves(loaded.recipe.model_dump(mode="json"))},
        data=(*loaded.data_report.lines(), *lines[len(loaded.tables.interactions.report.lines()) :]),
        versions={str(name): str(version) for name, version in card["versions"].items()},
        hardware=hardware,
        seconds=spent,
        peak_memory_bytes=result["peak_memory_bytes"],
        trained_on=str(card["trained_on"]),
    )


def outcomes(result: Mapping[str, Any]) -> tuple[Outcome, ...]:
    """The tasks beside retrieval that had rows to judge."""

    def estimate(found: Mapping[str, Any], name: str) -> Estimate:
        low, high = found["intervals"].get(name, (None, None))
        return Estimate(value=found[name], low=low, high=high)

    return tuple(
        Outcome(
            name=name,
            rows=found["rows"],
            errors={
                who: {key: estimate(found[who], key) for key in ("rmse", "mae")}
                for who in ("model", "mean", "damped_means")
                if who in found
            },
            differences={
                who: Estimate(value=each["mean_squared_error"], low=each["interval"][0], high=each["interval"][1])
                for who, each in found.get("differences", {}).items()
            },
        )
        for name, found in result.get("outcomes", {}).items()
        if "model" in found
    )


def _leaves(recipe: dict[str, Any]) -> list[tuple[str, Any]]:
    """Keys and values; a list of plain values is one value."""
    found: dict[str, Any] = {}
    for key, value in flat_keys(recipe).items():
        parent, _, last = key.rpartition(".")
        if last.isdigit() and not isinstance(value, dict):
            holder: Any = recipe
            for part in parent.split("."):
                holder = holder[int(part)] if isinstance(holder, list) else holder[part]
            if isinstance(holder, list) and not any(isinstance(entry, dict | list) for entry in holder):
                found[parent] = holder
                continue
        found[key] = value
    return list(found.items())
