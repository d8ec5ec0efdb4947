"""A plan: what each rank holds, what a step costs, how long an epoch takes; or why it can't be, and what could."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from twotower.errors import ConfigError
from twotower.planning.device import Device
from twotower.planning.memory import Memory, memory_of
from twotower.planning.sharding import AskedSharding, is_sharded
from twotower.planning.step import Step, step_of
from twotower.planning.workload import Tower, Workload

__all__ = ["MOST_RANKS", "Plan", "faults_of", "fewest_ranks", "make_plan", "most_rows", "require_fit", "widest"]

MOST_RANKS = 2**16


@dataclass(frozen=True)
class Plan:
    """What a training over ranks comes to.

    Attributes:
        workload: What is trained.
        device: A rank's part of a machine.
        ranks: How many there are.
        sharding: As it was asked for.
        memory: What a rank holds.
        step: What a step costs a rank.
        whole_because: Why large tables are not split, where nobody said how and the recipe's can't be; empty otherwise.
    """

    workload: Workload
    device: Device
    ranks: int
    sharding: AskedSharding
    memory: Memory
    step: Step
    whole_because: str = ""

    @property
    def split_tables(self) -> tuple[str, ...]:
        """Names of the tables that are split by rows."""
        return tuple(table.name for table in self.workload.tables if is_sharded(table, self.ranks, self.sharding))

    @property
    def steps_per_epoch(self) -> int:
        """Batches, the last of which may be smaller."""
        return -(-self.workload.rows // self.workload.batch_size)

    def epoch_s(self, *, overlapped: bool) -> float:
        """Seconds of an epoch, without validation."""
        return self.steps_per_epoch * (self.step.overlapped_s if overlapped else self.step.seconds)


def make_plan(workload: Workload, device: Device, ranks: int, sharding: AskedSharding) -> Plan:
    """Plan, whether it fits or not; see `require_fit`.

    Raises:
        ConfigError: If the number of ranks is none.
    """
    if not 1 <= ranks <= MOST_RANKS:
        raise ConfigError(f"--ranks {ranks}: must be from 1 to {MOST_RANKS:,}")
    memory = memory_of(workload, device, ranks, sharding)
    return Plan(workload, device, ranks, sharding, memory, step_of(workload, device, ranks, sharding))


def faults_of(plan: Plan) -> list[str]:
    """Which memories have no room for what a rank holds, in sentences; none: it fits."""
    found = []
    device = plan.device
    sides = [(True, device.host_memory_bytes, "of the machine's memory")]
    if not device.is_host:
        sides.insert(0, (False, device.memory_bytes, f"of the device ({device.name})"))
    for host, room, where in sides:
        peak = plan.memory.peak(host=host)
        if host and not device.is_host:  # ranks of a node share its memory, and one of them writes the bundle
            ranks = min(plan.ranks, device.ranks_per_node)
            peak = (peak + (ranks - 1) * plan.memory.peak(host=True, writes=False)) / ranks
        if peak > room:
            moment = plan.memory.peak_moment(host=host)
            found.append(f"a rank needs {_gb(peak)} ({moment}) and has {_gb(room)} {where}")
    return found


def require_fit(plan: Plan) -> None:
    """Refuse a plan for which there is no memory, and say what would fit.

    Raises:
        ConfigError: With what is short, and: the least number of ranks, split tables, or the widest tables that fit.
    """
    faults = faults_of(plan)
    if faults:
        remedies = list(_remedies(plan))
        could = f"; what would fit: {', or '.join(remedies)}" if remedies else "; nothing of it fits, not even the process"
        ranks = "1 rank" if plan.ranks == 1 else f"{plan.ranks:,} ranks"
        raise ConfigError(f"no plan for {ranks}: {'; '.join(faults)}{could}")


def _remedies(plan: Plan) -> Iterator[str]:
    if plan.whole_because:
        yield f"tables that can be split, which these can't ({plan.whole_because})"
    elif plan.sharding == "local" and plan.ranks > 1:
        for way in ("row_wise", "auto"):
            sharding: AskedSharding = "row_wise" if way == "row_wise" else "auto"
            if not faults_of(make_plan(plan.workload, plan.device, plan.ranks, sharding)):
                yield f"tables split by rows (--sharding {way})"
                break
    split: AskedSharding = "auto" if plan.sharding == "local" and not plan.whole_because else plan.sharding
    ranks = fewest_ranks(plan.workload, plan.device, split)
    if ranks is not None and ranks > plan.ranks:
        yield f"--ranks {ranks}{' --sharding auto' if split != plan.sharding else ''}"
    width = widest(plan)
    if width is not None:
        yield f"tables of at most {width} numbers a row (embedding.dim)"
    if ranks is None:  # what every rank has of the data is too much
        rows = most_rows(plan)
        if rows is not None:
            yield f"at most {rows:,} rows: examples and histories are on every rank"


def fewest_ranks(workload: Workload, device: Device, sharding: AskedSharding) -> int | None:
    """The least number of ranks that fits; None: up to `MOST_RANKS` none does.

    More ranks never need more memory each but for what comes with the second, so that it is found by halving.
    """

    def fits(ranks: int) -> bool:
        return not faults_of(make_plan(workload, device, ranks, sharding))

    if fits(1):
        return 1
    high = 2
    while not fits(high):
        high *= 2
        if high > MOST_RANKS:
            return None
    low = high // 2  # does not fit, or is 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def widest(plan: Plan) -> int | None:
    """The largest width, below that of the widest table, to which all wider tables could be cut so that it fits; None: none.

    Of tables that are split it is a multiple of 4, as they have to be.
    """
    most = max((table.width for table in plan.workload.tables), default=1)

    def fits(width: int) -> bool:
        return not faults_of(make_plan(narrowed(plan.workload, width), plan.device, plan.ranks, plan.sharding))

    if most <= 1 or not fits(1):
        return None
    low, high = 1, most  # fits, does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if not plan.split_tables:
        return low
    return next((width for width in range(low // 4 * 4, 0, -4) if fits(width)), None)


def most_rows(plan: Plan) -> int | None:
    """The most rows of a log that would fit, the rest as it is; None: not even one, or all of them do."""

    def fits(rows: int) -> bool:
        workload = replace(plan.workload, rows=rows)
        return not faults_of(make_plan(workload, plan.device, plan.ranks, plan.sharding))

    if not fits(1) or fits(plan.workload.rows):
        return None
    low, high = 1, plan.workload.rows  # fits, does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def narrowed(workload: Workload, width: int) -> Workload:
    """The same with no table wider than so many numbers; towers read as much less."""
    tables = tuple(replace(table, width=min(table.width, width)) for table in workload.tables)
    pairs = list(zip(workload.tables, tables, strict=True))
    off_query = sum(before.width - after.width for before, after in pairs if before.query_ids)
    off_candidate = sum(before.width - after.width for before, after in pairs if before.candidate_ids)

    def less(tower: Tower, off: int) -> Tower:
        return replace(tower, input_width=max(1, tower.input_width - off))

    return replace(
        workload, tables=tables, query=less(workload.query, off_query), candidate=less(workload.candidate, off_candidate)
    )


def _gb(size: float) -> str:
    """Decimal, as machines are sold.

    Example:
        >>> _gb(141e9), _gb(2.512e12), _gb(3.2e6)
        ('141 GB', '2,512 GB', '0.0032 GB')
    """
    value = size / 1e9
    return f"{value:,.0f} GB" if value >= 100 else f"{value:.{max(1, 1 - math.floor(math.log10(max(value, 1e-6))))}f} GB"
