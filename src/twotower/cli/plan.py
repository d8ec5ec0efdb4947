"""``twotower plan``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from twotower.bundle import write_json
from twotower.cli.output import print_json, print_lines, print_table
from twotower.cli.progress import RunProgress
from twotower.errors import ConfigError
from twotower.planning import Held, Plan, checked_sharding, device_named, read_device, require_fit
from twotower.runs import AskedSizes, measure_machine, plan_facts, plan_recipe, read_recipe

__all__ = ["PlanOptions", "measure_command", "plan_command"]

_SMALL = 0.005


@dataclass(frozen=True)
class PlanOptions:
    """What a plan is asked for; see ``plan_options``."""

    ranks: int
    device: str | None
    constants: Path | None
    rows: str | None
    users: str | None
    items: str | None
    sharding: str | None
    lengths: tuple[str, ...]
    vocabularies: tuple[str, ...]
    read: bool
    explain: bool


def plan_command(recipe_path: Path, overrides: Sequence[str], options: PlanOptions, *, as_json: bool) -> None:
    """Print a plan; one for which there is no memory is an error that says what would fit."""
    if options.device is not None and options.constants is not None:
        raise ConfigError("--device and --constants both say what a rank runs on: give one of them")
    device = device_named(options.device or "cpu") if options.constants is None else read_device(options.constants)
    sharding = None if options.sharding is None else checked_sharding(options.sharding)
    sizes = AskedSizes(
        rows=_count("--rows", options.rows),
        users=_count("--users", options.users),
        items=_count("--items", options.items),
        lengths=dict(_named("--mean-length", text) for text in options.lengths),
        vocabularies={
            name: _whole("--vocabulary", f"{name}={number:g}", number)
            for name, number in (_named("--vocabulary", text) for text in options.vocabularies)
        },
        read=options.read,
    )
    recipe = read_recipe(recipe_path, overrides=overrides)
    with RunProgress("") as progress:
        plan = plan_recipe(
            recipe, device, ranks=options.ranks, sharding=sharding, sizes=sizes, listener=lambda event: progress("data", event)
        )
    require_fit(plan)
    if as_json:
        print_json(plan_facts(plan))
        return
    _print_plan(plan, explain=options.explain)
    if plan.split_tables and recipe.training.sharding == "local":
        settings = f"--set training.sharding={plan.sharding} --ranks {plan.ranks}"
        print_lines(f"to train so: twotower train {quote(str(recipe_path))} {settings}")


def measure_command(path: Path, *, as_json: bool) -> None:
    """Measure this machine and write the device."""
    device = measure_machine()
    values = device.model_dump(mode="json")
    write_json(path, values)
    if as_json:
        print_json(values)
        return
    print_table("", ["what", "measured"], [[name, _plain(value)] for name, value in values.items()], left=["what", "measured"])
    print_lines(f"written to {path}", f"next:   twotower plan RECIPE --constants {path} --ranks 2")


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _count(option: str, text: str | None) -> int | None:
    """A whole number, as ``1000``, ``1_000`` or ``1e3``."""
    return None if text is None else _whole(option, text, _number(option, text))


def _whole(option: str, text: str, number: float) -> int:
    if not number >= 1 or number != int(number):
        raise ConfigError(f"{option} {text}: must be a whole number of at least 1, such as 1e9")
    return int(number)


def _number(option: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{option} {text}: must be a number, such as 1e9")
    return number


def _named(option: str, text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"{option} {text}: write NAME=NUMBER, for instance title=8")
    return name, _number(f"{option} {name}:", value)


def _print_plan(plan: Plan, *, explain: bool) -> None:
    workload, device, step = plan.workload, plan.device, plan.step
    split, nodes = ", ".join(plan.split_tables), -(-plan.ranks // device.ranks_per_node)
    print_lines(
        f"{workload.name}: {workload.rows:,} rows, {workload.users:,} users, {workload.items:,} items; batches of "
        f"{workload.batch_size:,} rows, {workload.competing:,.0f} items compete",
        f"ranks: {plan.ranks:,} x {device.name} on {nodes:,} node{'' if nodes == 1 else 's'}; split by rows: "
        f"{split or 'no table'}",
        *([f"tables are whole on every rank: {plan.whole_because}"] if plan.whole_because else []),
        "",
    )
    _print_memory(plan, explain=explain)
    _print_step(plan, explain=explain)
    print_lines(
        "",
        f"a step: {_seconds(step.seconds)} one after the other, {_seconds(step.overlapped_s)} if work, traffic and input were "
        "all at once",
        f"rows/s: {step.rows_per_s:,.0f} to {step.overlapped_rows_per_s:,.0f} of all ranks; an epoch of "
        f"{plan.steps_per_epoch:,} steps: {_seconds(plan.epoch_s(overlapped=False))} to "
        f"{_seconds(plan.epoch_s(overlapped=True))}",
        "these rows/s are a roofline's: on the core that docs/scale.md measured, a training had half of them",
        f"what takes the most: {step.saturated} ({step.parts()[step.saturated] / step.seconds:.0%} of a step)",
    )
    in_files = workload.rows * workload.file_row_bytes
    if in_files:
        # of a node: what its ranks leave of its memory
        left = min(plan.ranks, device.ranks_per_node) * (device.host_memory_bytes - plan.memory.peak(host=True))
        short = "" if left >= in_files else ": too little, so that rows are read from the disk"
        print_lines(
            f"files: {_size(in_files)} of columns, mapped by all ranks; {_size(left)} of a node is left for them{short}"
        )
    if explain:
        print_lines("", f"device: {device.source or 'as given'}", *(f"size: {note}" for note in workload.notes))
        print_lines(
            f"shares of the peaks: products {device.product_share:.0%}, rows of tables {device.random_access:.0%} of "
            f"{_size(device.memory_bytes_per_s)}/s, wires {device.wire_share:.0%}; docs/scale.md has the equations"
        )
    elif workload.notes:
        print_lines(f"sizes: {workload.notes[0]}{'; more with --explain' if len(workload.notes) > 1 else ''}")


def _print_memory(plan: Plan, *, explain: bool) -> None:
    device, memory = plan.device, plan.memory
    sides = [("memory", True, device.host_memory_bytes)]
    if not device.is_host:
        sides = [("device memory", False, device.memory_bytes), ("machine's memory", True, device.host_memory_bytes)]
    for title, host, room in sides:
        peak, moment = memory.peak(host=host), memory.peak_moment(host=host)
        parts = [part for part in memory.parts if device.is_host or part.on_host == host]
        shown = sorted(parts, key=lambda part: -part.bytes)
        if not explain:
            shown = [part for part in shown if part.bytes >= _SMALL * peak]
        named = f", {moment}" if moment else ""
        print_table(
            f"{title} of a rank: {_size(peak)} at most{named}; {_size(room)} is there ({peak / room:.0%})",
            ["what", "size", "when", "how"],
            [[part.what, _size(part.bytes), _when(part), part.how] for part in shown],
            left=["what", "when", "how"],
        )
        print_lines("")


def _when(part: Held) -> str:
    return part.moment or "always"


def _print_step(plan: Plan, *, explain: bool) -> None:
    step = plan.step
    rows = [["work", part.what, _size(part.bytes), _seconds(part.seconds)] for part in step.work]
    rows += [[part.kind, part.what, _size(part.bytes), _seconds(part.seconds)] for part in step.collectives]
    rows += [["input", "columns of the batch", _size(step.feed_bytes), _seconds(step.feed_s)]]
    rows += [["calls", "whatever is in it", "", _seconds(step.fixed_s)]]
    header = ["a step of a rank", "what", "bytes", "time"]
    if explain:
        products = {part.what: f"{part.products / 1e9:,.1f}" for part in step.work}
        header.append("G products")
        rows = [[*row, products.get(row[1], "") if row[0] == "work" else ""] for row in rows]
    print_table("", header, rows, left=["a step of a rank", "what"])


def _size(value: float) -> str:
    """Decimal units, as machines are sold, three digits.

    Example:
        >>> _size(141e9), _size(2_805_780), _size(512), _size(0)
        ('141 GB', '2.81 MB', '512 B', '0 B')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}" if value < 999.5 * size else f"{value / size:,.0f} {unit}"
    return f"{value:.0f} B"


def _seconds(value: float) -> str:
    """Example:
    >>> _seconds(0.0000042), _seconds(0.0123), _seconds(2.5), _seconds(7300), _seconds(400_000)
    ('4.2 us', '12.3 ms', '2.5 s', '2.03 h', '4.63 days')
    """
    for unit, size, least in (("days", 86_400.0, 2), ("h", 3600.0, 2), ("min", 60.0, 2), ("s", 1.0, 1), ("ms", 1e-3, 1)):
        if value >= size * least:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} us"
