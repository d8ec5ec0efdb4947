"""Plan a training over many ranks from its recipe: nothing is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from pydantic import ValidationError

from twotower.bundle import JSON
from twotower.columnar import Converting
from twotower.errors import ConfigError
from twotower.planning import AskedSharding, Device, Plan, checked_sharding, make_plan
from twotower.runs.plan_sizes import AskedSizes, plan_sizes
from twotower.runs.plan_workload import plan_workload
from twotower.runs.recipe import Recipe
from twotower.training import TrainingConfig

__all__ = ["AskedSizes", "plan_facts", "plan_recipe"]


def plan_recipe(
    recipe: Recipe,
    device: Device,
    *,
    ranks: int,
    sharding: AskedSharding | None = None,
    sizes: AskedSizes | None = None,
    listener: Callable[[Converting], None] | None = None,
) -> Plan:
    """Plan a recipe's training; whether there is memory for it says `twotower.planning.require_fit`.

    Args:
        recipe: Towers, tables, loss, batches, and where the data is.
        device: A rank's part of a machine.
        ranks: How many there are.
        sharding: Whether tables are split by rows; None: as the recipe's ``training.sharding`` says, and ``auto`` where that is
            ``local``, as it is where nobody has chosen, if its tables can be split.
        sizes: What is planned for in place of what is in the tables.
        listener: Is told how far the conversion of a table is.

    Raises:
        ConfigError: If a number is none, the size of the data is not known, or tables are asked to be split that can't be.
        DataError: If a table does not hold what the recipe says.
    """
    found = plan_sizes(recipe, sizes or AskedSizes(), listener)
    workload = plan_workload(recipe, found)
    if sharding is None and recipe.training.sharding == "local" and ranks > 1:
        plan = make_plan(workload, device, ranks, "auto")
        fault = _can_not_be_split(recipe, plan)
        if fault is None:
            return plan
        # nobody asked for it: every rank has all tables
        return replace(make_plan(workload, device, ranks, "local"), whole_because=fault)
    plan = make_plan(workload, device, ranks, checked_sharding(sharding or recipe.training.sharding))
    fault = _can_not_be_split(recipe, plan)
    if fault is not None:
        raise ConfigError(fault, source="recipe")
    return plan


def _can_not_be_split(recipe: Recipe, plan: Plan) -> str | None:
    """Why a training would refuse the plan's split tables; None: it would not."""
    split = [table for table in plan.workload.tables if table.name in plan.split_tables]
    if not split:
        return None
    wrong = [f"table {table.name!r} is {table.width} wide: split tables must be a multiple of 4 wide" for table in split]
    wrong = [fault for fault, table in zip(wrong, split, strict=True) if table.width % 4]
    try:
        TrainingConfig.model_validate({**recipe.training.model_dump(), "sharding": plan.sharding})
    except ValidationError as error:
        wrong += [str(each["msg"]).removeprefix("Value error, ") for each in error.errors()]
    return "; ".join(wrong) or None


def plan_facts(plan: Plan) -> dict[str, JSON]:
    """A plan for programs: plain numbers, with units in their names.

    Returns:
        ``recipe``, ``ranks``, ``nodes``, ``device`` (all its numbers), ``sharding``, ``split_tables``, ``whole_because``,
        ``rows``, ``users``, ``items``, ``batch_size``, ``competing``, ``notes``; ``memory``: ``parts``, one each (``what``,
        ``bytes``, ``how``, ``moment``, ``where``), and by side (``host``, and ``device`` where there is one)
        ``always_bytes``, ``peak_bytes``, ``peak_moment``, ``room_bytes``; ``step``: ``work``, ``collectives``,
        ``feed_bytes``, ``feed_s``, ``fixed_s``, ``seconds``, ``overlapped_s``, ``saturated``; ``steps_per_epoch``,
        ``rows_per_s``, ``overlapped_rows_per_s``, ``epoch_s``, ``overlapped_epoch_s``.
    """
    workload, device, step, memory = plan.workload, plan.device, plan.step, plan.memory
    sides = {"host": True} if device.is_host else {"device": False, "host": True}
    room = {"host": device.host_memory_bytes, "device": device.memory_bytes}
    return {
        "recipe": workload.name,
        "ranks": plan.ranks,
        "nodes": -(-plan.ranks // device.ranks_per_node),
        "device": cast(JSON, device.model_dump(mode="json")),
        "sharding": plan.sharding,
        "split_tables": list(plan.split_tables),
        "whole_because": plan.whole_because,
        "rows": workload.rows,
        "users": workload.users,
        "items": workload.items,
        "batch_size": workload.batch_size,
        "competing": workload.competing,
        "notes": list(workload.notes),
        "memory": {
            "parts": [
                {
                    "what": part.what,
                    "bytes": part.bytes,
                    "how": part.how,
                    "moment": part.moment,
                    "where": "host" if part.on_host or device.is_host else "device",
                }
                for part in memory.parts
            ],
            **{
                name: {
                    "always_bytes": memory.always(host=host),
                    "peak_bytes": memory.peak(host=host),
                    "peak_moment": memory.peak_moment(host=host),
                    "room_bytes": room[name],
                }
                for name, host in sides.items()
            },
        },
        "step": {
            "work": [vars(part) for part in step.work],
            "collectives": [vars(part) for part in step.collectives],
            "feed_bytes": step.feed_bytes,
            "feed_s": step.feed_s,
            "fixed_s": step.fixed_s,
            "seconds": step.seconds,
            "overlapped_s": step.overlapped_s,
            "saturated": step.saturated,
        },
        "steps_per_epoch": plan.steps_per_epoch,
        "rows_per_s": step.rows_per_s,
        "overlapped_rows_per_s": step.overlapped_rows_per_s,
        "epoch_s": plan.epoch_s(overlapped=False),
        "overlapped_epoch_s": plan.epoch_s(overlapped=True),
    }
