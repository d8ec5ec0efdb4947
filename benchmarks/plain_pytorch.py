"""What a good engineer writes in an afternoon: ``nn.Embedding``, a ``DataLoader``, eager cross-entropy, Adam.

On an accelerator, what torch's own guides say about speed besides: fused Adam, and rows that are on the device already or come
from pinned memory, whichever is quicker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

__all__ = ["FEEDS", "Feed", "PlainTower", "PlainTraining", "resident_batches"]

Feed: TypeAlias = Literal["resident", "pinned, whole batches", "pinned, row by row"]
FEEDS: tuple[Feed, ...] = ("resident", "pinned, whole batches", "pinned, row by row")
"""Where an accelerator's batches come from: from the device itself, or from a ``DataLoader`` that pins them."""

_CPU = torch.device("cpu")


class PlainTower(nn.Module):
    """Embeddings of a few columns, end to end, then dense layers.

    Args:
        sizes: Rows and width of each column's table.
        layers: Widths of the dense layers; ReLU between them.
        sparse: Whether tables have sparse gradients (for ``SparseAdam``).
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], layers: Sequence[int], *, sparse: bool) -> None:
        super().__init__()
        tables = [nn.Embedding(rows, width, sparse=sparse) for rows, width in sizes]
        for table in tables:
            nn.init.uniform_(table.weight, -0.05, 0.05)  # of Keras; torch's own start trains worse
        self.tables = nn.ModuleList(tables)
        widths = [sum(width for _, width in sizes), *layers]
        dense: list[nn.Module] = []
        for before, after in pairwise(widths):
            dense += [nn.Linear(before, after), nn.ReLU()]
        self.dense = nn.Sequential(*dense[:-1])

    def forward(self, columns: Sequence[Tensor]) -> Tensor:
        """``[B]`` rows of each column to ``[B, layers[-1]]``."""
        found: Tensor = self.dense(torch.cat([table(rows) for table, rows in zip(self.tables, columns, strict=True)], dim=1))
        return found


class PlainTraining:
    """Both towers and what trains them, one step at a time.

    Args:
        query: Columns of the queries, int64 ``[n]`` each.
        candidate: Columns of each row's own item, int64 ``[n]`` each.
        query_sizes: Rows and width of their tables.
        candidate_sizes: As for the queries.
        layers: Of both towers.
        batch_size: Rows of a step.
        sparse: ``SparseAdam`` for tables and Adam for the rest; otherwise Adam for all.
        learning_rate: Of both.
        device: Where to train.
        feed: On an accelerator, where its batches come from.
    """

    def __init__(
        self,
        query: Sequence[Tensor],
        candidate: Sequence[Tensor],
        query_sizes: Sequence[tuple[int, int]],
        candidate_sizes: Sequence[tuple[int, int]],
        *,
        layers: Sequence[int],
        batch_size: int,
        sparse: bool,
        learning_rate: float = 1e-3,
        device: torch.device = _CPU,
        feed: Feed = "resident",
    ) -> None:
        torch.manual_seed(0)
        self.query = PlainTower(query_sizes, layers, sparse=sparse).to(device)
        self.candidate = PlainTower(candidate_sizes, layers, sparse=sparse).to(device)
        self.device = device
        self._epochs = _epochs([*query, *candidate], batch_size, device, feed)
        self._labels = torch.arange(batch_size, device=device)
        self.width = len(query)
        tables = [*self.query.tables.parameters(), *self.candidate.tables.parameters()]
        dense = [*self.query.dense.parameters(), *self.candidate.dense.parameters()]
        fused = True if device.type == "cuda" else None
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(dense if sparse else [*tables, *dense], learning_rate, fused=fused)
        ]
        if sparse:
            self.optimizers.append(torch.optim.SparseAdam(tables, learning_rate))

    def step(self) -> None:
        """One step; after the last batch of an epoch the next epoch begins."""
        batch = [column.to(self.device, non_blocking=True) for column in next(self._epochs)]
        logits = self.query(batch[: self.width]) @ self.candidate(batch[self.width :]).T
        loss = functional.cross_entropy(logits, self._labels)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            optimizer.step()


def _epochs(columns: Sequence[Tensor], batch_size: int, device: torch.device, feed: Feed) -> Iterator[Sequence[Tensor]]:
    """Batches of one epoch after the other."""
    if device.type != "cpu" and feed == "resident":
        yield from resident_batches([column.to(device) for column in columns], batch_size)
    rows = TensorDataset(*columns)
    if device.type == "cpu":
        loader = DataLoader(rows, batch_size=batch_size, shuffle=True, drop_last=True)
    elif feed == "pinned, row by row":
        loader = DataLoader(rows, batch_size=batch_size, shuffle=True, drop_last=True, pin_memory=True)
    else:
        whole = BatchSampler(RandomSampler(rows), batch_size, drop_last=True)
        loader = DataLoader(rows, sampler=whole, batch_size=None, pin_memory=True)
    while True:
        yield from loader


def resident_batches(columns: Sequence[Tensor], batch_size: int) -> Iterator[list[Tensor]]:
    """Whole batches of columns that are where they are needed, shuffled there anew for each epoch, without end."""
    size = len(columns[0])
    while True:
        order = torch.randperm(size, device=columns[0].device)
        for start in range(0, size - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            yield [column[rows] for column in columns]
