"""How many negatives a query really has in a batch, before anything is learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from twotower.data.batches import Batch
from twotower.runs.fit_model import UntrainedModel

__all__ = ["NegativeCounts", "count_negatives"]

_BATCHES = 4


@dataclass(frozen=True)
class NegativeCounts:
    """What competes with a query's positive, on average over the queries of some batches.

    Attributes:
        drawn: Negatives, each draw counted.
        distinct: Different items among them.
        effective: As many negatives of equal weight would estimate the sum over the catalogue as well: Kish's effective
            sample size ``(sum w)^2 / sum w^2`` at equal scores. An item's weight is how often it was drawn, over its
            probability ``Q`` where the loss corrects for that. Without correction it is one over the chance that two draws are
            the same item; with it, few draws of rare items, each standing for many, make it small.
    """

    drawn: float
    distinct: float
    effective: float


def count_negatives(parts: UntrainedModel) -> NegativeCounts:
    """Count on batches spread over the first epoch.

    What is masked does not compete. Of hard negatives no more are counted than are kept.

    Args:
        parts: Batches, loss and sampling probabilities; the model is not asked.
    """
    last = max(0, len(parts.batches) - 2)  # the last one may be a small rest
    chosen = sorted({round(place) for place in np.linspace(min(parts.batches.queue_batches, last), last, _BATCHES)})
    found_F3 = torch.cat([_of_batch(parts, parts.batches.batch(0, index)) for index in chosen])
    hard = getattr(parts.loss, "hard_negatives", None)
    drawn, distinct, effective = (found_F3 if hard is None else found_F3.clamp(max=hard)).mean(0).tolist()
    return NegativeCounts(drawn, distinct, effective)


def _of_batch(parts: UntrainedModel, batch: Batch) -> Tensor:
    """Of each query, float64 ``[B, 3]``: draws, distinct items, effective number."""
    rows, log_q_N = batch.candidate_rows, parts.expected_log_q()
    size = len(parts.phase.catalogue) if rows is None else len(rows)
    counts_C = torch.ones(size, dtype=torch.float64) if batch.counts is None else batch.counts.double()
    each_C = torch.ones_like(counts_C)
    if log_q_N is not None:
        each_C = (-(log_q_N if rows is None else log_q_N[rows]).double()).exp()
    left_B = torch.zeros(len(batch.rows), dtype=torch.float64)
    if not getattr(parts.loss, "mask_accidental_hits", True):  # all but one of the positive's draws compete
        left_B = counts_C[batch.positives] - 1
    queries, columns = torch.arange(len(batch.rows)), batch.positives
    if batch.masked is not None:
        pairs = torch.unique(torch.stack(batch.masked), dim=1)
        queries, columns = torch.cat([queries, pairs[0]]), torch.cat([columns, pairs[1]])

    def of_rest(values_C: Tensor, own_B: Tensor) -> Tensor:
        return (own_B + values_C.sum()).index_add(0, queries, -values_C[columns])

    weights_C, own_each_B = counts_C * each_C, each_C[batch.positives]
    drawn_B = of_rest(counts_C, left_B)
    distinct_B = of_rest((counts_C > 0).double(), (left_B > 0).double())
    squares_B = of_rest(weights_C**2, (left_B * own_each_B) ** 2)
    effective_B = of_rest(weights_C, left_B * own_each_B) ** 2 / squares_B
    # where nothing is left, what is left of the sums is rounding
    return torch.stack([drawn_B, distinct_B, torch.where(distinct_B > 0.5, effective_B, 0)], dim=1)
