"""Sampled softmax whose negatives are the positives of the other rows of the batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from twotower.losses.cross_entropy import Reduction, query_coefficients, reduce_losses, softmax_cross_entropy
from twotower.losses.hard_negatives import keep_hard_negatives
from twotower.losses.log_q import certain_positive_logits
from twotower.losses.logits import Precision, check_loss_inputs, scaled_scores, scaled_vectors
from twotower.losses.masks import Mask, count_own_once_, mask_pairs_, shift_own_
from twotower.losses.protocol import RetrievalLoss
from twotower.losses.temperature import Temperature
from twotower.losses.tiled import fits_tiles, tiled_cross_entropy
from twotower.losses.tiles import Hard

__all__ = ["InBatchSoftmax", "in_batch_softmax"]


def in_batch_softmax(
    queries_BD: Tensor,
    candidates_CD: Tensor,
    positives_B: Tensor,
    *,
    counts_C: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    log_q_C: Tensor | None = None,
    certain_positive: bool = False,
    mask_accidental_hits: bool = True,
    masked: Mask | None = None,
    hard_negatives: int | None = None,
    weights_B: Tensor | None = None,
    reduction: Reduction = "mean",
    precision: Precision = "float32",
    padded: bool = False,
) -> Tensor:
    """In-batch softmax cross-entropy, each distinct candidate of the batch scored once.

    The textbook loss has one column per row of the batch, so a candidate that is the positive of ``n`` rows is encoded
    and scored ``n`` times. Here it is one column with a multiplicity of ``n``; value and gradient are the same. The
    order is fixed: scores, temperature, log-Q, masks, hard negatives, cross-entropy.

    Args:
        queries_BD: Float, shape ``[B, D]``.
        candidates_CD: Float, shape ``[C, D]``: every candidate once, extra negatives among them.
        positives_B: int64, shape ``[B]``: column of each query's positive.
        counts_C: Whole numbers, at least 1, shape ``[C]``: columns of the textbook matrix that hold each candidate. None: 1.
            With ``padded``, 0 for a column that holds none, and is nobody's positive: its probability and its gradient are
            exactly 0, whatever finite numbers its vector and its ``log_q_C`` are.
        temperature: Above 0; divides the scores. A scalar tensor may be learned.
        log_q_C: Log-probability that each candidate is drawn as a negative, shape ``[C]``, subtracted from its logit, that of
            the positive included. None: no correction.
        certain_positive: Correct as Khrylchenko et al. (RecSys 2025, arXiv 2507.09331) do: the positive stands in its row
            with certainty, so its logit is not corrected, and it is not among what was drawn. Their loss of a query is
            ``sg(1 - P) (log sum_{c != p} n_c exp(s_c - log Q'(c)) - s_p)``, with the constant weight ``1 - P``, and ``Q'`` and
            ``P`` as in ``certain_positive_logits``. What is returned is ``-log P``, an estimate of the full softmax's loss that
            is never negative; its gradient is theirs, number by number: ``(1 - P) (sum_c q_c grad s_c - grad s_p)``, ``q``
            being the softmax over the negatives. Needs ``log_q_C``, masked accidental hits, and all negatives. What is masked
            besides was drawn, but adds nothing.
        mask_accidental_hits: Whether the other rows with a query's own positive are kept from competing with it. False
            is the plain loss in which they do, and so push a query away from its own positive.
        masked: Other pairs that must not compete (for instance items the user has); see ``Mask``. A query's own positive
            is passed over.
        hard_negatives: Keep only this many negatives per query, those with the highest logits. None: all.
        weights_B: Weight of each query, not negative, shape ``[B]``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; see ``reduce_losses``.
        precision: Of the scores; see ``Precision``.
        padded: Whether counts may be 0. On an accelerator they are not looked at, and always may: shapes can then be the same
            for all batches.

    Returns:
        Scalar, or ``[B]`` for ``"none"``; float32 at least, also under autocast.

    Raises:
        ValueError: If shapes or values do not fit, options do not, or there is nothing to average.

    Example:
        >>> import torch
        >>> queries, candidates = torch.eye(3), torch.eye(3)[:2]
        >>> positives, counts = torch.tensor([0, 1, 1]), torch.tensor([1, 2])
        >>> losses = in_batch_softmax(queries, candidates, positives, counts_C=counts, reduction="none")
        >>> [round(value, 4) for value in losses.tolist()]
        [0.5514, 0.3133, 0.6931]
    """
    check_loss_inputs(
        queries_BD,
        candidates_CD,
        positives_B,
        temperature,
        weights_B=weights_B,
        counts_C=counts_C,
        log_q_C=log_q_C,
        padded=padded,
    )
    if certain_positive:
        _check_certain(log_q_C, mask_accidental_hits=mask_accidental_hits, hard_negatives=hard_negatives)
    with torch.autocast(device_type=queries_BD.device.type, enabled=False):
        log_counts_C = None if counts_C is None else counts_C.to(torch.promote_types(queries_BD.dtype, torch.float32)).log()
        there_C = None  # what is padding must not be among the hardest either
        if hard_negatives is not None and log_counts_C is not None and (padded or log_counts_C.device.type != "cpu"):
            there_C = log_counts_C.clamp(max=0)
        if reduction != "none" and fits_tiles(queries_BD):
            scaled_BD, wide_CD = scaled_vectors(queries_BD, candidates_CD, temperature)
            coefficients_B = query_coefficients(weights_B, scaled_BD[:, 0].detach(), reduction)
            if hard_negatives is not None:
                return tiled_cross_entropy(
                    scaled_BD,
                    wide_CD,
                    positives_B,
                    coefficients_B,
                    bias_C=_bias(log_q_C, there_C),
                    masked=masked,
                    hard=Hard(hard_negatives, counts_C, own_copies=not mask_accidental_hits),
                    precision=precision,
                )
            own_log_counts_B = None if log_counts_C is None else log_counts_C.index_select(0, positives_B)
            own_shift_B = -own_log_counts_B if own_log_counts_B is not None and mask_accidental_hits else None
            if certain_positive and log_q_C is not None:
                own_shift_B = _certain_shift(log_q_C, positives_B, counts_C, log_counts_C)
            loss = tiled_cross_entropy(
                scaled_BD,
                wide_CD,
                positives_B,
                coefficients_B,
                bias_C=_bias(log_q_C, log_counts_C),
                own_shift_B=own_shift_B,
                masked=masked,
                precision=precision,
            )
            if own_log_counts_B is not None and not mask_accidental_hits:
                loss = loss + (own_log_counts_B * coefficients_B).sum()
            return loss
        if hard_negatives is not None:
            logits_BC = scaled_scores(queries_BD, candidates_CD, temperature, _bias(log_q_C, there_C), precision=precision)
            if masked is not None:
                mask_pairs_(logits_BC, masked, positives_B)
            kept = keep_hard_negatives(
                logits_BC, positives_B, hard_negatives, counts_C=counts_C, mask_accidental_hits=mask_accidental_hits
            )
            losses_B = softmax_cross_entropy(
                kept.logits, torch.zeros_like(positives_B), log_counts=kept.counts.log(), reduction="none"
            )
            return reduce_losses(losses_B, weights_B, reduction)
        logits_BC = scaled_scores(queries_BD, candidates_CD, temperature, _bias(log_q_C, log_counts_C), precision=precision)
        if masked is not None:
            mask_pairs_(logits_BC, masked, positives_B)
        if certain_positive and log_q_C is not None:
            shift_own_(logits_BC, positives_B, _certain_shift(log_q_C, positives_B, counts_C, log_counts_C))
        elif log_counts_C is not None and mask_accidental_hits:
            count_own_once_(logits_BC, positives_B, log_counts_C.to(logits_BC.dtype))
        losses_B = softmax_cross_entropy(logits_BC, positives_B, reduction="none")
        if log_counts_C is not None and not mask_accidental_hits:
            # the logits carry log n, but the positive is one of its n columns
            losses_B = losses_B + log_counts_C[positives_B]
        return reduce_losses(losses_B, weights_B, reduction)


def _bias(log_q_C: Tensor | None, log_counts_C: Tensor | None) -> Tensor | None:
    if log_q_C is None:
        return log_counts_C
    return -log_q_C if log_counts_C is None else log_counts_C - log_q_C


def _certain_shift(log_q_C: Tensor, positives_B: Tensor, counts_C: Tensor | None, log_counts_C: Tensor | None) -> Tensor:
    """From what every candidate has added to its logit to what a positive that is no draw has."""
    drawn_C = log_q_C if log_counts_C is None else log_q_C - log_counts_C
    return certain_positive_logits(log_q_C, positives_B, counts_C) + drawn_C.index_select(0, positives_B)


def _check_certain(log_q_C: Tensor | None, *, mask_accidental_hits: bool, hard_negatives: int | None) -> None:
    if log_q_C is None or not mask_accidental_hits or hard_negatives is not None:
        raise ValueError(
            "a positive that is certain needs log_q_C, masked accidental hits and all negatives; came "
            f"log_q_C {'not given' if log_q_C is None else 'given'}, mask_accidental_hits={mask_accidental_hits}, "
            f"hard_negatives={hard_negatives}"
        )


class InBatchSoftmax(RetrievalLoss):
    """``in_batch_softmax`` with its choices made.

    Args:
        temperature: A number (fixed), or a ``Temperature``, whose parameter must then be trained with the model's.
        log_q: Whether ``forward`` is given the sampling probabilities, and corrects for them. ``"corrected"``: with a positive
            that is certain; see ``in_batch_softmax``.
        mask_accidental_hits: See ``in_batch_softmax``.
        hard_negatives: See ``in_batch_softmax``.
        reduction: See ``in_batch_softmax``.
        precision: See ``in_batch_softmax``.

    Attributes:
        needs_full_catalogue: False.
        uses_log_q: Whether corrections are made, in either way.
        certain_positive: Whether the positive is taken for certain.
        recordable: True.

    Raises:
        ValueError: If the options do not fit each other.
    """

    def __init__(
        self,
        temperature: float | Temperature = 1.0,
        *,
        log_q: bool | Literal["corrected"] = False,
        mask_accidental_hits: bool = True,
        hard_negatives: int | None = None,
        reduction: Reduction = "mean",
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        self.recordable = True
        if hard_negatives is not None and hard_negatives < 1:
            raise ValueError(f"hard_negatives must be at least 1, or None for all; came {hard_negatives}")
        self.needs_full_catalogue = False
        self.certain_positive = log_q == "corrected"
        if self.certain_positive and (hard_negatives is not None or not mask_accidental_hits):
            raise ValueError(
                "log_q='corrected' needs masked accidental hits and all negatives; came "
                f"mask_accidental_hits={mask_accidental_hits}, hard_negatives={hard_negatives}"
            )
        self.uses_log_q = log_q is not False
        self.temperature = temperature if isinstance(temperature, Temperature) else Temperature(temperature)
        self.mask_accidental_hits = mask_accidental_hits
        self.hard_negatives = hard_negatives
        self.reduction: Reduction = reduction
        self.precision: Precision = precision

    def forward(
        self,
        queries_BD: Tensor,
        candidates_CD: Tensor,
        positives_B: Tensor,
        *,
        counts_C: Tensor | None = None,
        log_q_C: Tensor | None = None,
        masked: Mask | None = None,
        weights_B: Tensor | None = None,
        padded: bool = False,
    ) -> Tensor:
        """The loss of a batch; see ``in_batch_softmax``.

        Raises:
            ValueError: Also if ``log_q_C`` is missing though the loss corrects for it, or given though it does not.
        """
        if self.uses_log_q != (log_q_C is not None):
            made_with = "corrected" if self.certain_positive else self.uses_log_q
            raise ValueError(
                "log_q_C must be given exactly when the loss was made with log_q=True; it was made with "
                f"log_q={made_with}, and log_q_C was {'given' if log_q_C is not None else 'not given'}"
            )
        return in_batch_softmax(
            queries_BD,
            candidates_CD,
            positives_B,
            counts_C=counts_C,
            temperature=self.temperature.value(),
            log_q_C=log_q_C,
            certain_positive=self.certain_positive,
            mask_accidental_hits=self.mask_accidental_hits,
            masked=masked,
            hard_negatives=self.hard_negatives,
            weights_B=weights_B,
            reduction=self.reduction,
            precision=self.precision,
            padded=padded,
        )
