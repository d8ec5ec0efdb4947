"""Embedding tables whose rows are spread over ranks."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from twotower.distributed.initial_rows import drawn_rows
from twotower.distributed.ranks import Ranks, speaking
from twotower.distributed.table_exchange import TableAdagrad, TableExchange, TableShard
from twotower.distributed.table_plan import Placement, plan_tables
from twotower.distributed.torchrec_library import torchrec_library
from twotower.errors import ConfigError
from twotower.spec import TableSpec

__all__ = ["ShardedTables"]


class ShardedTables:
    """Tables of which each rank holds some rows, sharded by TorchRec.

    Ids go to the ranks that hold their rows, rows come back, and in the backward pass gradients go to where the rows are, are
    summed over all ranks, and update them there by row-wise Adagrad: a gradient of a table is nowhere, and its update costs
    what the rows cost that were looked up. Sums, never means: the loss of a step is the sum of what the ranks have.

    Every method says whether all ranks have to call it. Rows and accumulators are undefined until `draw` or `put`.

    Args:
        tables: Their specs; names are distinct, ``update`` is ``rows``, and each is a multiple of 4 wide, as FBGEMM wants them.
        ranks: Which share them, with a process group.
        adagrad: How rows are updated.
        plan: Where tables are, by name; those that it does not name are placed by TorchRec's planner; see `plan_tables`.
        device: Where this rank's rows are.

    Attributes:
        specs: By name of the table.
        plan: Where each is.
        ranks: Which share them.
        device: Where this rank's rows are.
        learning_rate: Of the next update.

    Raises:
        ConfigError: If a table can't be sharded, or the plan does not fit; all faults at once.
        ValueError: If there is no process group.
        MissingExtraError: If TorchRec is not installed.
    """

    def __init__(
        self,
        tables: Iterable[TableSpec],
        ranks: Ranks,
        *,
        adagrad: TableAdagrad,
        plan: Mapping[str, Placement] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if ranks.group is None:
            raise ValueError("sharded tables need a process group: ranks = Ranks.of(), after torch.distributed was initialised")
        self.specs = {table.name: table for table in tables}
        _check_tables(self.specs.values())
        self.ranks, self.device = ranks, torch.device(device)
        self.learning_rate, self._adagrad = adagrad.learning_rate, adagrad
        self.plan = plan_tables(self.specs.values(), ranks, forced=plan, device=device)
        widths = dict.fromkeys(table.embedding_dim for table in self.specs.values())
        groups = [{name: spec for name, spec in self.specs.items() if spec.embedding_dim == width} for width in widths]
        self._exchanges = [TableExchange(group, self.plan, ranks, adagrad, self.device) for group in groups]
        self._waiting: weakref.WeakValueDictionary[str, _Waiting] = weakref.WeakValueDictionary()
        for shard in self.shards():
            shard.accumulators.fill_(adagrad.initial_accumulator)

    def draw(self, name: str, generator: torch.Generator) -> None:
        """Draw a table's first rows: the numbers that `twotower.nn.EmbeddingCollection` draws, and as many.

        Every rank draws all of them, a block at a time, and keeps its own: so rows do not depend on how many ranks there are,
        and what is drawn next is what it would be after a table of one process. Its accumulators start anew.

        Args:
            name: Of the table.
            generator: On the CPU, in the same state on every rank.
        """
        shards = self._shards_of(name)
        for first, block in drawn_rows(self.specs[name], generator):
            _put(shards, first, block, "weights")
        for shard in shards:
            shard.accumulators.fill_(self._adagrad.initial_accumulator)

    def shards(self) -> Iterator[TableShard]:
        """This rank's parts of all tables, to read and to write; a table of which it has no rows is left out."""
        for exchange in self._exchanges:
            yield from exchange.shards()

    def put(self, name: str, first: int, weights: Tensor, accumulators: Tensor | None = None) -> None:
        """Write some rows of a table, those of them that this rank has; a rank may call it alone.

        Args:
            name: Of the table.
            first: Row of the first.
            weights: ``[n, embedding_dim]``.
            accumulators: ``[n]``; None: they stay.

        Raises:
            ValueError: If the rows are not within the table, or of another width.
        """
        spec = self.specs[name]
        shapes = [list(weights.shape)] + ([] if accumulators is None else [list(accumulators.shape)])
        count = len(weights)
        if shapes != [[count, spec.embedding_dim], [count]][: len(shapes)] or not 0 <= first <= spec.vocabulary_size - count:
            raise ValueError(
                f"table {name!r} is [{spec.vocabulary_size}, {spec.embedding_dim}], with an accumulator for each row; came "
                f"{' and '.join(map(str, shapes))} from row {first} on"
            )
        shards = self._shards_of(name)
        _put(shards, first, weights, "weights")
        if accumulators is not None:
            _put(shards, first, accumulators, "accumulators")

    def set_learning_rate(self, rate: float) -> None:
        """Of the updates from here on; each rank sets its own, and all have to set the same.

        Raises:
            ValueError: If it is negative or not finite.
        """
        if not 0 <= rate < math.inf:
            raise ValueError(f"the learning rate must be finite and not negative; came {rate}")
        for exchange in self._exchanges:
            exchange.set_learning_rate(rate)
        self.learning_rate = rate

    def rows(self, ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rows of some tables, wherever they are. All ranks call it, for the same tables; any of them with no ids at all.

        Where gradients are on, the backward pass updates the tables, and all ranks have to do it. Until it is done, or what
        came is no longer there, the same table can't be asked again: its update would be two, of parts of the gradient.

        Args:
            ids: By name of the table: distinct rows, ascending, int64 ``[n]``.

        Returns:
            By name of the table, float32 ``[n, embedding_dim]``.

        Raises:
            IndexError: If a row is not in its table.
            RuntimeError: If a table still waits for the gradient of rows that it gave before.
        """
        for name, rows in ids.items():
            if len(rows) and not (rows[0] >= 0 and rows[-1] < self.specs[name].vocabulary_size):
                size = self.specs[name].vocabulary_size
                raise IndexError(f"rows of table {name!r} must be in [0, {size}); came {int(rows[0])} to {int(rows[-1])}")
        if torch.is_inference_mode_enabled():  # FBGEMM's kernels for the CPU are below autograd, and not there without it
            with torch.inference_mode(False), torch.no_grad():
                return self.rows(ids)
        learning = torch.is_grad_enabled()
        if learning and (waiting := [name for name in ids if name in self._waiting]):
            raise RuntimeError(
                f"table {waiting[0]!r} still waits for the gradient of the rows that it gave before: look up all that one step "
                "needs at once (with model.fetched(queries, candidates):), and under torch.no_grad() what is not trained"
            )
        found: dict[str, Tensor] = {}
        for exchange in self._exchanges:
            if any(name in ids for name in exchange.keys):
                with speaking(self.ranks, among_others=True):
                    rows_of = exchange.rows(ids)
                found |= {name: rows_of[name] for name in exchange.keys if name in ids}
        if not learning or not found:
            return found
        waiting_for = _Waiting(self._waiting, list(found))
        return dict(zip(found, _Together.apply(waiting_for, *found.values()), strict=True))  # type: ignore[no-untyped-call]

    def _shards_of(self, name: str) -> list[TableShard]:
        return [shard for shard in self.shards() if shard.table == name]


class _Waiting:
    """That rows of some tables are out; held by their graph, and gone with it."""

    def __init__(self, waiting: weakref.WeakValueDictionary[str, _Waiting], names: list[str]) -> None:
        self.waiting, self.names = waiting, names
        waiting.update(dict.fromkeys(names, self))

    def over(self) -> None:
        for name in self.names:
            self.waiting.pop(name, None)


class _Together(torch.autograd.Function):
    """Rows as they are. Their gradients go back together, so that all ranks exchange them, in one order, or none does."""

    @staticmethod
    def forward(ctx: Any, waiting: _Waiting, *rows: Tensor) -> tuple[Tensor, ...]:
        ctx.waiting = waiting
        return tuple(each.view_as(each) for each in rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        if torchrec_library().get_gradient_division():
            raise RuntimeError(
                "TorchRec was told to divide gradients by the number of ranks (torchrec.distributed.comm_ops."
                "set_gradient_division), and losses of ranks are summed here: leave it False"
            )
        ctx.waiting.over()
        return None, *grads


def _put(shards: Iterable[TableShard], first: int, values: Tensor, part: str) -> None:
    """Copy rows into the shards that hold them."""
    with torch.no_grad():
        for shard in shards:
            start, end = max(first, shard.rows.start), min(first + len(values), shard.rows.stop)
            if start < end:
                getattr(shard, part)[start - shard.rows.start : end - shard.rows.start].copy_(
                    values[start - first : end - first]
                )


def _check_tables(tables: Iterable[TableSpec]) -> None:
    faults = [
        f"table {table.name!r} is updated by dense gradients: only tables with update = 'rows' are sharded"
        for table in tables
        if table.update != "rows"
    ]
    faults += [
        f"table {table.name!r} is {table.embedding_dim} wide: sharded tables must be a multiple of 4 wide"
        for table in tables
        if table.embedding_dim % 4
    ]
    if faults:
        raise ConfigError(faults, source="sharded tables")
