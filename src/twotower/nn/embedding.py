"""Embedding tables as one part: columns of rows in, vectors out, one call per tower."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from twotower.filled import Filled
from twotower.nn.distant_rows import DistantTables, FetchedRows, Reads, fetch_rows
from twotower.nn.dropout import drop_to_row, drop_values
from twotower.nn.lookup import Lookup
from twotower.nn.pooling import look_up_rows, pool_rows
from twotower.nn.propagation import Propagation
from twotower.spec import InputSpec, TableSpec
from twotower.types import Column, Prefixes, Ragged

__all__ = ["EmbeddingCollection"]


class EmbeddingCollection(nn.Module):
    """Every embedding table of a model, each held once however many inputs share it.

    Rows start uniform in plus and minus the table's ``init_scale``.

    Args:
        tables: Their specs; names are distinct.
        generator: Source of the initial values.
        distant: What holds some of the tables in this one's place, such as `twotower.distributed.ShardedTables`. They are no
            parameters here, and start with the same rows.

    Attributes:
        specs: By name of the table. The parameter of a table is ``table:<name>``.
        distant: As given; None: all tables are here.
        propagation: What two of the tables go through before they are looked up; None: nothing. See `propagate`.

    Raises:
        ValueError: If a distant table is not among the specs, or another there.

    Example:
        >>> from twotower.spec import InputSpec, TableSpec
        >>> item = TableSpec(name="item", vocabulary_size=3, embedding_dim=2)
        >>> collection = EmbeddingCollection([item], generator=torch.Generator())
        >>> vectors = collection({"item_id": torch.tensor([2, 0])}, [InputSpec(column="item_id", width=2, table="item")])
        >>> vectors["item_id"].shape, [name for name, _ in collection.named_parameters()]
        (torch.Size([2, 2]), ['table:item'])
    """

    def __init__(
        self, tables: Iterable[TableSpec], *, generator: torch.Generator, distant: DistantTables | None = None
    ) -> None:
        super().__init__()
        self.specs = {table.name: table for table in tables}
        self._names = {name: _parameter_name(name) for name in self.specs}
        self.distant = distant
        self._fetched: dict[str, FetchedRows] | None = None
        self.propagation: Propagation | None = None
        self._propagated: dict[str, Tensor] | None = None
        elsewhere = {} if distant is None else dict(distant.specs)
        wrong = [name for name, spec in elsewhere.items() if self.specs.get(name) != spec]
        if wrong:
            raise ValueError(f"tables that are elsewhere must be among the specs, and the same; {', '.join(wrong)} are not")
        for table in self.specs.values():
            if distant is not None and table.name in elsewhere:
                distant.draw(table.name, generator)
                continue
            weight_VD = torch.empty(table.vocabulary_size, table.embedding_dim)
            weight_VD.uniform_(-table.init_scale, table.init_scale, generator=generator)
            self.register_parameter(self._names[table.name], nn.Parameter(weight_VD))

    def table(self, name: str) -> nn.Parameter:
        """The weights of a table, ``[vocabulary_size, embedding_dim]``: what is learned, before any propagation.

        Raises:
            ValueError: If the table is distant: nobody has all of it.
        """
        if self._is_distant(name):
            raise ValueError(f"table {name!r} is spread over ranks, and is nowhere as a whole: see embeddings.distant.shards()")
        found = self._parameters[self._names[name]]
        assert found is not None
        return found

    def propagate(self, propagation: Propagation) -> None:
        """From here on, look rows of two tables up as they are after propagation, whatever input reads them.

        Parameters stay what they are. The propagation is no part of the weights: it is given anew to a model that is built
        again, until `settle` makes it superfluous.

        Raises:
            ValueError: If a table is not there or updated by rows (propagation moves them all), or the graph is of others.
        """
        first, second = propagation.tables
        missing = [name for name in propagation.tables if name not in self.specs]
        if missing or first == second:
            raise ValueError(f"propagation is between two of the tables {', '.join(self.specs)}; came {first!r} and {second!r}")
        by_rows = [name for name in propagation.tables if self.specs[name].update == "rows"]
        if by_rows:
            raise ValueError(f"propagation gives every row a gradient: table {by_rows[0]!r} can't be updated by rows")
        with torch.no_grad():
            propagation(self.table(first), self.table(second))  # finds what does not fit
        self.propagation = propagation

    @contextmanager
    def propagated(self) -> Iterator[None]:
        """Propagate once for all lookups within the block, in which weights must not change; without a propagation, nothing.

        Outside of such a block every lookup propagates anew. In evaluation mode there are no gradients through it.
        """
        if self.propagation is None or self._propagated is not None:
            yield
            return
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            self._propagated = self._propagate(self.propagation)
        try:
            yield
        finally:
            self._propagated = None

    @contextmanager
    def fetched(self, *reads: Reads) -> Iterator[None]:
        """Get the rows of distant tables at once for all lookups within the block; without such tables, nothing is done.

        What one training step looks up belongs into one block: then every row's gradients are added up before they update it,
        and ranks exchange ids, rows and gradients once. Within a block another one does nothing. All ranks begin and end the
        same blocks, each of them for the same inputs, also of no rows.

        Args:
            reads: Columns by name, and the inputs that read them; of other inputs nothing is fetched.
        """
        if self.distant is None or self._fetched is not None:
            yield
            return
        self._fetched = fetch_rows(self.distant, reads, training=self.training)
        try:
            yield
        finally:
            self._fetched = None

    def distant_parameter_names(self) -> dict[str, str]:
        """What the parameters of distant tables would be called, were they here: names of tables by names of parameters."""
        return {self._names[name]: name for name in self.specs if self._is_distant(name)}

    def _is_distant(self, name: str | None) -> bool:
        return self.distant is not None and name in self.distant.specs

    def settle(self) -> None:
        """Put the propagated rows into the tables and drop the propagation: the same vectors, and no graph is needed."""
        if self.propagation is None:
            return
        with torch.no_grad():
            for name, table_VD in self._propagate(self.propagation).items():
                self.table(name).copy_(table_VD)
        self.propagation = None

    def _propagate(self, propagation: Propagation) -> dict[str, Tensor]:
        first, second = propagation.tables
        return dict(zip(propagation.tables, propagation(self.table(first), self.table(second)), strict=True))

    def _looked_up(self, name: str) -> Tensor:
        """The rows that inputs see."""
        if self.propagation is None or name not in self.propagation.tables:
            return self.table(name)
        return (self._propagate(self.propagation) if self._propagated is None else self._propagated)[name]

    def forward(self, columns: Mapping[str, Column], inputs: Iterable[InputSpec]) -> dict[str, Tensor]:
        """Look up, drop (in training) and pool each input.

        Args:
            columns: Encoded columns by name: integer rows ``[n]`` or ragged.
            inputs: Those of a tower that have a table, each of another column.

        Returns:
            Vectors ``[n, embedding_dim]`` by column name.

        Raises:
            ValueError: If an input has no table.
        """
        inputs = list(inputs)
        with self.fetched((columns, inputs)):
            return {entry.column: self.pooled(self.lookup(columns[entry.column], entry), entry) for entry in inputs}

    def lookup(self, column: Column, entry: InputSpec, items_ND: Tensor | None = None) -> Lookup:
        """What an input looks up, some of it dropped in training.

        Args:
            column: Integer rows ``[n]`` or ragged.
            entry: The input, which has a table or reads items.
            items_ND: Vectors of the items, for an input that reads them.

        Raises:
            ValueError: If it has neither.
        """
        table_VD, column = self._vectors_of(entry, column, items_ND)
        if self.training and entry.id_dropout:
            column = drop_to_row(column, entry.id_dropout)
        if not isinstance(column, Ragged):
            return Lookup(table_VD, column)
        pooling, scale = entry.pooling or "mean", 1.0
        if self.training and entry.value_dropout:
            column = drop_values(column, entry.value_dropout)
            scale = 1.0 / (1.0 - entry.value_dropout) if pooling == "sum" else 1.0
        return Lookup(table_VD, column.values, column.offsets, pooling, scale, isinstance(column, Filled))

    def read(self, column: Ragged | Prefixes, entry: InputSpec, items_ND: Tensor | None = None) -> Tensor:
        """The vectors of what is read in order, some of it dropped in training: ``[total, embedding_dim]``.

        Args:
            column: Integer rows; of prefixes, the sequences.
            entry: The input, which has a table or reads items.
            items_ND: Vectors of the items, for an input that reads them.

        Raises:
            ValueError: If it has neither.
        """
        sequences = column.sequences if isinstance(column, Prefixes) else column
        table_VD, values = self._vectors_of(entry, sequences.values, items_ND)
        if self.training and entry.id_dropout:
            values = drop_to_row(values, entry.id_dropout)
        assert isinstance(values, Tensor)
        return look_up_rows(table_VD, values, sparse=self.has_sparse_gradient(entry))

    def _vectors_of(self, entry: InputSpec, column: Column, items_ND: Tensor | None) -> tuple[Tensor, Column]:
        """What an input looks rows up in, and which."""
        if entry.items is not None:
            if items_ND is None:
                raise ValueError(
                    f"input {entry.column!r} reads vectors of items: give items_ND, one for each catalogue row, to "
                    "encode_queries_with_items"
                )
            return items_ND, column
        if entry.table is None:
            raise ValueError(f"input {entry.column!r} has no table")
        if not self._is_distant(entry.table):
            return self._looked_up(entry.table), column
        with self.fetched(({entry.column: column}, [entry])):
            assert self._fetched is not None
            if entry.table not in self._fetched:
                raise ValueError(f"table {entry.table!r} was not fetched when the block began: give it all inputs that read it")
            found = self._fetched[entry.table]
        return found.rows_ND, found.places(column)

    def pooled(self, lookup: Lookup, entry: InputSpec) -> Tensor:
        """The vectors of a lookup, ``[n, embedding_dim]``."""
        sparse = self.has_sparse_gradient(entry)
        if lookup.offsets is None:
            return look_up_rows(lookup.table, lookup.values, sparse=sparse)
        rows, pooling = (Filled if lookup.filled else Ragged)(lookup.values, lookup.offsets), lookup.pooling or "mean"
        pooled_BD = pool_rows(lookup.table, rows, pooling, sparse=sparse)
        return pooled_BD if lookup.scale == 1.0 else pooled_BD * lookup.scale

    def has_sparse_gradient(self, entry: InputSpec) -> bool:
        """Whether the gradient of an input's table holds only the touched rows; that of rows that were fetched does not."""
        return entry.table is not None and self.specs[entry.table].update == "rows" and not self._is_distant(entry.table)

    def sparse_parameter_names(self) -> set[str]:
        """Names of the parameters whose gradients hold only the touched rows."""
        return {self._names[name] for name, spec in self.specs.items() if spec.update == "rows" and not self._is_distant(name)}


def _parameter_name(table: str) -> str:
    """A name that is free in every module (``items`` and ``train`` are not), and without the dots that torch forbids."""
    return f"table:{table.replace('%', '%25').replace('.', '%2E')}"
