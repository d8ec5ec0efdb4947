"""A trained model as a ranker."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property

import torch
from torch import Tensor

from twotower.data.examples import Examples
from twotower.distributed import ALONE, Ranks, share_of
from twotower.evaluation.product_counter import ProductCounter
from twotower.index.product_precision import product_precision
from twotower.index.quickest import can_multiply
from twotower.models import TwoTower
from twotower.types import Features, column_length, column_to, take_column

__all__ = ["ModelScorer", "can_count", "encode_catalogue", "product_tiles"]

_VECTORS_AT_ONCE = 16_384

_LARGEST_PRODUCT = 1e37


def encode_catalogue(
    model: TwoTower,
    items: Features,
    *,
    device: torch.device,
    batch_size: int = _VECTORS_AT_ONCE,
    ranks: Ranks = ALONE,
) -> Tensor:
    """The vectors of the whole catalogue, float32 ``[N, D]``, on the device; of many ranks, each gets those of its share.

    What one process encodes at a time is encoded at a time by a rank too, and what of it is another's share is left out then:
    a product of matrices gives a row other last bits when other rows, or more of them, are beside it. So every vector is that
    of one process to the bit, and a rank encodes its share and no more than two times ``batch_size`` items in addition. All
    ranks encode equally often, since tables that are shared out are looked up together.

    Args:
        model: In evaluation mode, on the device.
        items: Features of the whole catalogue, one row per item.
        device: Where the model is.
        batch_size: Items encoded at a time.
        ranks: Who encodes; every rank calls. Vectors that a rank gets are those of `Ranks.share`.

    Raises:
        ValueError: If the model is in training mode: its dropout would make every call give other vectors.
    """
    if model.training:
        raise ValueError("the model must be in evaluation mode; call model.eval() first")
    size = column_length(next(iter(items.values())))
    shares = [_blocks(share_of(size, rank, ranks.size), batch_size) for rank in range(ranks.size)]
    mine, parts = ranks.share(size), []
    with torch.inference_mode():
        for number in range(max(map(len, shares))):
            blocks = shares[ranks.rank]
            first = blocks[number] if number < len(blocks) else None
            # who has nothing left encodes one item that nobody asks for
            rows = torch.arange(1) if first is None else torch.arange(first, min(first + batch_size, size))
            block_BD = model.encode_candidates({n: column_to(take_column(c, rows), device) for n, c in items.items()})
            if first is not None:
                parts.append(block_BD[max(0, mine.start - first) : mine.stop - first])
    return torch.cat(parts) if parts else torch.empty(0, model.embedding_dim, device=device)


def _blocks(share: range, batch_size: int) -> range:
    """Where the blocks begin that a share lies in."""
    return range(share.start // batch_size * batch_size, share.stop, batch_size) if share else range(0)


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
        if not can_count(queries_BD, self.vectors_ND, self._longest):
            return None
        return ProductCounter(queries_BD, self.vectors_ND, self._longest)

    def _queries(self, rows: Tensor) -> Tensor:
        with torch.inference_mode():
            columns = self.examples.queries(rows, training=False)
            columns = {name: column_to(column, self.device) for name, column in columns.items()}
            queries_BD = self.model.encode_queries_with_items(columns, self.vectors_ND.to(self.device))
            return queries_BD.to(self.scoring_device)

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        """See `twotower.evaluation.Scorer`; scores are float32."""
        yield from product_tiles(self._queries(rows), self.vectors_ND, tile_size)


def can_count(queries_BD: Tensor, items_ND: Tensor, longest: float) -> bool:
    """Whether `ProductCounter` takes these vectors, of which the longest item has this length; NaN where one is not finite."""
    whole = _whole(queries_BD.shape[1], queries_BD.device) and queries_BD.dtype == items_ND.dtype == torch.float32
    # a product of lengths beyond this could leave the range of float32
    return whole and longest * float(queries_BD.double().norm(dim=1).max()) < _LARGEST_PRODUCT


def _whole(dim: int, device: torch.device) -> bool:
    """Whether products of float32 keep all of it there."""
    return product_precision(device) == "highest" and (device.type == "cpu" or _as_tried(dim, device))


@cache
def _as_tried(dim: int, device: torch.device) -> bool:
    return can_multiply("float32", dim, device)


def product_tiles(queries_BD: Tensor, items_ND: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
    """Dot products, ``tile_size`` items at a time: the first of them, and float32 ``[B, T]``."""
    with torch.inference_mode():
        queries_BD = queries_BD.double()
        for start in range(0, len(items_ND), tile_size):
            stop = min(start + tile_size, len(items_ND))
            scores_BT = torch.empty(len(queries_BD), stop - start, device=items_ND.device)
            for first in range(start, stop, _VECTORS_AT_ONCE):  # so that few vectors are in float64 at a time
                last = min(first + _VECTORS_AT_ONCE, stop)
                scores_BT[:, first - start : last - start] = queries_BD @ items_ND[first:last].double().T
            yield start, scores_BT
