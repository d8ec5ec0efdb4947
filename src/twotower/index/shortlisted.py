"""From shortlists to a result that keeps every promise: what approximate indexes have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from twotower.index.contract import NO_ROW, SearchResult
from twotower.index.exact import ExactIndex
from twotower.index.in_threads import in_threads, shared_out
from twotower.types import Ragged

__all__ = ["MakeShortlist", "search_shortlists"]

MakeShortlist: TypeAlias = Callable[[Tensor, int], Tensor]
"""From queries (float32 ``[B, D]``) and how many more rows than usual to look for, to rows (int64 ``[B, S]``), none twice for a
query; -1 where fewer were found. Called in several threads at once."""

_TOGETHER = 256
_OF_A_THREAD = 4
_SCARCE = 16
_FEWEST_EXTRA = 16


def search_shortlists(
    exact: ExactIndex,
    make_shortlist: MakeShortlist,
    queries_BD: Tensor,
    k: int,
    excluded: Ragged | None,
    allowed: Tensor | None,
    *,
    least_fraction: float,
) -> SearchResult:
    """The k best of a shortlist for each query, with exact scores; exact search where a shortlist makes no sense or came up short.

    What a query excludes is likely among its best, so that it looks for as many more rows as it excludes; the number is rounded up
    to a power of two, and queries of one number are looked for together.

    Args:
        exact: Of the same vectors.
        make_shortlist: How rows are found.
        queries_BD: Checked, float32 and on the CPU, as are the following.
        k: How many to return.
        excluded: Rows of each query.
        allowed: A mask over the vectors.
        least_fraction: Where a smaller fraction of the vectors is allowed, all of these are searched.

    Returns:
        As of `twotower.index.VectorIndex.search`.
    """
    num_queries, num_vectors = len(queries_BD), exact.num_vectors
    candidates = num_vectors if allowed is None else int(allowed.count_nonzero())
    if candidates < least_fraction * num_vectors:
        return exact.search(queries_BD, k, excluded=excluded, allowed=allowed)
    extra_B = _rounded_up(torch.zeros(num_queries, dtype=torch.int64) if excluded is None else excluded.lengths)
    rows_BK = torch.full((num_queries, k), NO_ROW, dtype=torch.int64)
    scores_BK = torch.full((num_queries, k), -torch.inf, dtype=torch.float32)
    alone_B = _SCARCE * (k + extra_B) > candidates

    def work(part: tuple[Tensor, int]) -> None:
        queries, extra = part
        own_BD = queries_BD[queries]
        mine = None if excluded is None else excluded.take(queries)
        found = exact.best_of(own_BD, make_shortlist(own_BD, extra), k, excluded=mine, allowed=allowed)
        rows_BK[queries], scores_BK[queries] = found.rows_BK, found.scores_BK

    for extra in extra_B[~alone_B].unique().tolist():
        queries = ((extra_B == extra) & ~alone_B).nonzero()[:, 0]
        in_threads(work, [(part, int(extra)) for part in shared_out(queries, _TOGETHER, _OF_A_THREAD)])
    short = (rows_BK[:, -1] == NO_ROW).nonzero()[:, 0]
    if len(short):
        mine = None if excluded is None else excluded.take(short)
        rows_BK[short], scores_BK[short] = exact.search(queries_BD[short], k, excluded=mine, allowed=allowed)
    return SearchResult(rows_BK, scores_BK)


def _rounded_up(numbers: Tensor) -> Tensor:
    """0, or the next power of two of at least `_FEWEST_EXTRA`."""
    powers = 2 ** torch.log2(numbers.clamp(min=_FEWEST_EXTRA).double()).ceil().long()
    return torch.where(numbers > 0, powers, 0)
