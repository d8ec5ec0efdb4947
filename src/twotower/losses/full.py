"""Softmax over the whole catalogue: nothing is sampled, so nothing needs correcting. For catalogues that fit a batch."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.errors import ConfigError
from twotower.losses.cross_entropy import Reduction, query_coefficients, reduce_losses, softmax_cross_entropy
from twotower.losses.hard_negatives import keep_hard_negatives
from twotower.losses.logits import Precision, check_loss_inputs, scaled_scores, scaled_vectors
from twotower.losses.masks import Mask, mask_pairs_
from twotower.losses.protocol import RetrievalLoss
from twotower.losses.temperature import Temperature
from twotower.losses.tiled import fits_tiles, tiled_cross_entropy
from twotower.losses.tiles import Hard

__all__ = ["FullSoftmax", "full_softmax"]


def full_softmax(
    queries_BD: Tensor,
    candidates_ND: Tensor,
    positives_B: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    masked: Mask | None = None,
    hard_negatives: int | None = None,
    weights_B: Tensor | None = None,
    reduction: Reduction = "mean",
    precision: Precision = "float32",
) -> Tensor:
    """Softmax cross-entropy of each positive against every candidate of the catalogue.

    Args:
        queries_BD: Float, shape ``[B, D]``.
        candidates_ND: Float, shape ``[N, D]``: the catalogue, each candidate once.
        positives_B: int64, shape ``[B]``: row of each query's positive in the catalogue.
        temperature: Above 0; divides the scores. A scalar tensor may be learned.
        masked: Pairs that must not compete; see ``Mask``. A query's own positive is passed over.
        hard_negatives: Keep only this many negatives per query, those with the highest logits. None: all.
        weights_B: Weight of each query, not negative, shape ``[B]``.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; see ``reduce_losses``.
        precision: Of the scores; see ``Precision``.

    Returns:
        Scalar, or ``[B]`` for ``"none"``; float32 at least, also under autocast.

    Raises:
        ValueError: If shapes or values do not fit, or there is nothing to average.

    Example:
        >>> import torch
        >>> full_softmax(torch.zeros(1, 4), torch.ones(5, 4), torch.tensor([2])).exp()
        tensor(5.)
    """
    check_loss_inputs(queries_BD, candidates_ND, positives_B, temperature, weights_B=weights_B)
    with torch.autocast(device_type=queries_BD.device.type, enabled=False):
        if reduction != "none" and fits_tiles(queries_BD):
            scaled_BD, wide_ND = scaled_vectors(queries_BD, candidates_ND, temperature)
            coefficients_B = query_coefficients(weights_B, scaled_BD[:, 0].detach(), reduction)
            hard = None if hard_negatives is None else Hard(hard_negatives)
            return tiled_cross_entropy(
                scaled_BD, wide_ND, positives_B, coefficients_B, masked=masked, hard=hard, precision=precision
            )
        logits_BN = scaled_scores(queries_BD, candidates_ND, temperature, precision=precision)
        if masked is not None:
            mask_pairs_(logits_BN, masked, positives_B)
        if hard_negatives is None:
            losses_B = softmax_cross_entropy(logits_BN, positives_B, reduction="none")
        else:
            kept = keep_hard_negatives(logits_BN, positives_B, hard_negatives)
            losses_B = softmax_cross_entropy(
                kept.logits, torch.zeros_like(positives_B), log_counts=kept.counts.log(), reduction="none"
            )
        return reduce_losses(losses_B, weights_B, reduction)


class FullSoftmax(RetrievalLoss):
    """``full_softmax`` with its choices made, called as ``InBatchSoftmax`` is.

    Args:
        temperature: A number (fixed), or a ``Temperature``, whose parameter must then be trained with the model's.
        log_q: Must be False; here so that a recipe that asks for it hears why not.
        hard_negatives: See ``full_softmax``.
        reduction: See ``full_softmax``.
        precision: See ``full_softmax``.

    Attributes:
        needs_full_catalogue: True: ``candidates_CD`` is the whole catalogue, in its order.
        uses_log_q: False.
        recordable: True.

    Raises:
        ConfigError: If ``log_q`` is True.
    """

    def __init__(
        self,
        temperature: float | Temperature = 1.0,
        *,
        log_q: bool = False,
        hard_negatives: int | None = None,
        reduction: Reduction = "mean",
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        if log_q:
            raise ConfigError(
                "log_q: must be false for the full softmax: every candidate competes in every row, so there is no sampling "
                "to correct for, and the correction would only train the model to undo it (came: True)"
            )
        if hard_negatives is not None and hard_negatives < 1:
            raise ValueError(f"hard_negatives must be at least 1, or None for all; came {hard_negatives}")
        self.needs_full_catalogue = True
        self.recordable = True
        self.uses_log_q = False
        self.temperature = temperature if isinstance(temperature, Temperature) else Temperature(temperature)
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
    ) -> Tensor:
        """The loss of a batch; see ``full_softmax``.

        Raises:
            ValueError: Also if ``counts_C`` or ``log_q_C`` is given: in the catalogue each candidate occurs once, unsampled.
        """
        given = [name for name, value in (("counts_C", counts_C), ("log_q_C", log_q_C)) if value is not None]
        if given:
            raise ValueError(f"the full softmax must not be given {' or '.join(given)}: each candidate occurs once, unsampled")
        return full_softmax(
            queries_BD,
            candidates_CD,
            positives_B,
            temperature=self.temperature.value(),
            masked=masked,
            hard_negatives=self.hard_negatives,
            weights_B=weights_B,
            reduction=self.reduction,
            precision=self.precision,
        )
