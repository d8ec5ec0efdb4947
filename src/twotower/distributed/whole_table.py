"""A table that is spread over ranks, block by block on its way to rank 0: all of it is nowhere at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch import distributed as dist

from twotower.distributed.ranks import Ranks, speaking
from twotower.distributed.sharded_tables import ShardedTables
from twotower.distributed.table_plan import rows_by_rank
from twotower.errors import TwotowerError

__all__ = ["TablePart", "WholeTable", "stream_tables"]

TablePart: TypeAlias = Literal["weights", "accumulators"]


@dataclass(frozen=True)
class WholeTable:
    """The weights of a table, or its accumulators, as rows in order; a `twotower.bundle.TensorStream`. See `stream_tables`.

    Attributes:
        tables: The table is one of these.
        name: Which.
        part: Its weights, or its accumulators.
        block_bytes: What rank 0 holds of other ranks' rows at a time (one row at least).
    """

    tables: ShardedTables
    name: str
    part: TablePart = "weights"
    block_bytes: int = 2**26

    @property
    def shape(self) -> tuple[int, ...]:
        """``(V, embedding_dim)``, or ``(V,)`` of accumulators."""
        spec = self.tables.specs[self.name]
        return (spec.vocabulary_size, spec.embedding_dim)[: 2 if self.part == "weights" else 1]

    @property
    def dtype(self) -> torch.dtype:
        """float32."""
        return torch.float32

    def blocks(self) -> Iterator[Tensor]:
        """Rows in order, on the CPU, each block good until the next one is asked for. On rank 0 alone, to the end."""
        ranks, own = self.tables.ranks, self._own()
        for owner, rows in self._pieces():
            ranks.tell(True)
            if owner == ranks.rank:
                yield _cut(own, rows).cpu()
            else:
                received = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype, device=self.tables.device)
                with speaking(ranks):
                    dist.recv(received, group=ranks.group, group_src=owner)
                yield received.cpu()

    def send(self) -> None:
        """What another rank does while rank 0 reads `blocks`."""
        ranks, own = self.tables.ranks, self._own()
        for owner, rows in self._pieces():
            _go_on(ranks)
            if owner == ranks.rank:
                with speaking(ranks):
                    dist.send(_cut(own, rows).contiguous(), group=ranks.group, group_dst=0)

    def _own(self) -> tuple[range, Tensor]:
        """The rows that this rank has."""
        found = [(shard.rows, getattr(shard, self.part)) for shard in self.tables.shards() if shard.table == self.name]
        return found[0] if found else (range(0), torch.empty(0))

    def _pieces(self) -> Iterator[tuple[int, range]]:
        """What is sent at a time: who has it, and which rows."""
        count = max(1, self.block_bytes // (self.dtype.itemsize * (self.shape[1] if len(self.shape) > 1 else 1)))
        by_rank = rows_by_rank(self.shape[0], self.tables.plan[self.name], self.tables.ranks.size)
        for owner, rows in enumerate(by_rank):
            for start in range(rows.start, rows.stop, count):
                yield owner, range(start, min(start + count, rows.stop))


def stream_tables(tables: Sequence[WholeTable], write: Callable[[], None], ranks: Ranks) -> None:
    """Let rank 0 write tables that all ranks have. All call it; it returns when rank 0 is done.

    Args:
        tables: Those that are written, the same on every rank.
        write: Called on rank 0 alone; reads the ``blocks`` of each of the tables once, to the end, in their order.
        ranks: All of them.

    Raises:
        TwotowerError: On the other ranks, if ``write`` raises on rank 0, where its own error is raised.
    """
    if not ranks.first:
        for table in tables:
            table.send()
        _go_on(ranks)
        return
    try:
        write()
    except BaseException:
        ranks.tell(False)  # the others wait for the next block, or for the end
        raise
    ranks.tell(True)


def _go_on(ranks: Ranks) -> None:
    wanted: bool | None = ranks.tell(None)
    if not wanted:
        raise TwotowerError("rank 0 could not write the tables that were sent to it; its own error says why")


def _cut(own: tuple[range, Tensor], rows: range) -> Tensor:
    start = rows.start - own[0].start
    return own[1][start : start + len(rows)]
