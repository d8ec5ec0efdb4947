"""What a step costs a rank: products, bytes of memory, bytes between ranks, rows of the feed; and the seconds that follow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from twotower.planning.device import Device
from twotower.planning.links import Links
from twotower.planning.sharding import AskedSharding, ids_of_rank, tables_of
from twotower.planning.workload import FLOAT, ID, Table, Workload, distinct

__all__ = ["Collective", "Step", "Work", "slowest_of", "step_of"]


@dataclass(frozen=True)
class Work:
    """A part of a rank's own work.

    Attributes:
        what: In a few words.
        products: Multiplications and additions.
        bytes: Read and written.
        seconds: By the roofline: of products and bytes, whichever takes longer.
    """

    what: str
    products: float
    bytes: float
    seconds: float


@dataclass(frozen=True)
class Collective:
    """Something that all ranks do together.

    Attributes:
        kind: ``all_to_all``, ``all_gather`` or ``all_reduce``.
        what: What is sent.
        bytes: That leave a rank.
        seconds: By `Links`.
    """

    kind: str
    what: str
    bytes: float
    seconds: float


@dataclass(frozen=True)
class Step:
    """One step of one rank.

    Attributes:
        work: What a rank does alone.
        collectives: What it does with the others.
        feed_bytes: Read from the columns.
        feed_s: Seconds of it.
        fixed_s: What a step costs beside all that.
        rows: Of the global batch.
    """

    work: tuple[Work, ...]
    collectives: tuple[Collective, ...]
    feed_bytes: float
    feed_s: float
    fixed_s: float
    rows: int

    @property
    def work_s(self) -> float:
        """Seconds of own work, what a step costs at least among them."""
        return self.fixed_s + sum(part.seconds for part in self.work)

    @property
    def collective_s(self) -> float:
        """Seconds between ranks."""
        return sum(part.seconds for part in self.collectives)

    @property
    def seconds(self) -> float:
        """One after the other."""
        return self.work_s + self.collective_s + self.feed_s

    @property
    def overlapped_s(self) -> float:
        """All three at once: what no schedule can be quicker than."""
        return max(self.work_s, self.collective_s, self.feed_s)

    @property
    def rows_per_s(self) -> float:
        """Of all ranks, one after the other."""
        return self.rows / self.seconds

    @property
    def overlapped_rows_per_s(self) -> float:
        """Of all ranks, all at once."""
        return self.rows / self.overlapped_s

    def parts(self) -> dict[str, float]:
        """Seconds by what could be the narrowest place."""
        found = {part.what: part.seconds for part in self.work} | {"calls": self.fixed_s, "input": self.feed_s}
        for part in self.collectives:
            name = f"{part.kind}: {part.what}"
            found[name] = found.get(name, 0.0) + part.seconds
        return found

    @property
    def saturated(self) -> str:
        """What takes the most of the step."""
        parts = self.parts()
        return max(parts, key=lambda name: parts[name])


def step_of(workload: Workload, device: Device, ranks: int, asked: AskedSharding) -> Step:
    """Count what a step costs.

    Args:
        workload: What is trained.
        device: A rank's part of a machine.
        ranks: How many there are.
        asked: How tables are split.
    """
    rows = workload.batch_size / ranks
    feed_bytes = rows * workload.row_bytes
    # which item each row of the global batch has, every rank finds out for itself
    feed_s = feed_bytes / device.feed_bytes_per_s + workload.batch_size / device.feed_rows_per_s
    return Step(
        work=tuple(_work(workload, device, ranks, asked)),
        collectives=tuple(_collectives(workload, Links(device, ranks), asked)) if ranks > 1 else (),
        feed_bytes=feed_bytes,
        feed_s=feed_s,
        fixed_s=device.step_s,
        rows=workload.batch_size,
    )


def _work(workload: Workload, device: Device, ranks: int, asked: AskedSharding) -> Iterator[Work]:
    rows, candidates = workload.batch_size / ranks, workload.competing
    order, random = device.memory_bytes_per_s, device.memory_bytes_per_s * device.random_access
    single = device.float32_per_s * device.product_share
    peak = device.bfloat16_per_s if workload.products_in == "bfloat16" else device.float32_per_s
    looked = updated = passes = 0.0
    for table, sharded in tables_of(workload, ranks, asked):
        ids = ids_of_rank(table, workload, ranks)
        # read, written to the batch; the same of gradients
        looked += ids * 4 * FLOAT * table.width
        if table.by_rows:
            touched = distinct(ids * ranks, table.rows)
            touched = touched / ranks if sharded else touched
            moved = table.width * (3 + 2 * table.state_per_number) + 2 * table.state_per_row
            updated += touched * FLOAT * moved
        else:
            # a gradient that is filled and read, weights and states that are read and written
            passes += 4 * FLOAT * table.rows * table.width + 2 * table.state_bytes
    yield Work("lookups", 0.0, looked, looked / random)
    # forward, and twice that for the gradients of inputs and of weights
    products = 3 * (rows * workload.query.products + candidates / ranks * workload.candidate.products)
    numbers = FLOAT * (rows * workload.query.kept + candidates / ranks * workload.candidate.kept)
    yield Work("towers", products, numbers, max(products / single, numbers / order))
    # logits, and a gradient of either side: three products of queries, candidates and width
    products = 6 * rows * candidates * workload.vector_width
    numbers = 4 * FLOAT * candidates * workload.vector_width * math.ceil(rows / workload.tile_rows)
    yield Work("loss", products, numbers, max(products / (peak * device.product_share), numbers / order))
    yield Work("row updates", 0.0, updated, updated / random)
    if passes:
        yield Work("dense updates", 0.0, passes, passes / order)


def _collectives(workload: Workload, links: Links, asked: AskedSharding) -> Iterator[Collective]:
    ranks = links.ranks
    leaving = (ranks - 1) / ranks
    tables = tables_of(workload, ranks, asked)
    split = [table for table, sharded in tables if sharded]
    whole = [table for table, sharded in tables if not sharded]
    if split:
        ids = sum(ids_of_rank(table, workload, ranks) for table in split)
        vectors = sum(ids_of_rank(table, workload, ranks) * FLOAT * table.width for table in split)
        # how many come, then the ids
        seconds = links.all_to_all_s(0) + links.all_to_all_s(ids * ID)
        yield Collective("all_to_all", "ids", ids * ID * leaving, seconds)
        yield Collective("all_to_all", "vectors", vectors * leaving, links.all_to_all_s(vectors))
        yield Collective("all_to_all", "gradients", vectors * leaving, links.all_to_all_s(vectors))
    touched = sum(_touched_bytes(table, workload, ranks) for table in whole if table.by_rows)
    if touched:
        yield Collective("all_gather", "rows touched", touched * (ranks - 1), links.all_gather_s(touched * ranks))
    vectors = workload.competing * FLOAT * workload.vector_width
    yield Collective("all_gather", "candidates", vectors * leaving, links.all_gather_s(vectors))
    yield Collective("all_reduce", "candidates' gradients", 2 * vectors * leaving, links.all_reduce_s(vectors))
    dense = FLOAT * (workload.query.weights + workload.candidate.weights)
    dense += sum(table.weight_bytes for table in whole if not table.by_rows)
    yield Collective("all_reduce", "towers and dense tables", 2 * dense * leaving, links.all_reduce_s(dense))


def _touched_bytes(table: Table, workload: Workload, ranks: int) -> float:
    return distinct(ids_of_rank(table, workload, ranks), table.rows) * (FLOAT * table.width + ID)


def slowest_of(ranks: int, mean_s: float, deviation_s: float) -> float:
    """Seconds of the slowest of many ranks whose steps vary, which is what all wait for.

    The expected maximum of ``W`` independent normal numbers is at most, and for many about, ``mean + deviation sqrt(2 ln W)``;
    one rank waits for nobody.

    Example:
        >>> round(slowest_of(64, 0.010, 0.001), 4), slowest_of(1, 0.010, 0.001)
        (0.0129, 0.01)
    """
    return mean_s + deviation_s * math.sqrt(2 * math.log(ranks))
