"""From the tasks of a recipe to outcomes, heads and losses."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import Tensor

from twotower.data import Examples
from twotower.errors import ConfigError, DataError, nearest, type_name
from twotower.losses import OutcomeLoss, cumulative_cross_entropy, squared_error
from twotower.runs.recipe import Recipe
from twotower.runs.tables import Tables
from twotower.runs.task_config import TaskConfig
from twotower.spec import HeadSpec, OrdinalHeadSpec, RegressionHeadSpec
from twotower.training import Objective, OutcomeTask

__all__ = ["head_specs", "objective", "outcomes"]

_MOST_LEVELS = 100


def outcomes(recipe: Recipe, tables: Tables) -> dict[str, Tensor]:
    """What tasks learn, by `TaskConfig.outcome`, each once: float64 ``[n]`` over all interactions, NaN where a row has none.

    It is the column as it stands, or, for a task with ``edges``, the level: how many edges are not greater than the value.

    Raises:
        ConfigError: If the interactions have no such column; all faults at once.
        DataError: If one does not hold numbers, or holds an infinity.
    """
    frame = tables.interactions.frame
    faults = [
        f"tasks.{i}.column: no column {task.column!r} in the interactions{nearest(task.column, frame.columns)}"
        for i, task in enumerate(recipe.tasks)
        if task.column not in frame.columns
    ]
    if faults:
        raise ConfigError(faults, source="recipe")
    return {
        outcome: _numbers(frame[task.column]) if task.edges is None else _levels(_numbers(frame[task.column]), task.edges)
        for outcome, task in {task.outcome: task for task in recipe.tasks}.items()
    }


def head_specs(recipe: Recipe, train: Examples) -> tuple[HeadSpec, ...]:
    """What fitting finds of every task: moments and range, or levels, over the train rows that have an outcome.

    They are of train rows whatever ``data.fit_on`` says.

    Raises:
        DataError: If the outcomes of the train rows are fewer than two distinct values, or more levels than 100; names every
            task.
    """
    specs: list[HeadSpec] = []
    faults = []
    for task in recipe.tasks:
        values = train.outcomes[task.outcome].numpy()
        values = values[~np.isnan(values)]
        levels, counts = np.unique(values, return_counts=True)
        if len(levels) < 2:
            came = f"only {levels[0]:g}" if len(levels) else "none"
            counted = "values" if task.edges is None else f"levels by the edges {list(task.edges)}"
            faults.append(
                f"task {task.name!r}: column {task.column!r} must have two {counted} or more in the train rows; came {came}"
            )
        elif task.kind == "ordinal" and len(levels) > _MOST_LEVELS:
            faults.append(
                f"task {task.name!r}: column {task.column!r} must have at most {_MOST_LEVELS} levels; the train rows have "
                f"{len(levels):,} values: cut them into levels with edges = [...], or set kind = 'regression'"
            )
        elif task.kind == "ordinal":
            specs.append(
                OrdinalHeadSpec(
                    name=task.name,
                    inputs=task.inputs,
                    layer_sizes=task.layer_sizes,
                    activation=recipe.model.activation,
                    levels=tuple(levels.tolist()),
                    shares=tuple((counts / counts.sum()).tolist()),
                )
            )
        else:
            specs.append(
                RegressionHeadSpec(
                    name=task.name,
                    inputs=task.inputs,
                    layer_sizes=task.layer_sizes,
                    activation=recipe.model.activation,
                    mean=float(values.mean()),
                    scale=float(values.std()),
                    low=float(levels[0]),
                    high=float(levels[-1]),
                )
            )
    if faults:
        raise DataError("; ".join(faults))
    return tuple(specs)


def objective(recipe: Recipe) -> Objective:
    """What training minimises: the tasks with their losses, and the weights of all."""
    return Objective(tuple(_task(task) for task in recipe.tasks), recipe.loss.weight)


def _task(task: TaskConfig) -> OutcomeTask:
    losses: dict[str, OutcomeLoss] = {"regression": squared_error, "ordinal": cumulative_cross_entropy}
    return OutcomeTask(task.name, task.outcome, losses[task.kind], task.weight)


def _levels(values: Tensor, edges: tuple[float, ...]) -> Tensor:
    levels = torch.bucketize(values, torch.tensor(edges, dtype=torch.float64), right=True).double()
    return torch.where(values.isnan(), values, levels)


def _numbers(column: pl.Series) -> Tensor:
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise DataError(
            f"task column {column.name!r} must hold numbers; came {type_name(column.dtype)}; declare its type, or name "
            "another column"
        )
    values = column.cast(pl.Float64).fill_null(float("nan"))
    infinite = values.is_infinite().arg_true()
    if len(infinite):
        raise DataError(
            f"task column {column.name!r} must hold finite numbers, or null where a row has no outcome; {len(infinite):,} rows "
            f"hold an infinity (rows {', '.join(map(str, infinite.head(5).to_list()))}); correct them"
        )
    return torch.from_numpy(values.to_numpy(writable=True))
