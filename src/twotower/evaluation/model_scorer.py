"""A trained model as a ranker."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.data.examples import Examples
from twotower.models import TwoTower
from twotower.types import Features, column_length, column_to, take_column

__all__ = ["ModelScorer", "encode_catalogue"]


def encode_catalogue(model: TwoTower, items: Features, *, device: torch.device, batch_size: int = 16_384) -> Tensor:
    """The vectors of the whole catalogue, float32 ``[N, D]``, on the device."""
    size = column_length(next(iter(items.values())))
    parts = []
    with torch.inference_mode():
        for start in range(0, size, batch_size):
            rows = torch.arange(start, min(start + batch_size, size))
            parts.append(model.encode_candidates({n: column_to(take_column(c, rows), device) for n, c in items.items()}))
    return torch.cat(parts) if parts else torch.empty(0, model.embedding_dim, device=device)


class ModelScorer:
    """Scores by dot product; candidates are encoded once, queries as they come.

    Args:
        model: In evaluation mode, on the device.
        items: Features of the whole catalogue.
        examples: Those whose rows will be asked for.
        device: Where the model is.
    """

    def __init__(self, model: TwoTower, items: Features, examples: Examples, *, device: torch.device) -> None:
        self.model = model
        self.examples = examples
        self.device = device
        self.vectors_ND = encode_catalogue(model, items, device=device)

    @property
    def num_items(self) -> int:
        return int(self.vectors_ND.shape[0])

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        with torch.inference_mode():
            columns = self.examples.queries(rows, training=False)
            queries_BD = self.model.encode_queries({name: column_to(c, self.device) for name, c in columns.items()})
            for start in range(0, self.num_items, tile_size):
                yield start, queries_BD @ self.vectors_ND[start : start + tile_size].T
