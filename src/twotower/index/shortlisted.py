"""From shortlists to a result that keeps every promise: what approximate indexes have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.index.allowed_rows import count_allowed
from twotower.index.contract import NO_ROW, SearchResult
from twotower.index.exact import ExactIndex
from twotower.index.given_rows import best_of_rows
from twotower.index.in_threads import in_threads, shared_out
from twotower.types import Ragged

__all__ = ["MakeShortlist", "enough_of", "fraction_of", "search_shortlists"]

MakeShortlist: TypeAlias = Callable[[Tensor, int], Tensor]
"""From queries (float32 ``[B, D]``) and how many more rows than usual to look for, to rows (int64 ``[B, S]``), none twice for a
query; -1 where fewer were found. Called in several threads at once."""

_TOGETHER = 256
_OF_A_THREAD = 4
_SCARCE = 16
_MANY, _ALONE_TIMES = 16, 0.2
_FEWEST_EXTRA = 16


def fraction_of(allowed: Tensor | None) -> float:
    """Which part of a mask is true, above 0; 1 where there is no mask."""
    return 1.0 if allowed is None else max(count_allowed(allowed), 1) / max(len(allowed), 1)


def enough_of(wanted: int, fraction: float) -> int:
    """How many rows hold as many as are wanted of which this fraction counts, but for once in hundreds of times."""
    return math.ceil((wanted + 3 * math.sqrt(wanted * (1 - fraction))) / fraction)


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
    """The k best of a shortlist for each query, with exact scores; exact search where a shortlist makes no sense or came up
    short.

    What a query excludes is likely among its best, so that it looks for as many more rows as it excludes; the number is rounded
    up to a power of two, and queries of one number are looked for together.

    Args:
        exact: Of the same vectors.
        make_shortlist: How rows are found.
        queries_BD: Checked, float32 and on the CPU, as are the following.
        k: How many to return.
        excluded: Rows of each query.
        allowed: A mask over the vectors.
        least_fraction: Where a smaller fraction of the vectors is allowed, a batch searches all of these; a few queries do
            below a fifth of it, since an exact search has to look at the mask first.

    Returns:
        As of `twotower.index.VectorIndex.search`.
    """
    num_vectors = exact.num_vectors
    candidates = num_vectors if allowed is None else count_allowed(allowed)
    if candidates < least_fraction * num_vectors * (1.0 if len(queries_BD) >= _MANY else _ALONE_TIMES):
        return exact.search(queries_BD, k, excluded=excluded, allowed=allowed)
    if len(queries_BD) == 1:  # indexing costs as much as the search
        extra = _rounded_up(0 if excluded is None else len(excluded.values))
        found = _none(1, k)
        if _SCARCE * (k + extra) <= candidates:
            found = best_of_rows(exact.vectors, queries_BD, make_shortlist(queries_BD, extra), k, excluded, allowed)
    else:
        found = _many(exact, make_shortlist, queries_BD, k, excluded, allowed, candidates)
    short = np.flatnonzero(found.rows_BK.numpy()[:, -1] == NO_ROW)
    if len(short):
        rest = torch.from_numpy(short)
        mine = None if excluded is None else excluded.take(rest)
        found.rows_BK[rest], found.scores_BK[rest] = exact.search(queries_BD[rest], k, excluded=mine, allowed=allowed)
    return found


def _many(
    exact: ExactIndex,
    make_shortlist: MakeShortlist,
    queries_BD: Tensor,
    k: int,
    excluded: Ragged | None,
    allowed: Tensor | None,
    candidates: int,
) -> SearchResult:
    """As `search_shortlists`, with nothing for the queries for which a shortlist makes no sense."""
    found = _none(len(queries_BD), k)

    def work(part: tuple[Tensor, int]) -> None:
        queries, extra = part
        own_BD = queries_BD[queries]
        mine = None if excluded is None else excluded.take(queries)
        best = best_of_rows(exact.vectors, own_BD, make_shortlist(own_BD, extra), k, mine, allowed)
        found.rows_BK[queries], found.scores_BK[queries] = best

    lengths_B = torch.zeros(len(queries_BD), dtype=torch.int64) if excluded is None else excluded.lengths
    extra_B = torch.tensor([_rounded_up(length) for length in lengths_B.tolist()], dtype=torch.int64)
    for extra in sorted(set(extra_B.tolist())):
        queries = (extra_B == extra).nonzero()[:, 0]
        if _SCARCE * (k + extra) <= candidates:
            in_threads(work, [(part, extra) for part in shared_out(queries, _TOGETHER, _OF_A_THREAD)])
    return found


def _none(num_queries: int, k: int) -> SearchResult:
    # by numpy: torch would fill them in threads that go on asking for work, which takes their cores from the search
    rows_BK = np.full((num_queries, k), NO_ROW, dtype=np.int64)
    return SearchResult(torch.from_numpy(rows_BK), torch.from_numpy(np.full((num_queries, k), -np.inf, dtype=np.float32)))


def _rounded_up(number: int) -> int:
    """0, or a power of two of at least `_FEWEST_EXTRA`."""
    return 1 << (max(number, _FEWEST_EXTRA) - 1).bit_length() if number else 0
