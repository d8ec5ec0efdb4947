"""From ranks to figures: per interaction and per user, seen items included and removed, with intervals."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.data.examples import Examples
from twotower.errors import DataError
from twotower.evaluation.rank import rank_positives
from twotower.evaluation.result import Evaluation, Figures
from twotower.evaluation.scorer import Scorer
from twotower.metrics import (
    Ranks,
    bootstrap_interval,
    hit_rate,
    metric_rows,
    ndcg,
    reciprocal_rank,
)
from twotower.types import Ragged

__all__ = ["evaluate", "evaluate_per_user"]

Table = dict[str, NDArray[np.float64]]

_SHOWN_FROM = 0.0005
"""Both ends of the ties are given where they are further apart than this."""


def evaluate(
    scorer: Scorer,
    examples: Examples,
    *,
    ks: Sequence[int],
    rows: Tensor | None = None,
    draws: int = 1000,
    seed: int = 0,
    ndcg_ks: Sequence[int] = (10,),
) -> Evaluation:
    """Judge a ranker per interaction: each row with its own context and history, one positive each.

    Recall@k is then the share of rows whose item is among the first k of the whole catalogue: top-k accuracy. Ties count
    with the expectation over random tie-breaking. A row whose item the catalogue lacks is a miss in every figure.

    Args:
        scorer: Made for these examples.
        examples: The test rows.
        ks: Cut-offs for recall.
        rows: int64, which rows to judge; None for all.
        draws: Bootstrap draws over users for the intervals; 0 computes none.
        seed: Of the bootstrap.
        ndcg_ks: Cut-offs for NDCG.

    Raises:
        DataError: If there is no row to judge, or a score is NaN.
    """
    chosen = torch.arange(len(examples)) if rows is None else rows
    _require_rows(len(chosen))
    began = time.perf_counter()
    items = examples.item_rows[chosen]
    positives = Ragged(items, torch.arange(len(chosen) + 1))
    ranks = rank_positives(scorer, chosen, positives, examples.seen)
    seconds = time.perf_counter() - began
    users = examples.user_rows[chosen].numpy()
    longest = scorer.num_items  # a list can't be longer, and what the catalogue lacks ranks behind it

    def figures(found: Ranks) -> Figures:
        table: Table = {f"recall@{k}": hit_rate(found, min(k, longest)) for k in ks}
        table |= {f"ndcg@{k}": ndcg(found, min(k, longest)) for k in ndcg_ks}
        table["mrr"] = reciprocal_rank(found, longest)
        ends = {
            f"recall@{k}": (
                hit_rate(found, min(k, longest), ties="optimistic"),
                hit_rate(found, min(k, longest), ties="pessimistic"),
            )
            for k in ks
        }
        return _figures(table, users, draws, seed, ends)

    return Evaluation(
        unit="interaction",
        seen_included=figures(ranks.seen_included),
        seen_removed=figures(ranks.seen_removed),
        units=len(chosen),
        not_in_catalogue=int((items < 0).sum()),
        seconds=seconds,
        ranks=ranks,
    )


def evaluate_per_user(scorer: Scorer, examples: Examples, *, ks: Sequence[int], draws: int = 1000, seed: int = 0) -> Evaluation:
    """Judge a ranker per user: one list per user, made just before the user's first row, against all of the user's items.

    The figures are those of `twotower.metrics.metric_rows` per user (recall, precision, hit rate, NDCG, MAP and MRR), with the
    expectation over random tie-breaking: means over users who have test rows. Ties at both ends are not computed.

    Args:
        scorer: Made for these examples.
        examples: The test rows; a user's distinct items are relevant, and each row whose item the catalogue lacks is a
            relevant item that is never found.
        ks: Cut-offs.
        draws: Bootstrap draws over users; 0 computes no intervals.
        seed: Of the bootstrap.

    Raises:
        DataError: If there is no row to judge, or a score is NaN.
    """
    _require_rows(len(examples))
    began = time.perf_counter()
    users, items = examples.user_rows.numpy(), examples.item_rows.numpy()
    queries, positives = _by_user(users, items, examples.before.numpy())
    ranks = rank_positives(scorer, queries, positives, examples.seen)
    seconds = time.perf_counter() - began
    group = torch.repeat_interleave(torch.arange(len(queries)), positives.lengths).numpy()
    judged = users[queries.numpy()]

    def figures(found: Ranks) -> Figures:
        rows = metric_rows(found, ks, group, unit="user", catalogue_size=scorer.num_items)
        table = {name: rows.values[:, column] for column, name in enumerate(rows.names)}
        return _figures(table, judged, draws, seed, {})

    return Evaluation(
        unit="user",
        seen_included=figures(ranks.seen_included),
        seen_removed=figures(ranks.seen_removed),
        units=len(queries),
        not_in_catalogue=int((positives.values < 0).sum()),
        seconds=seconds,
        ranks=ranks,
    )


def _require_rows(count: int) -> None:
    if count == 0:
        raise DataError("an evaluation needs at least one row to judge; came 0: give the split a test part")


def _by_user(users: NDArray[np.int64], items: NDArray[np.int64], before: NDArray[np.int64]) -> tuple[Tensor, Ragged]:
    """The earliest row of every user, and the user's relevant items: distinct ones, and -1 once per row that has it."""
    order = np.lexsort((np.arange(len(users)), before, users))
    first = np.r_[True, users[order][1:] != users[order][:-1]]
    queries = order[first]
    known = items >= 0
    pairs = np.concatenate(
        [
            np.unique(np.stack([users[known], items[known]], axis=1), axis=0),
            np.stack([users[~known], items[~known]], axis=1),
        ]
    )
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    lengths = np.bincount(np.searchsorted(users[queries], pairs[:, 0]), minlength=len(queries))
    offsets = torch.zeros(len(queries) + 1, dtype=torch.int64)
    offsets[1:] = torch.from_numpy(lengths).cumsum(0)
    return torch.from_numpy(queries), Ragged(torch.from_numpy(np.ascontiguousarray(pairs[:, 1])), offsets)


def _figures(
    table: Table,
    users: NDArray[np.int64],
    draws: int,
    seed: int,
    ends: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> Figures:
    values = {key: float(column.mean()) for key, column in table.items()}
    intervals: dict[str, tuple[float, float]] = {}
    if draws:
        found = bootstrap_interval(np.stack(list(table.values()), axis=1), users, draws=draws, seed=seed)
        intervals = {key: (float(found.low[i]), float(found.high[i])) for i, key in enumerate(table)}
    shown = {key for key, (most, least) in ends.items() if most.mean() - least.mean() > _SHOWN_FROM}
    return Figures(
        values=values,
        intervals=intervals,
        optimistic={key: float(ends[key][0].mean()) for key in ends if key in shown},
        pessimistic={key: float(ends[key][1].mean()) for key in ends if key in shown},
        rows=table,
    )
