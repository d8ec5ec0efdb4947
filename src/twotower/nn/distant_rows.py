"""Rows of tables that are elsewhere: which ones some lookups need, all at once, and where each is among those that came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from twotower.spec import InputSpec, TableSpec
from twotower.types import Column, Events, Prefixes, QueryFeatures, Ragged

__all__ = ["DistantTables", "FetchedRows", "Reads", "fetch_rows"]

Reads: TypeAlias = tuple[QueryFeatures, Iterable[InputSpec]]
"""Columns by name, and the inputs that read them."""


class DistantTables(Protocol):
    """Tables that an `EmbeddingCollection` does not hold itself; `twotower.distributed.ShardedTables` are such."""

    @property
    def specs(self) -> Mapping[str, TableSpec]:
        """By name of the table."""
        ...

    def draw(self, name: str, generator: torch.Generator) -> None:
        """Draw a table's first rows, as many numbers as an `EmbeddingCollection` draws."""
        ...

    def rows(self, ids: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rows of some tables, float32 ``[n, embedding_dim]``: of distinct ids, ascending, int64 ``[n]``."""
        ...


@dataclass(frozen=True, slots=True)
class FetchedRows:
    """The rows of a table that were fetched.

    Attributes:
        ids: Which, int64 ``[n]``, distinct, ascending.
        rows_ND: Their vectors.
    """

    ids: Tensor
    rows_ND: Tensor

    def places(self, column: Column) -> Column:
        """The column with the places of its ids among those that were fetched.

        Raises:
            ValueError: If one was not fetched.
        """
        values = column.values if isinstance(column, Ragged) else column
        places = torch.searchsorted(self.ids, values.to(torch.int64))
        if len(values):
            known = len(self.ids) > 0 and bool((self.ids[places.clamp(max=len(self.ids) - 1)] == values).all())
            if not known:
                raise ValueError(
                    "a lookup needs rows that were not fetched when the block began: give it all columns that it looks up"
                )
        return Ragged(places, column.offsets) if isinstance(column, Ragged) else places


def fetch_rows(tables: DistantTables, reads: Iterable[Reads], *, training: bool) -> dict[str, FetchedRows]:
    """All that some lookups need, in one call.

    Args:
        tables: Where the rows are.
        reads: The lookups.
        training: Whether ids may be dropped, each of which is then looked up as row 0.

    Returns:
        By name of the table; of those tables that an input reads, with no rows where its columns have none.
    """
    values: dict[str, list[Tensor]] = {}
    for columns, inputs in reads:
        for entry in inputs:
            if entry.table is not None and entry.table in tables.specs:
                wanted = values.setdefault(entry.table, [])
                of_column = _values(columns[entry.column])
                wanted.append(of_column.to(torch.int64))
                if training and entry.id_dropout:
                    wanted.append(torch.zeros(1, dtype=torch.int64, device=of_column.device))
    ids = {name: torch.unique(torch.cat(wanted)) for name, wanted in values.items()}
    rows = tables.rows(ids)
    return {name: FetchedRows(ids[name], rows[name]) for name in ids}


def _values(column: Column | Events | Prefixes) -> Tensor:
    if isinstance(column, Events):
        column = column.items
    if isinstance(column, Prefixes):
        column = column.sequences
    return column.values if isinstance(column, Ragged) else column
