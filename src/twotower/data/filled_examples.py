"""Examples whose lists and histories are filled up when rows are taken, so that no shape depends on how long they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from twotower.data.examples import Examples, HistoryInput
from twotower.data.histories import Histories
from twotower.filled import Filled, Fills, fill_slices
from twotower.types import Coded, Ragged, StoredColumn, column_length, take_column

__all__ = ["filled_column", "filled_examples", "longest_rows"]


@dataclass(frozen=True)
class _FilledHistories(Histories):
    """Histories of which none has more than ``longest`` entries."""

    longest: int = 0

    def slices(self, user_rows: Tensor, ends: Tensor, *, max_length: int | None = None) -> Filled:
        starts = self.offsets[user_rows]
        most = self.longest
        if max_length is not None:
            starts, most = torch.maximum(starts, ends - max_length), min(most, max_length)
        return fill_slices(self.item_rows, starts, ends - starts, most=len(user_rows) * most)


def filled_examples(examples: Examples) -> Examples:
    """The same examples, of which `Examples.take` and what is made of it has as many values as there may be at most.

    Of histories that are read in order nothing is filled.

    Args:
        examples: On any device, which is waited for, once for each ragged column.
    """
    histories = examples.histories
    return replace(
        examples,
        users={name: filled_column(column) for name, column in examples.users.items()},
        context={name: filled_column(column) for name, column in examples.context.items()},
        histories=_FilledHistories(
            histories.offsets, histories.item_rows, histories.first, histories.times, histories.columns, _longest(histories)
        ),
    )


def filled_column(column: StoredColumn) -> StoredColumn:
    """A column whose rows are filled up when they are taken, where they are lists."""
    if isinstance(column, Coded):
        return Coded(column.codes, Fills.of(column.values)) if isinstance(column.values, Ragged) else column
    return Fills.of(column) if isinstance(column, Ragged) else column


def longest_rows(examples: Examples) -> Iterator[tuple[str, int]]:
    """Every column of lists, or of histories that are not read in order, and how long a row of it may be."""
    for name, column in {**examples.users, **examples.context}.items():
        held = column.values if isinstance(column, Coded) else column
        if isinstance(held, Ragged):
            yield name, int(held.lengths.max()) if held.num_rows else 0
        elif isinstance(take_column(column, torch.empty(0, dtype=torch.int64)), Ragged):
            yield name, _longest_computed(column)
    longest = _longest(examples.histories)
    for entry in examples.history_inputs:
        if not entry.in_order:
            yield entry.name, _most(entry, longest)


def _most(entry: HistoryInput, longest: int) -> int:
    return longest if entry.max_length is None else min(longest, entry.max_length)


def _longest(histories: Histories) -> int:
    return int((histories.offsets[1:] - histories.offsets[:-1]).max()) if histories.num_users else 0


def _longest_computed(column: StoredColumn) -> int:
    """Of a column that is computed when rows are taken, by taking them."""
    longest, size = 0, 2**16
    rows = column_length(column)
    for start in range(0, rows, size):
        taken = take_column(column, torch.arange(start, min(start + size, rows)))
        assert isinstance(taken, Ragged)
        longest = max(longest, int(taken.lengths.max()))
    return longest
