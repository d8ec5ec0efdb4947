"""What a rank holds: all the time, and for a moment, in a step, for a checkpoint, while judging, when the bundle is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from twotower.planning.device import Device
from twotower.planning.sharding import AskedSharding, ids_of_rank, tables_of
from twotower.planning.workload import FLOAT, ID, Table, Workload, distinct

__all__ = ["Held", "Memory", "memory_of"]

COPIES_IN_ONE = 2
"""A file is put together in memory twice, as pieces and as one; shards are copied once, and written while training goes on."""

VECTORS_OF_BUNDLE = 3
"""Copies of the vectors of all items while one process writes a bundle: of the judge, encoded anew, and the bundle's own."""

ID_OF_BUNDLE = 160
"""Bytes of a user or item while a bundle is made: its row looked up, taken and written, and a dict of where each id is."""

PIECE_OF_BUNDLE = 64 * 2**20
"""Bytes of split tables that are on their way to the file at a time."""

WAYS_OF_GATHERED = 4
"""Numbers that a rank has for each number of the gathered candidates: padded, joined, their gradient, and its sum."""


@dataclass(frozen=True)
class Held:
    """Something that a rank has in memory.

    Attributes:
        what: In a few words.
        bytes: Of the rank that has the most.
        how: How it comes to that, in words.
        moment: When; empty: all the time.
        on_host: Whether it lies in the machine's memory also where there is an accelerator.
    """

    what: str
    bytes: float
    how: str
    moment: str = ""
    on_host: bool = False


@dataclass(frozen=True)
class Memory:
    """All that a rank holds.

    Attributes:
        parts: Each with when.
        of_host: Whether there is no other memory than the machine's.
    """

    parts: tuple[Held, ...]
    of_host: bool

    def always(self, *, host: bool) -> float:
        """Bytes that are held all the time, in the machine's memory or on the device; on a CPU both are one."""
        return sum(part.bytes for part in self._of(host) if not part.moment)

    def moments(self, *, host: bool) -> Mapping[str, float]:
        """Bytes that come on top, by moment; no two moments are at once."""
        found: dict[str, float] = {}
        for part in self._of(host):
            if part.moment:
                found[part.moment] = found.get(part.moment, 0.0) + part.bytes
        return found

    def peak(self, *, host: bool, writes: bool = True) -> float:
        """Bytes at the moment that takes the most.

        Args:
            host: Of the machine's memory, or the device's.
            writes: Of the first rank, which writes the bundle, or of one that does not.
        """
        moments = {name: size for name, size in self.moments(host=host).items() if writes or name != "bundle"}
        # on a CPU what a step took stays with the process: small pieces, which the allocator does not give back
        kept = moments.get("step", 0.0) if self.of_host else 0.0
        others = max((size for name, size in moments.items() if name != "step"), default=0.0)
        return self.always(host=host) + (kept + others if self.of_host else max(moments.values(), default=0.0))

    def peak_moment(self, *, host: bool) -> str:
        """Which that is."""
        moments = self.moments(host=host)
        if self.of_host and len(moments) > 1:
            moments = {name: size for name, size in moments.items() if name != "step"}
        return max(moments, key=lambda name: moments[name]) if moments else ""

    def _of(self, host: bool) -> Iterator[Held]:
        return (part for part in self.parts if self.of_host or part.on_host == host)


def memory_of(workload: Workload, device: Device, ranks: int, asked: AskedSharding) -> Memory:
    """Count what a rank holds.

    Args:
        workload: What is trained.
        device: A rank's part of a machine.
        ranks: How many there are.
        asked: How tables are split.
    """
    parts = [*_always(workload, device, ranks, asked), *_step(workload, ranks, asked), *_between(workload, ranks, asked)]
    return Memory(tuple(part for part in parts if part.bytes > 0), device.is_host)


def _held_share(table: Table, ranks: int, *, sharded: bool) -> float:
    return -(-table.rows // ranks) / table.rows if sharded else 1.0


def _always(workload: Workload, device: Device, ranks: int, asked: AskedSharding) -> Iterator[Held]:
    yield Held("process", device.process_bytes, "everything imported, nothing held", on_host=True)
    if ranks > 1:
        yield Held("process group", device.group_bytes, "buffers of collectives", on_host=device.is_host)
    if any(sharded for _, sharded in tables_of(workload, ranks, asked)):
        yield Held("library of split tables", device.sharding_bytes, "imported", on_host=True)
    yield Held("runtime of the device", device.context_bytes, "context and kernels")
    for table, sharded in tables_of(workload, ranks, asked):
        split = f"1/{ranks} of " if sharded else ""
        share = _held_share(table, ranks, sharded=sharded)
        rows = f"{split}{table.rows:,} rows x {table.width} x 4"
        yield Held(f"table {table.name}", share * table.weight_bytes, rows)
        of_row = table.width * table.state_per_number + table.state_per_row
        yield Held(f"optimiser of {table.name}", share * table.state_bytes, f"{of_row} x 4 bytes a row")
    weights = workload.query.weights + workload.candidate.weights
    yield Held("towers", FLOAT * weights * (2 + workload.state_per_dense), "weights, gradients, states of the optimiser")
    # every rank reads any row: the order of samples is that of the whole log
    yield Held("examples", workload.rows * workload.memory_row_bytes, "of all trained rows, in memory", on_host=True)
    yield Held("histories", workload.rows * workload.history_bytes, "of all users, one entry a row", on_host=True)
    judged = workload.rows * (workload.history_bytes + 4)
    yield Held("histories of judged rows", judged, "which grow to each of them", on_host=True)
    yield Held("users", workload.users * workload.user_bytes, "names, encoded columns, where histories begin", on_host=True)
    yield Held("items", workload.items * workload.item_bytes, "names, encoded columns, counts", on_host=True)
    if not device.is_host:
        yield Held("columns of items", workload.items * workload.item_bytes, "the same, where candidates are encoded")


def _step(workload: Workload, ranks: int, asked: AskedSharding) -> Iterator[Held]:
    rows, candidates = workload.batch_size / ranks, workload.competing
    yield Held("batch", workload.batch_size * workload.batch_row_bytes, "made ready, of all ranks", "step", on_host=True)
    looked_up = gradients = sent = 0.0
    for table, sharded in tables_of(workload, ranks, asked):
        ids = ids_of_rank(table, workload, ranks)
        looked_up += ids * (2 * FLOAT * table.width + 3 * ID)
        if sharded:  # the update is fused with the way back: no gradient of a shard is ever there
            sent += ids * 2 * FLOAT * table.width
        else:
            gradients += _gradient_bytes(table, workload, ranks)
    yield Held("looked up", looked_up, "vectors and their gradients, ids", "step")
    yield Held("on their way", sent, "vectors of split tables and their gradients, at the owner", "step")
    yield Held("gradients of tables", gradients, "of touched rows, or of whole tables", "step")
    kept = FLOAT * (rows * workload.query.kept + candidates / ranks * workload.candidate.kept)
    yield Held("inside the towers", kept, "inputs and outputs of layers, and their gradients", "step")
    width = FLOAT * candidates * workload.vector_width
    gathered = width * WAYS_OF_GATHERED if ranks > 1 else width
    yield Held("candidates of all ranks", gathered, f"{candidates:,.0f} vectors, their gradients", "step")
    tile = FLOAT * min(rows, workload.tile_rows) * candidates
    yield Held(
        "tiles of the loss", tile + 2 * width, f"{workload.tile_rows} queries' logits; candidates packed, a gradient", "step"
    )


def _gradient_bytes(table: Table, workload: Workload, ranks: int) -> float:
    if not table.by_rows:
        return table.weight_bytes
    touched = distinct(ids_of_rank(table, workload, ranks), table.rows)
    of_all = touched * ranks if ranks > 1 else 0.0
    return (touched + of_all + distinct(ranks * ids_of_rank(table, workload, ranks), table.rows)) * (FLOAT * table.width + ID)


def _between(workload: Workload, ranks: int, asked: AskedSharding) -> Iterator[Held]:
    weights = states = 0.0
    for table, sharded in tables_of(workload, ranks, asked):
        share = _held_share(table, ranks, sharded=sharded)
        weights, states = weights + share * table.weight_bytes, states + share * table.state_bytes
    dense = FLOAT * (workload.query.weights + workload.candidate.weights)
    weights, states = weights + dense, states + dense * workload.state_per_dense
    # where nothing is split, the first rank writes what one process would
    as_one = not any(sharded for _, sharded in tables_of(workload, ranks, asked))
    copies = COPIES_IN_ONE if as_one else 1
    yield Held("copies for a checkpoint", copies * (weights + states), f"weights and states, {copies} x", "checkpoint", True)
    items = -(-workload.items // ranks)
    vectors = FLOAT * items * workload.vector_width
    part = f"1/{ranks} of {workload.items:,}" if ranks > 1 else f"{workload.items:,}"
    yield Held("vectors of items", vectors, part, "evaluation")
    tile = 3 * 8 * workload.evaluated_at_once * min(workload.tile_items, items)
    yield Held("tiles of scores", tile, "float64", "evaluation")
    of_all = VECTORS_OF_BUNDLE * FLOAT * workload.items * workload.vector_width
    yield Held("vectors of the bundle", of_all, f"of all items, {VECTORS_OF_BUNDLE} x", "bundle", True)
    if as_one:
        yield Held("copies for the bundle", copies * weights, f"weights, {copies} x", "bundle", True)
    else:  # split tables are written in pieces
        pieces = min(2 * PIECE_OF_BUNDLE, copies * weights * ranks)
        yield Held("pieces for the bundle", pieces, "of split tables, one that comes and one that is written", "bundle", True)
    yield Held("histories of the bundle", workload.rows * workload.history_bytes, "of known users", "bundle", True)
    ids = (workload.users + workload.items) * ID_OF_BUNDLE
    yield Held("ids of the bundle", ids, "users and items, looked up and written", "bundle", True)
