"""What is known of each event beside its item, as vectors that are added to the item's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from twotower.nn.pooling import look_up_rows
from twotower.spec import RowsColumn

__all__ = ["EventColumns"]


class EventColumns(nn.Module):
    """The sum of a learned vector for each column, by the row that the event has in it; all start at 0.

    So a value that no event of train has adds nothing.

    Args:
        columns: Which, and how many rows each has.
        width: D.

    Example:
        >>> rating = EventColumns([RowsColumn(name="rating", vocabulary_size=6)], 4)
        >>> rating({"rating": torch.tensor([5, 0])}).tolist()
        [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, columns: Sequence[RowsColumn], width: int) -> None:
        super().__init__()
        self.columns = tuple(columns)
        self.tables = nn.ParameterList(torch.zeros(column.vocabulary_size, width) for column in columns)

    def forward(self, rows: Mapping[str, Tensor]) -> Tensor:
        """The vectors of events, ``[total, D]``.

        Args:
            rows: Of each column, integers ``[total]``.

        Raises:
            ValueError: If a column is missing.
        """
        missing = [column.name for column in self.columns if column.name not in rows]
        if missing:
            raise ValueError(f"the encoder reads columns of events that did not come: {', '.join(map(repr, missing))}")
        found = [look_up_rows(table, rows[column.name]) for column, table in zip(self.columns, self.tables, strict=True)]
        return torch.stack(found).sum(0) if len(found) > 1 else found[0]
