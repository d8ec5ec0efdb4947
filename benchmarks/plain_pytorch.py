"""What a good engineer writes in an afternoon: ``nn.Embedding``, a ``DataLoader``, eager cross-entropy, Adam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["PlainTower", "PlainTraining"]


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
    ) -> None:
        torch.manual_seed(0)
        self.query = PlainTower(query_sizes, layers, sparse=sparse)
        self.candidate = PlainTower(candidate_sizes, layers, sparse=sparse)
        self.loader = DataLoader(TensorDataset(*query, *candidate), batch_size=batch_size, shuffle=True, drop_last=True)
        self.width = len(query)
        tables = [*self.query.tables.parameters(), *self.candidate.tables.parameters()]
        dense = [*self.query.dense.parameters(), *self.candidate.dense.parameters()]
        self.optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(dense if sparse else [*tables, *dense], learning_rate)]
        if sparse:
            self.optimizers.append(torch.optim.SparseAdam(tables, learning_rate))
        self._batches: Iterator[list[Tensor]] = iter(())

    def step(self) -> None:
        """One step; after the last batch of an epoch the next epoch begins."""
        batch = next(self._batches, None)
        if batch is None:
            self._batches = iter(self.loader)
            batch = next(self._batches)
        logits = self.query(batch[: self.width]) @ self.candidate(batch[self.width :]).T
        loss = functional.cross_entropy(logits, torch.arange(len(logits)))
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            optimizer.step()
