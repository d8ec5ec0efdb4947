"""What every index promises: float vectors in, the rows of the nearest by dot product out."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from twotower.types import Ragged

__all__ = ["NO_ROW", "SearchResult", "VectorIndex"]

NO_ROW = -1
"""The row that fills a result of which fewer than k exist; its score is minus infinity."""


class SearchResult(NamedTuple):
    """The best rows of each query, best first.

    Attributes:
        rows_BK: int64, shape ``[B, K]``: rows of the vectors that the index was built from; -1 where no more exist.
        scores_BK: float32, shape ``[B, K]``: dot products, never increasing along a row; minus infinity where no more exist.
    """

    rows_BK: Tensor
    scores_BK: Tensor


class VectorIndex(Protocol):
    """A searchable set of vectors, of which row ``i`` is the ``i``-th that it was built from.

    An exact index returns the k best, ties by lowest row. An approximate one may return others in their place, and is held to
    the rest: always k rows where k may be returned, none twice, none that is excluded or not allowed, best first, the same
    answer to the same question.
    """

    @property
    def num_vectors(self) -> int:
        """How many vectors the index holds (N)."""
        ...

    @property
    def embedding_dim(self) -> int:
        """The width of a vector (D)."""
        ...

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        """Find the k rows with the highest dot product, for each query.

        Args:
            queries_BD: Floats, shape ``[B, D]``; B may be 0.
            k: How many rows to return, at least 1; may exceed what exists.
            excluded: Rows in ``[0, N)`` that are not returned, for each query its own (ragged, B rows); in any order, and a row
                may come twice.
            allowed: bool, shape ``[N]``: where False, the row is not returned to any query.

        Returns:
            B rows of k results. Where fewer exist, the rest is row -1 with score minus infinity.

        Raises:
            ValueError: If a shape, a dtype, k or an excluded row is not as above.
            DataError: If a query holds NaN or an infinity.
        """
        ...
