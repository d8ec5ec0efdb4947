"""A trained model as a ranker."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from twotower.data.examples import Examples
from twotower.evaluation.product_counter import ProductCounter
from twotower.models import TwoTower
from twotower.types import Features, column_length, column_to, take_column

__all__ = ["ModelScorer", "encode_catalogue"]

_VECTORS_AT_ONCE = 16_384

_LARGEST_PRODUCT = 1e37


def encode_catalogue(model: TwoTower, items: Features, *, device: torch.device, batch_size: int = _VECTORS_AT_ONCE) -> Tensor:
    """The vectors of the whole catalogue, float32 ``[N, D]``, on the device.

    Args:
        model: In evaluation mode, on the device.
        items: Features of the whole catalogue, one row per item.
        device: Where the model is.
        batch_size: Items encoded at a time.

    Raises:
        ValueError: If the model is in training mode: its dropout would make every call give other vectors.
    """
    if model.training:
        raise ValueError("the model must be in evaluation mode; call model.eval() first")
    size = column_length(next(iter(items.values())))
    parts = []
    with torch.inference_mode():
        for start in range(0, size, batch_size):
            rows = torch.arange(start, min(start + batch_size, size))
            parts.append(model.encode_candidates({n: column_to(take_column(c, rows), device) for n, c in items.items()}))
    return torch.cat(parts) if parts else torch.empty(0, model.embedding_dim, device=device)


class ModelScorer:
    """Scores by dot product; candidates are encoded once, queries as they come.

    Products are summed in float64 and rounded to float32, as `twotower.index.ExactIndex` does: summed in float32, equal
    vectors at two places of the catalogue can score differently in the last bit, and a model that makes all items alike
    would be judged by the arithmetic in place of its ties.

    Args:
        model: In evaluation mode, on the device.
        items: Features of the whole catalogue.
        examples: Those whose rows will be asked for.
        device: Where the model is.

    Raises:
        ValueError: If the model is in training mode.
    """

    def __init__(self, model: TwoTower, items: Features, examples: Examples, *, device: torch.device) -> None:
        self.model = model
        self.examples = examples
        self.device = device
        # Apple's MPS has no float64
        self.scoring_device = torch.device("cpu") if device.type == "mps" else device
        self.vectors_ND = encode_catalogue(model, items, device=device).to(self.scoring_device)

    @property
    def num_items(self) -> int:
        return int(self.vectors_ND.shape[0])

    @cached_property
    def _longest(self) -> float:
        """Length of the longest vector of the catalogue; not finite where one of its numbers is not."""
        return float(self.vectors_ND.double().norm(dim=1).max()) if self.num_items else 0.0

    def counter(self, rows: Tensor) -> ProductCounter | None:
        """See `twotower.evaluation.CountingScorer`; None where numbers are not finite or float32 is not whole."""
        queries_BD = self._queries(rows)
        whole = torch.get_float32_matmul_precision() == "highest" and queries_BD.dtype == self.vectors_ND.dtype == torch.float32
        # a product of lengths beyond this could leave the range of float32
        finite = self._longest * float(queries_BD.double().norm(dim=1).max()) < _LARGEST_PRODUCT
        return ProductCounter(queries_BD, self.vectors_ND, self._longest) if whole and finite else None

    def _queries(self, rows: Tensor) -> Tensor:
        with torch.inference_mode():
            columns = self.examples.queries(rows, training=False)
            columns = {name: column_to(column, self.device) for name, column in columns.items()}
            queries_BD = self.model.encode_queries_with_items(columns, self.vectors_ND.to(self.device))
            return queries_BD.to(self.scoring_device)

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        """See `twotower.evaluation.Scorer`; scores are float32."""
        with torch.inference_mode():
            queries_BD = self._queries(rows).double()
            for start in range(0, self.num_items, tile_size):
                stop = min(start + tile_size, self.num_items)
                scores_BT = torch.empty(len(rows), stop - start, device=self.scoring_device)
                for first in range(start, stop, _VECTORS_AT_ONCE):  # so that few vectors are in float64 at a time
                    last = min(first + _VECTORS_AT_ONCE, stop)
                    scores_BT[:, first - start : last - start] = queries_BD @ self.vectors_ND[first:last].double().T
                yield start, scores_BT
