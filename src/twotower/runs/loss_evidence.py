"""What the loss of a trained model looks like on real batches: how low it is, how sharp, and what competes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from twotower.data import Batches, Examples
from twotower.data.batches import Batch
from twotower.diagnosis import BatchNegatives, NotMade, SoftmaxScale, TrainLoss
from twotower.evaluation import encode_catalogue
from twotower.losses import GBCE, BilateralSoftmax, FullSoftmax, InBatchSoftmax, RetrievalLoss
from twotower.runs.build_loss import build_loss
from twotower.runs.fit_model import UntrainedModel
from twotower.runs.probe import CPU, Probe
from twotower.runs.recipe import Recipe
from twotower.types import take_column

__all__ = ["batch_negatives", "softmax_scale", "train_loss"]

_NO_SOFTMAX = "the loss is no softmax: losses at other temperatures say nothing of each other"
_OWN = "a loss of one's own was used, whose temperature is not known here"
_BATCHES = 4
_QUERIES = 500
_FACTORS = tuple(2.0**power for power in range(-5, 6))


@dataclass(frozen=True)
class _Encoded:
    """A batch, encoded without dropout."""

    batch: Batch
    queries_BD: Tensor
    candidates_CD: Tensor
    log_q_C: Tensor | None

    def loss(self, loss: RetrievalLoss, queries_BD: Tensor | None = None) -> float:
        """Per row, in nats."""
        batch = self.batch
        with torch.inference_mode():
            value = loss(
                self.queries_BD if queries_BD is None else queries_BD,
                self.candidates_CD,
                batch.positives,
                counts_C=batch.counts,
                log_q_C=self.log_q_C,
                masked=batch.masked,
                weights_B=batch.weights,
                **({"users_B": batch.users} if loss.needs_users else {}),
            )
        if loss.reduction == "sum":
            return float(value) / len(batch.rows)
        return float(value.mean())


def train_loss(parts: UntrainedModel, *, first: float | None) -> TrainLoss:
    """The loss on some train batches, beside that of scores that are all 0.

    Args:
        parts: Trained.
        first: Train loss of the first epoch; None when it is not known.
    """
    encoded = _encoded(parts, parts.batches, parts.batches.examples, training=True)
    measured = [entry.loss(parts.loss) for entry in encoded]
    nothing = [entry.loss(parts.loss, torch.zeros_like(entry.queries_BD)) for entry in encoded]
    return TrainLoss(float(np.mean(measured)), float(np.mean(nothing)), first, len(encoded))


def softmax_scale(recipe: Recipe, parts: UntrainedModel, probe: Probe | None) -> SoftmaxScale | NotMade:
    """The loss at other temperatures, on train rows and on held-out ones.

    Args:
        recipe: Its loss.
        parts: Trained.
        probe: Validation rows of the same model; None where there are none.
    """
    if not isinstance(parts.loss, InBatchSoftmax | FullSoftmax):
        return NotMade(_NO_SOFTMAX if isinstance(parts.loss, GBCE | BilateralSoftmax) else _OWN)
    temperature = float(parts.loss.temperature.value().detach())

    def curve(encoded: list[_Encoded]) -> tuple[float, ...]:
        losses = []
        for factor in _FACTORS:
            at = {"temperature": temperature * factor, "learn_temperature": False}
            loss = build_loss(
                recipe.loss.model_copy(update=at),
                catalogue_size=len(parts.phase.catalogue),
                batch_size=recipe.training.batch_size,
            )
            losses.append(float(np.mean([entry.loss(loss) for entry in encoded])))
        return tuple(losses)

    train = _encoded(parts, parts.batches, parts.batches.examples, training=True)
    held_out = None
    if probe is not None:
        judged, weights = probe.examples.item_rows >= 0, probe.examples.weights
        # as in training, rows of weight 0 take no part: a batch of nothing else has no loss
        known = np.flatnonzero((judged if weights is None else judged & (weights > 0)).numpy())
        if len(known):
            examples = _some(probe.examples, torch.from_numpy(known))
            # without what is read in order: many rows may be judged by one history that does not grow, more than a batch has
            unread = replace(examples, history_inputs=())
            held_out = curve(_encoded(parts, _like(parts.batches, unread), examples, training=False))
    confidence, entropy = _sharpness(train[0], temperature)
    normalised = parts.model.spec.query.l2_normalise and parts.model.spec.candidate.l2_normalise
    return SoftmaxScale(
        temperature=temperature,
        learned=recipe.loss.learn_temperature,
        normalised=normalised,
        factors=_FACTORS,
        train=curve(train),
        held_out=held_out,
        confidence=confidence,
        entropy=entropy,
    )


def batch_negatives(recipe: Recipe, parts: UntrainedModel) -> BatchNegatives | NotMade:
    """What competes with the positives of some queries of real batches, after the masks."""
    if not isinstance(parts.loss, InBatchSoftmax | FullSoftmax | BilateralSoftmax | GBCE):
        return NotMade("a loss of one's own was used; what it lets compete is not known here")
    masks_own = not isinstance(parts.loss, InBatchSoftmax) or parts.loss.mask_accidental_hits
    own, known, competitors = [], [], []
    examples = parts.batches.examples
    for index in _chosen(parts.batches):
        batch = parts.batches.batch(0, index)
        size = len(parts.phase.catalogue)
        rows_C = torch.arange(size) if batch.candidate_rows is None else batch.candidate_rows
        counts_C = torch.ones(len(rows_C)) if batch.counts is None else batch.counts
        column_N = torch.full((size,), -1, dtype=torch.int64)
        column_N[rows_C] = torch.arange(len(rows_C))
        for query in range(min(len(batch.rows), _QUERIES // _BATCHES)):
            positive = int(batch.positives[query])
            user = examples.user_rows[batch.rows[query]][None]
            seen = column_N[examples.histories.seen(user, examples.histories.ends_of(user)).values.long()]
            seen = seen[(seen >= 0) & (seen != positive)]
            false = 0.0 if recipe.loss.mask_known_positives else float(counts_C[seen].sum())
            hidden = float(counts_C[seen].sum()) if recipe.loss.mask_known_positives else 0.0
            copies = 0.0 if masks_own else float(counts_C[positive]) - 1
            total = float(counts_C.sum()) - float(counts_C[positive]) - hidden + copies
            own.append(copies)
            known.append(false / total if total > 0 else 0.0)
            competitors.append(total)
    return BatchNegatives(
        queries=len(own),
        competitors=float(np.mean(competitors)),
        own_copies=float(np.mean(own)),
        own_nats=float(np.mean(np.log1p(own))),
        known_share=float(np.mean(known)),
        whole_catalogue=parts.loss.needs_full_catalogue,
    )


def _chosen(batches: Batches) -> list[int]:
    """Batches spread over an epoch, but for its last one, which may be a small rest."""
    return sorted({round(place) for place in np.linspace(0, max(0, len(batches) - 2), _BATCHES)})


def _encoded(parts: UntrainedModel, batches: Batches, examples: Examples, *, training: bool) -> list[_Encoded]:
    vectors_ND = encode_catalogue(parts.model, parts.phase.items, device=CPU)
    found = []
    for index in _chosen(batches):
        batch = batches.batch(0, index)
        queries = batch.queries if training else examples.queries(batch.rows, training=False)
        with torch.inference_mode():
            queries_BD = parts.model.encode_queries_with_items(queries, vectors_ND)
        rows, log_q_N = batch.candidate_rows, parts.expected_log_q()
        candidates_CD = vectors_ND if rows is None else vectors_ND[rows]
        log_q_C = None if log_q_N is None else (log_q_N if rows is None else log_q_N[rows])
        found.append(_Encoded(batch, queries_BD, candidates_CD, log_q_C))
    return found


def _like(batches: Batches, examples: Examples) -> Batches:
    """Batches of other rows, made as those of the training."""
    return Batches(
        examples,
        batch_size=batches.batch_size,
        catalogue_size=batches.catalogue_size,
        seed=batches.seed,
        candidates=batches.candidates,
        extra_negatives=batches.extra_negatives,
        queue_batches=batches.queue_batches,
        mask_known_positives=batches.mask_known_positives,
        users=batches.users,
    )


def _some(examples: Examples, rows: Tensor) -> Examples:
    """Some rows as examples of their own; their users and histories stay."""
    return Examples(
        user_rows=examples.user_rows[rows],
        item_rows=examples.item_rows[rows],
        users=examples.users,
        context={name: take_column(column, rows) for name, column in examples.context.items()},
        histories=examples.histories,
        before=examples.before[rows],
        seen_before=examples.seen_before,
        history_inputs=examples.history_inputs,
        times=None if examples.times is None else examples.times[rows],
        weights=None if examples.weights is None else examples.weights[rows],
    )


def _sharpness(encoded: _Encoded, temperature: float) -> tuple[float, float]:
    """Mean largest probability, and mean entropy over its largest value, among the batch's candidates."""
    with torch.inference_mode():
        logits_BC = (encoded.queries_BD.double() @ encoded.candidates_CD.double().T) / temperature
        log_p_BC = torch.log_softmax(logits_BC, dim=1)
        p_BC = log_p_BC.exp()
        entropy = float(-(p_BC * log_p_BC.clamp_min(-1e4)).sum(1).mean())
    most = math.log(max(2, p_BC.shape[1]))
    return float(p_BC.max(1).values.mean()), entropy / most
