"""What the vectors and the lists of a trained model look like."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.diagnosis import HeadShares, Lift, NotMade, PopularityLikeness, Vectors, rank_correlation
from twotower.evaluation import encode_catalogue, top_items
from twotower.losses import BilateralSoftmax, InBatchSoftmax
from twotower.metrics import hit_rate
from twotower.runs.fit_model import UntrainedModel
from twotower.runs.probe import CPU, Headline, Probe, encode_rows

__all__ = ["head_shares", "popularity_likeness", "vectors"]

_MOST_VECTORS = 10_000
_MOST_ITEMS = 5_000
_MOST_USERS = 300
_LIST = 10


def vectors(parts: UntrainedModel, lift: Lift, *, trained: bool) -> Vectors:
    """Vectors of items that were trained on, and of train rows of different users.

    Args:
        parts: Trained.
        lift: The model beside popularity.
        trained: Whether the loss has fallen.
    """
    places = _at_most(np.flatnonzero(parts.phase.item_counts > 0), _MOST_VECTORS)
    vectors_ND = encode_catalogue(parts.model, parts.phase.items, device=CPU)
    train = parts.phase.train
    first = _at_most(np.unique(train.user_rows.numpy(), return_index=True)[1], _MOST_VECTORS)
    queries_QD = encode_rows(parts.model, train.queries(torch.from_numpy(first), training=True), vectors_ND).numpy()
    return Vectors(vectors_ND.numpy()[places], queries_QD, lift, trained)


def popularity_likeness(probe: Probe, lift: Lift) -> PopularityLikeness | NotMade:
    """Orders of the catalogue for some users, beside the order of popularity."""
    counts_N = probe.phase.item_counts
    trained = _at_most(np.flatnonzero(counts_N > 0), _MOST_ITEMS)
    if len(trained) <= _LIST:
        return NotMade(f"{len(trained)} items have train rows; to tell two orders apart there must be more than {_LIST}")
    rows = probe.one_per_user(_MOST_USERS)
    scores_QN = (probe.scorer.queries_QD[rows] @ probe.scorer.items_ND[torch.from_numpy(trained)].T).numpy()
    lists_QK = top_items(probe.scorer, rows, _LIST).numpy()
    popular_K = top_items(probe.popularity, rows[:1], _LIST).numpy()[0]
    return PopularityLikeness(
        correlations=rank_correlation(scores_QN, counts_N[trained]),
        overlap=float(np.isin(lists_QK, popular_K).mean()),
        between=_common(lists_QK, len(counts_N)),
        lift=lift,
    )


def head_shares(parts: UntrainedModel, probe: Probe, wanted: Headline) -> HeadShares | NotMade:
    """The share of the most popular items in lists, and in what was chosen."""
    counts_N = probe.phase.item_counts
    head_N = _head(counts_N)
    items = probe.examples.item_rows.numpy()
    known = items >= 0
    in_head = np.zeros(len(items), dtype=np.bool_)
    in_head[known] = head_N[items[known]]
    if not in_head.any():
        return NotMade("none of the rows that were looked at has an item of the head")
    lists_QK = top_items(probe.scorer, torch.arange(len(items)), min(_LIST, len(counts_N))).numpy()
    cutoff = min(wanted.k, len(counts_N))
    recalls = [float(hit_rate(probe.ranks(ranker), cutoff)[in_head].mean()) for ranker in (probe.scorer, probe.popularity)]
    return HeadShares(
        in_batch=isinstance(parts.loss, InBatchSoftmax | BilateralSoftmax),
        corrected=parts.loss.uses_log_q,
        head_items=int(head_N.sum()),
        recommended=float(head_N[lists_QK].mean()),
        consumed=float(in_head[known].mean()),
        cutoff=cutoff,
        model=recalls[0],
        popularity=recalls[1],
    )


def _head(counts_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The fewest items that hold a third of the train rows."""
    order = np.argsort(-counts_N, kind="stable")
    held = np.cumsum(counts_N[order])
    head_N = np.zeros(len(counts_N), dtype=np.bool_)
    head_N[order[: int(np.searchsorted(held, held[-1] / 3)) + 1]] = True
    return head_N


def _common(lists_QK: NDArray[np.int64], num_items: int) -> float:
    """Mean share of a list that another one has too."""
    count = len(lists_QK)
    if count < 2:
        return 0.0
    times_N = np.bincount(lists_QK[lists_QK >= 0], minlength=num_items)
    return float((times_N * (times_N - 1)).sum() / (count * (count - 1) * lists_QK.shape[1]))


def _at_most(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return rows if len(rows) <= most else np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
