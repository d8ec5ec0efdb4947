"""An index whose vectors are shared out over ranks: each searches its range, and the best are merged."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Self

import torch
from torch import Tensor

from twotower.distributed import Ranks, agreed, columns_of_all, require_same, share_sizes
from twotower.errors import DataError
from twotower.index import NO_ROW, ExactIndex, SearchResult, VectorIndex
from twotower.index.arguments import check_search
from twotower.types import Ragged

__all__ = ["ShardedIndex"]


class ShardedIndex:
    """The k best of vectors of which every rank has a range; built by :meth:`build`.

    A ``VectorIndex``. All ranks build together and search together, with the same arguments, and each gets the whole answer:
    where the parts are exact, rows and scores are those of one exact index over all vectors, to the bit, ties included. What
    travels is the best ``k`` of each part: a rank merges those of its share of the queries, and all get what it merged. An
    error of one rank is raised by all.

    Args:
        part: Over this rank's vectors; rows of rank 1 follow on those of rank 0. It may hold none.
        ranks: All of them.

    Raises:
        ValueError: If parts have vectors of other widths.
    """

    def __init__(self, part: VectorIndex, ranks: Ranks) -> None:
        require_same(ranks, "the width of the vectors", part.embedding_dim)
        self._part = part
        self._ranks = ranks
        self._lengths = ranks.lengths(part.num_vectors)
        edges = [0, *accumulate(self._lengths)]
        self._own = range(edges[ranks.rank], edges[ranks.rank + 1])

    @classmethod
    def build(cls, vectors_SD: Tensor, ranks: Ranks, *, build: Callable[[Tensor], VectorIndex] = ExactIndex.build) -> Self:
        """Build an index over copies of the ranks' vectors.

        Args:
            vectors_SD: Floats of any width, shape ``[S, D]``: this rank's; S may be 0, and another on every rank.
            ranks: All of them.
            build: Makes an index of vectors; exact where the answers should be.

        Raises:
            ValueError: If the shape or the dtype is another; or as the function says.
            DataError: If a vector of any rank holds NaN or an infinity; names the rows.
        """
        bad = torch.empty(0, dtype=torch.int64)
        if vectors_SD.ndim > 1:
            bad = vectors_SD.detach().isfinite().logical_not().flatten(1).any(dim=1).nonzero()[:, 0]
        lengths = ranks.lengths(len(vectors_SD) if vectors_SD.ndim else 0)
        start, several = sum(lengths[: ranks.rank]), ranks.lengths(len(bad))
        if any(several):
            rows = [row for rows in ranks.collect([start + row for row in bad[:5].tolist()]) for row in rows]
            first = ", ".join(str(row) for row in rows[:5])
            raise DataError(
                f"vectors must be finite float32; {sum(several):,} of {sum(lengths):,} are not, the first at row {first}"
            )
        return cls(agreed(ranks, lambda: build(vectors_SD)), ranks)

    @property
    def num_vectors(self) -> int:
        """How many vectors all ranks hold together (N)."""
        return sum(self._lengths)

    @property
    def embedding_dim(self) -> int:
        """The width of a vector (D)."""
        return self._part.embedding_dim

    @property
    def part(self) -> VectorIndex:
        """The index over this rank's vectors."""
        return self._part

    @property
    def own(self) -> range:
        """The rows of this rank's vectors."""
        return self._own

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        """Find the k rows with the highest dot product; see `twotower.index.VectorIndex.search`, over all ranks' rows.

        Returns:
            B rows of k results, the same on all ranks; on the device of the part.

        Raises:
            ValueError: As there; or if ranks ask for something else.
            DataError: As there; or as a part says.
        """
        ranks, own = self._ranks, self._own
        queries_BD = check_search(
            queries_BD, k, excluded, allowed, num_vectors=self.num_vectors, embedding_dim=self.embedding_dim
        )
        asked = [*(excluded or []), *([] if allowed is None else [allowed])]
        require_same(ranks, "what is searched for", k, *(each.cpu() for each in (queries_BD, *asked)))
        if excluded is not None:
            values = excluded.values.to(torch.int64)
            mine = Ragged(values - own.start, excluded.offsets)
            excluded = mine.keep((values >= own.start) & (values < own.stop))
        allowed = None if allowed is None else allowed[own.start : own.stop]
        # a part may fill what it lacks, so that all ranks' lists are of one length
        most = max(1, min(k, max(self._lengths)))
        found = agreed(ranks, lambda: self._part.search(queries_BD, most, excluded=excluded, allowed=allowed))
        rows_BM = torch.where(found.rows_BK == NO_ROW, NO_ROW, found.rows_BK + own.start)
        # one message: scores go as the whole numbers that their bits are
        both_B2M = torch.stack([rows_BM, found.scores_BK.contiguous().view(torch.int32).long()], dim=1)
        every_bM = columns_of_all(ranks, both_B2M.flatten(1)).view(-1, ranks.size, 2, most)
        rows_bM, bits_bM = every_bM.transpose(1, 2).flatten(2).unbind(dim=1)
        # ranges follow one another, and so do the columns: a stable sort keeps ties by lowest row
        order_bM = bits_bM.int().view(torch.float32).sort(dim=1, descending=True, stable=True).indices[:, :k]
        both_bK2 = torch.stack([rows_bM.gather(1, order_bM), bits_bM.gather(1, order_bM)], dim=2)
        rows_BM, bits_BM = ranks.gather(both_bK2, share_sizes(len(queries_BD), ranks.size)).unbind(dim=2)
        rows_BK = rows_BM.new_full((len(queries_BD), k), NO_ROW)
        scores_BK = found.scores_BK.new_full((len(queries_BD), k), -torch.inf)
        rows_BK[:, : rows_BM.shape[1]], scores_BK[:, : rows_BM.shape[1]] = rows_BM, bits_BM.int().view(torch.float32)
        return SearchResult(rows_BK, scores_BK)
