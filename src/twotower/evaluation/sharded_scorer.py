"""A trained model as a ranker, the catalogue shared out over ranks: the same ranks as those of one process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from twotower.data.examples import Examples
from twotower.distributed import Ranks, fetch_rows, require_same, spread_
from twotower.evaluation.model_scorer import can_count, encode_catalogue, product_tiles
from twotower.evaluation.product_counter import ProductCounter
from twotower.evaluation.scorer import Scorer
from twotower.evaluation.sharded_counter import ShardedCounter
from twotower.models import TwoTower, rows_read, with_places
from twotower.types import Features, QueryFeatures, column_to

__all__ = ["ShardedScorer"]

_VECTORS_AT_ONCE = 16_384


class ShardedScorer:
    """Scores by dot product as `twotower.evaluation.ModelScorer` does, over items of which every rank has a range.

    What takes a scorer takes this one, on all ranks at once and with the same arguments: `evaluate`, `evaluate_per_user`,
    `rank_positives` and `top_items` then give every rank the answer that one process gives. Ranks and lists are equal to
    the last place, as long as ranks compute with as many threads as that process: what is encoded together there is encoded
    together here, by one rank, and a score is computed by the rank that has the item.

    Queries are encoded in blocks, the ranks taking turns, and each block's vectors go to all; no rank holds more than a
    block of its own and one of another, nor more of the catalogue than its range. Queries that read items (histories whose
    items are what the candidate tower makes of them) fetch those vectors from the ranks that have them, a block at a time.

    Args:
        model: In evaluation mode, on the device; the same on all ranks.
        items: Features of the whole catalogue, of which this rank encodes its share; or the vectors of this rank's range,
            float32 ``[S, D]``: the items of rank 1 follow on those of rank 0, and S may be 0.
        examples: Those whose rows will be asked for.
        device: Where the model is.
        ranks: All of them.

    Raises:
        ValueError: If the model is in training mode, or vectors have another width or dtype on another rank.
    """

    def __init__(
        self, model: TwoTower, items: Features | Tensor, examples: Examples, *, device: torch.device, ranks: Ranks
    ) -> None:
        self.model, self.examples, self.device, self.ranks = model, examples, device, ranks
        vectors_SD = items if isinstance(items, Tensor) else encode_catalogue(model, items, device=device, ranks=ranks)
        # Apple's MPS has no float64
        self.scoring_device = torch.device("cpu") if device.type == "mps" else device
        self.vectors_SD = vectors_SD.to(self.scoring_device)
        require_same(ranks, "width and dtype of the vectors", vectors_SD.shape[1], torch.empty(0, dtype=vectors_SD.dtype))
        self._lengths = ranks.lengths(len(vectors_SD))
        edges = [0, *accumulate(self._lengths)]
        self.own = range(edges[ranks.rank], edges[ranks.rank + 1])
        parts = torch.split(self.vectors_SD, _VECTORS_AT_ONCE)  # so that few vectors are in float64 at a time
        self._own_longest = _most([float(part.double().norm(dim=1).max()) for part in parts if len(part)])
        self._longest = _most(ranks.collect(self._own_longest))

    @property
    def num_items(self) -> int:
        return sum(self._lengths)

    def item_vectors(self, items: Tensor) -> Tensor:
        """The vectors of some items, from whoever has them; every rank calls.

        Args:
            items: Catalogue rows, int64 ``[m]`` on the CPU, none less than the one before; others on other ranks.

        Returns:
            ``[m, D]``.
        """
        return fetch_rows(self.ranks, self.vectors_SD, self._lengths, items)

    def counter(self, rows: Tensor) -> ShardedCounter | None:
        """See `twotower.evaluation.CountingScorer`; every rank calls, with the same rows."""
        return next(self.counters([rows]))

    def counters(self, blocks: Sequence[Tensor]) -> Iterator[ShardedCounter | None]:
        """See `twotower.evaluation.counting.BlockCountingScorer`; every rank calls, with the same blocks.

        Raises:
            ValueError: If ranks have other blocks than others.
        """
        for queries_BD in self._query_vectors(blocks):
            if can_count(queries_BD, self.vectors_SD, self._longest):
                own = ProductCounter(queries_BD, self.vectors_SD, self._own_longest) if self.own else None
                yield ShardedCounter(own, self.own, self.ranks)
            else:
                yield None

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        """See `twotower.evaluation.Scorer`: scores of the whole catalogue, from whoever has the items, to all ranks.

        What nobody asks for who can help it, since all scores go to all ranks: ranks are counted, and of lists the best are
        merged.
        """
        (queries_BD,) = self._query_vectors([rows])
        edges = [0, *accumulate(self._lengths)]
        with torch.inference_mode():
            for start in range(0, self.num_items, tile_size):
                stop = min(start + tile_size, self.num_items)
                scores_BT = torch.empty(len(rows), stop - start, device=self.scoring_device)
                for source, (first, last) in enumerate(pairwise(edges)):
                    low, high = max(start, first), min(stop, last)
                    if low < high:
                        piece_BP = torch.empty(len(rows), high - low, device=self.scoring_device)
                        if source == self.ranks.rank:
                            ((_, piece_BP),) = product_tiles(
                                queries_BD, self.vectors_SD[low - first : high - first], high - low
                            )
                        scores_BT[:, low - start : high - start] = spread_(self.ranks, piece_BP, source)
                yield start, scores_BT

    def own_scores(self, blocks: Sequence[Tensor]) -> Iterator[Scorer]:
        """For each block of queries, its scores over this rank's range; every rank calls, with the same blocks.

        Returns:
            Scorers of as many items as the range has, whose tiles begin with its first catalogue row, whatever rows are asked.
        """
        return (_OwnScores(queries_BD, self.vectors_SD, self.own) for queries_BD in self._query_vectors(blocks))

    def _query_vectors(self, blocks: Sequence[Tensor]) -> Iterator[Tensor]:
        """Vectors of each block on all ranks, encoded by one of them; all encode equally often."""
        require_same(self.ranks, "the rows that are judged", *blocks)
        for start in range(0, len(blocks), self.ranks.size):
            turn = blocks[start : start + self.ranks.size]
            # who has nothing to do encodes a row that nobody asks for
            own_BD = self._encoded(turn[self.ranks.rank] if self.ranks.rank < len(turn) else turn[0][:1])
            for source, rows in enumerate(turn):
                mine = source == self.ranks.rank
                yield spread_(self.ranks, own_BD if mine else own_BD.new_empty(len(rows), own_BD.shape[1]), source)

    def _encoded(self, rows: Tensor) -> Tensor:
        with torch.inference_mode():
            columns, names = self.examples.queries(rows, training=False), self.model.item_columns
            features: QueryFeatures = {name: column_to(column, self.device) for name, column in columns.items()}
            vectors = self.vectors_SD[:0]
            if names:
                read = rows_read(columns, names)
                vectors, features = self.item_vectors(read), with_places(features, names, read.to(self.device))
            return self.model.encode_queries_with_items(features, vectors.to(self.device)).to(self.scoring_device).contiguous()


def _most(lengths: Sequence[float]) -> float:
    """The longest; NaN where one is, which Python's own would lose."""
    return float(torch.tensor([0.0, *lengths], dtype=torch.float64).max())


class _OwnScores:
    """Scores of some queries over a range of the catalogue."""

    def __init__(self, queries_BD: Tensor, vectors_SD: Tensor, own: range) -> None:
        self._queries_BD, self._vectors_SD, self._own = queries_BD, vectors_SD, own

    @property
    def num_items(self) -> int:
        return len(self._own)

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        del rows
        for start, scores_BT in product_tiles(self._queries_BD, self._vectors_SD, tile_size):
            yield self._own.start + start, scores_BT
