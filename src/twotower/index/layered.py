"""An index that does not change, and the few vectors that did: a catalogue is searched as it is now, and nothing is built
again."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.index.arguments import check_search
from twotower.index.contract import NO_ROW, SearchResult, VectorIndex
from twotower.index.exact import ExactIndex
from twotower.types import Ragged

__all__ = ["LayeredIndex"]

Array: TypeAlias = "np.ndarray[Any, Any]"

_FEW_HIDDEN = 64


class LayeredIndex:
    """A base index of N vectors below a layer of M vectors that replace some of them or are new; removed rows are in neither.

    A ``VectorIndex`` over N' rows: those of the base and up to the highest that is in the layer or removed. Rows that are
    nowhere count as removed. Where the base is exact, answers are those of an exact index over the vectors as they are now, to
    the bit, ties included; otherwise what the base misses is missing, and rows of the layer never are.

    To make one takes about as long as to copy a mask of N' bits and the layer's vectors, so that every change of a catalogue
    can make a new one. It searches both and merges: the layer should be small, thousands among millions, and the base built
    anew before it is not.

    Args:
        base: Any index; kept.
        rows: int64, shape ``[M]``, none negative, none twice, in any order: below N the base's row is replaced, from N on it is
            new. M may be 0.
        vectors_MD: Floats, shape ``[M, D]``, of these rows; copied.
        removed: int64, shape ``[R]``, none negative, none of ``rows``; a row may come twice.

    Raises:
        ValueError: If a shape, a dtype or a row is not as above.
        DataError: If a vector holds NaN or an infinity.

    Example:
        >>> base = ExactIndex.build(torch.tensor([[1.0], [2.0], [3.0]]))
        >>> index = LayeredIndex(base, torch.tensor([0, 4]), torch.tensor([[9.0], [2.5]]), torch.tensor([2]))
        >>> index.num_vectors, index.search(torch.tensor([[1.0]]), k=4).rows_BK.tolist()
        (5, [[0, 4, 1, -1]])
    """

    def __init__(self, base: VectorIndex, rows: Tensor, vectors_MD: Tensor, removed: Tensor | None = None) -> None:
        gone = torch.empty(0, dtype=torch.int64) if removed is None else removed
        for name, numbers in (("rows", rows), ("removed", gone)):
            if numbers.dtype != torch.int64 or numbers.ndim != 1:
                raise ValueError(f"{name} must be int64 of one dimension (came: {numbers.dtype} {list(numbers.shape)})")
            if bool((numbers < 0).any()):
                raise ValueError(f"{name} must not be negative (came: {numbers[numbers < 0][:5].tolist()})")
        wanted = (len(rows), base.embedding_dim)
        if vectors_MD.shape != wanted:
            raise ValueError(f"vectors must have the shape {list(wanted)}, one per row (came: {list(vectors_MD.shape)})")
        own_rows, order = rows.cpu().sort()
        own_gone = torch.tensor(sorted(set(gone.tolist())), dtype=torch.int64)
        twice = own_rows[1:][own_rows[1:] == own_rows[:-1]]
        if len(twice):
            raise ValueError(f"rows must not come twice (came: {twice[:5].tolist()})")
        both = own_gone[torch.isin(own_gone, own_rows)]
        if len(both):
            raise ValueError(f"a row must not be in the layer and removed (came: {both[:5].tolist()})")
        self._base = base
        self._rows_M = own_rows
        self._layer = ExactIndex.build(vectors_MD.cpu()[order])
        last = [int(numbers[-1]) for numbers in (own_rows, own_gone) if len(numbers)]
        self._num_rows = max([base.num_vectors, *(number + 1 for number in last)])
        hidden = torch.cat([own_rows, own_gone])
        self._hidden = hidden[hidden < base.num_vectors]
        # by numpy: torch would share so little work out among its threads, which would wait for each other
        self._shown_N = np.ones(base.num_vectors, dtype=np.bool_)
        self._shown_N[self._hidden.numpy()] = False

    @property
    def num_vectors(self) -> int:
        """How many rows there are (N'), with those that are removed."""
        return self._num_rows

    @property
    def embedding_dim(self) -> int:
        """The width of a vector (D)."""
        return self._base.embedding_dim

    @property
    def base(self) -> VectorIndex:
        """The index below the layer."""
        return self._base

    @property
    def layer_rows(self) -> Tensor:
        """int64, ``[M]``, ascending: the rows of the layer."""
        return self._rows_M

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        """Find the k rows with the highest dot product; see `twotower.index.VectorIndex.search`, over N' rows.

        Returns:
            B rows of k results, on the CPU.

        Raises:
            ValueError: As there.
            DataError: As there; or as the base says.
        """
        own_BD = check_search(queries_BD, k, excluded, allowed, num_vectors=self.num_vectors, embedding_dim=self.embedding_dim)
        excluded = None if excluded is None else excluded.to("cpu")
        allowed = None if allowed is None else allowed.cpu()
        found = self._search_base(own_BD, k, excluded, allowed)
        if len(self._rows_M) == 0:
            return found
        return _merged(found, self._search_layer(own_BD, k, excluded, allowed), k)

    def _search_base(self, own_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None) -> SearchResult:
        num_base = self._base.num_vectors
        if excluded is not None and self._num_rows > num_base:
            excluded = excluded.keep(excluded.values < num_base)
        if allowed is not None:
            mask = torch.from_numpy(allowed.numpy()[:num_base] & self._shown_N)
            return _on_cpu(self._base.search(own_BD, k, excluded=excluded, allowed=mask))
        if len(self._hidden) > _FEW_HIDDEN:
            return _on_cpu(self._base.search(own_BD, k, excluded=excluded, allowed=torch.from_numpy(self._shown_N)))
        found = _on_cpu(self._base.search(own_BD, k + len(self._hidden), excluded=excluded))
        # of k and as many more as are hidden, k are left: quicker than a mask
        return _without(found, self._shown_N, k) if len(self._hidden) else found

    def _search_layer(self, own_BD: Tensor, k: int, excluded: Ragged | None, allowed: Tensor | None) -> SearchResult:
        if excluded is not None:
            places = torch.searchsorted(self._rows_M, excluded.values.to(torch.int64)).clamp(max=len(self._rows_M) - 1)
            excluded = Ragged(places, excluded.offsets).keep(self._rows_M[places] == excluded.values)
        mask = None if allowed is None else allowed[self._rows_M]
        found = self._layer.search(own_BD.cpu(), min(k, len(self._rows_M)), excluded=excluded, allowed=mask)
        rows_BK = self._rows_M[found.rows_BK.clamp(min=0)].masked_fill(found.rows_BK == NO_ROW, NO_ROW)
        return SearchResult(rows_BK, found.scores_BK)


def _on_cpu(found: SearchResult) -> SearchResult:
    return SearchResult(found.rows_BK.cpu(), found.scores_BK.cpu())


def _without(found: SearchResult, shown_N: Array, k: int) -> SearchResult:
    """The first k of each query that are shown, in their order; -1 after them."""
    rows_BW, scores_BW = found.rows_BK.numpy(), found.scores_BK.numpy()
    hidden_BW = (rows_BW == NO_ROW) | ~shown_N[rows_BW]
    order_BK = np.argsort(hidden_BW, axis=1, kind="stable")[:, :k]
    gone_BK = np.take_along_axis(hidden_BW, order_BK, axis=1)
    rows_BK = np.where(gone_BK, NO_ROW, np.take_along_axis(rows_BW, order_BK, axis=1))
    scores_BK = np.where(gone_BK, np.float32(-np.inf), np.take_along_axis(scores_BW, order_BK, axis=1))
    return SearchResult(torch.from_numpy(rows_BK), torch.from_numpy(scores_BK))


def _merged(one: SearchResult, other: SearchResult, k: int) -> SearchResult:
    """The k best of both: score descending, then row ascending; -1 last."""
    rows_BW, scores_BW = (
        np.concatenate([mine.numpy(), theirs.numpy()], axis=1) for mine, theirs in zip(one, other, strict=True)
    )
    order_BK = np.lexsort((rows_BW, -scores_BW), axis=1)[:, :k]
    rows_BK, scores_BK = (np.take_along_axis(each, order_BK, axis=1) for each in (rows_BW, scores_BW))
    return SearchResult(torch.from_numpy(rows_BK), torch.from_numpy(scores_BK))
