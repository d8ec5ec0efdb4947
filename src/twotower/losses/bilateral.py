"""Bilateral softmax: the negatives of a query are weighed by how hard they are, and the positives of a user too.

Wu et al., "BSL: understanding and improving softmax loss for recommendation" (ICDE 2024, arXiv 2312.12882). With vectors of
length 1 (``l2_normalise``), as there, scores are cosines. The sampled softmax with cosines (SSM) that it builds on is
``InBatchSoftmax`` of such vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from twotower.losses.cross_entropy import Reduction, query_coefficients, reduce_losses
from twotower.losses.log_q import certain_positive_logits
from twotower.losses.logits import Precision, check_loss_inputs, scaled_scores, scaled_vectors
from twotower.losses.masks import Mask, check_mask, mask_pairs_
from twotower.losses.protocol import RetrievalLoss
from twotower.losses.temperature import Temperature
from twotower.losses.tiled import fits_tiles, tiled_cross_entropy

__all__ = ["BilateralSoftmax", "bilateral_softmax"]


def bilateral_softmax(
    queries_BD: Tensor,
    candidates_CD: Tensor,
    positives_B: Tensor,
    *,
    users_B: Tensor | None = None,
    counts_C: Tensor | None = None,
    temperature: float | Tensor = 1.0,
    positive_temperature: float | Tensor | None = None,
    negative_weight: float = 1.0,
    log_q_C: Tensor | None = None,
    masked: Mask | None = None,
    weights_B: Tensor | None = None,
    reduction: Reduction = "mean",
    precision: Precision = "float32",
    padded: bool = False,
    all_rows: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """``loss_i = -log E_{r of i's user} exp(s_rp / t1) + w (t2 / t1) log sum_{c != p} n_c exp(s_ic / t2)``.

    With ``w = 1`` the paper's, divided by ``t1``, for one row of a batch: the first mean is over the rows of the same user,
    each with its own positive, and the higher ``t1``, the more do the positives that score low matter; the lower, the less, so
    that a wrong one does little. The sum is over the negatives alone. Where a user has one row in the batch, the loss is
    ``1 / t1`` times ``-s_p + t2 log sum exp(s_c / t2)``, and ``t1`` is no more than the size of a step.

    The weight ``w`` is not in the paper's equation but in its authors' program, whose ``temperature_2`` is the power that the
    sum is raised to: 1.22 on Gowalla, where it makes the difference between their softmax and BSL. With ``w > 1`` negatives
    push more than positives pull; scores of any size would fall without end, cosines spread out.

    The logits are made in tiles as in ``in_batch_softmax``, and none are kept; with ``"none"`` a matrix of all of them is.

    Args:
        queries_BD: Float, shape ``[B, D]``.
        candidates_CD: Float, shape ``[C, D]``: every candidate once.
        positives_B: int64, shape ``[B]``: column of each query's positive.
        users_B: int64, shape ``[B]``: whose row each is. None: every row is another user's.
        counts_C: Whole numbers, at least 1, shape ``[C]``: how often each candidate was drawn. None: once each. With ``padded``
            also 0, as in ``in_batch_softmax``.
        temperature: ``t2``, of the negatives, above 0; a number or a scalar tensor, a constant in either case.
        positive_temperature: ``t1``, of the positives, above 0; the same. None: as ``t2``.
        negative_weight: ``w``, above 0.
        log_q_C: Log-probability that each candidate is drawn, shape ``[C]``. The sum is then the estimate ``Z`` of that over
            all other items in ``certain_positive_logits``. None: the sum over what was drawn.
        masked: Other pairs that must not compete; see ``Mask``.
        weights_B: Weight of each query, not negative, shape ``[B]``; among the positives of a user too.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``; see ``reduce_losses``.
        precision: Of the scores of negatives; see ``Precision``.
        padded: Whether counts may be 0; see ``in_batch_softmax``.
        all_rows: Where several processes have rows of one batch: from a tensor ``[B]`` of this one's rows to those of all, in
            an order that does not change, with gradients. The rows of a user are then those of all, and what is returned is
            what this process adds to the loss of all rows.

    Returns:
        Scalar, or ``[B]`` for ``"none"``; float32 at least, also under autocast. A query without negatives loses 0.

    Raises:
        ValueError: If shapes or values do not fit, or there is nothing to average.

    Example:
        >>> import torch
        >>> loss = bilateral_softmax(torch.zeros(1, 4), torch.ones(5, 4), torch.tensor([2]))
        >>> round(float(loss.exp()), 3)
        4.0
    """
    t1 = temperature if positive_temperature is None else positive_temperature
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
    if not negative_weight > 0:
        raise ValueError(f"the weight of the negatives must be above 0; came {negative_weight}")
    if (not isinstance(t1, Tensor) and not t1 > 0) or (users_B is not None and users_B.shape != positives_B.shape):
        raise ValueError(
            f"the positive temperature must be above 0 and users_B of shape {tuple(positives_B.shape)}; came {t1} and "
            f"{None if users_B is None else tuple(users_B.shape)}"
        )
    if all_rows is not None:
        weights_B = queries_BD.new_ones(len(queries_BD)) if weights_B is None else weights_B.to(queries_BD.dtype)
        if reduction == "mean":
            weights_B, reduction = weights_B / _total(all_rows(weights_B)), "sum"
    with torch.autocast(device_type=queries_BD.device.type, enabled=False):
        scaled_BD, wide_CD = scaled_vectors(queries_BD, candidates_CD, temperature)
        bias_C = None if counts_C is None else counts_C.to(scaled_BD.dtype).log()
        if log_q_C is not None:
            bias_C = -log_q_C.to(scaled_BD.dtype) if bias_C is None else bias_C - log_q_C
        level_B = scaled_BD.new_zeros(len(scaled_BD))
        if log_q_C is not None:
            level_B = certain_positive_logits(log_q_C, positives_B, counts_C).to(scaled_BD.dtype)
        own_B = (scaled_BD * wide_CD.index_select(0, positives_B)).sum(1)
        there_C = counts_C > 0 if counts_C is not None and (padded or counts_C.device.type != "cpu") else None
        rivals_B = _has_negatives(positives_B, masked, len(wide_CD), there_C)
        ratio = temperature / t1
        spread_B = torch.where(rivals_B, _below_the_users_mean(own_B * ratio, users_B, weights_B, all_rows), 0)
        if reduction != "none" and fits_tiles(queries_BD):
            coefficients_B = query_coefficients(weights_B, own_B.detach(), reduction)
            # so far down the exponential of the positive is 0 beside any other: the gradient is that of the negatives alone
            lengths_C = wide_CD.detach().norm(dim=1)
            if there_C is not None:
                lengths_C = lengths_C * there_C
            most_B = scaled_BD.detach().norm(dim=1) * lengths_C.amax() if len(wide_CD) else own_B.detach()
            lowest: float | Tensor = 0.0
            if bias_C is not None and len(bias_C):
                lowest = (bias_C if there_C is None else bias_C.masked_fill(~there_C, torch.inf)).min()
            own_bias_B = 0.0 if bias_C is None else bias_C.index_select(0, positives_B)
            down_B = (2 * most_B + level_B - lowest).clamp_(min=0) + 100
            negatives = tiled_cross_entropy(
                scaled_BD,
                wide_CD,
                positives_B,
                coefficients_B * rivals_B,
                bias_C=bias_C,
                own_shift_B=level_B - own_bias_B - down_B,
                masked=masked,
                precision=precision,
            )
            negatives = negatives - (down_B * coefficients_B * rivals_B).sum()
            if negative_weight != 1:
                negatives = negative_weight * negatives + (negative_weight - 1) * (own_B * coefficients_B * rivals_B).sum()
            return ratio * negatives + (spread_B * coefficients_B).sum()
        logits_BC = scaled_scores(scaled_BD, wide_CD, 1.0, bias_C, precision=precision)
        if masked is not None:
            mask_pairs_(logits_BC, masked, positives_B)
        with torch.no_grad():  # where nothing competes any number does: it is passed over
            logits_BC.scatter_(1, positives_B[:, None], torch.where(rivals_B, -torch.inf, 0.0).to(logits_BC.dtype)[:, None])
        negatives_B = negative_weight * (torch.logsumexp(logits_BC, 1) - level_B) - own_B
        return reduce_losses(torch.where(rivals_B, ratio * negatives_B, 0) + spread_B, weights_B, reduction)


def _has_negatives(positives_B: Tensor, masked: Mask | None, num_candidates: int, there_C: Tensor | None) -> Tensor:
    """Whether anything competes with each query's positive, bool ``[B]``; ``there_C``: which columns hold a candidate."""
    masked_B = torch.zeros_like(positives_B)
    if masked is not None:
        check_mask(masked, (len(positives_B), num_candidates))
    if isinstance(masked, Tensor):
        counts_BC = masked if there_C is None else masked & there_C
        masked_B = counts_BC.sum(1) - counts_BC.gather(1, positives_B[:, None]).squeeze(1).long()
    elif masked is not None:
        pairs = (masked[0].to(torch.int64) * num_candidates + masked[1]).sort().values
        rows, columns = pairs // max(1, num_candidates), pairs % max(1, num_candidates)
        counts = columns != positives_B.index_select(0, rows)
        counts[1:] &= pairs[1:] != pairs[:-1]  # of pairs that are repeated the first
        if there_C is not None:
            counts &= there_C.index_select(0, columns)
        masked_B = masked_B.index_add(0, rows, counts.long())
    num_there = num_candidates if there_C is None else there_C.sum()
    return masked_B < num_there - 1


def _total(weights: Tensor) -> Tensor:
    total = weights.sum()
    if total.device.type == "cpu" and not float(total) > 0:
        raise ValueError(
            f"the weights of a batch must add up to more than 0; came a total of {float(total)} over all processes"
        )
    return total


def _below_the_users_mean(
    scores_B: Tensor, users_B: Tensor | None, weights_B: Tensor | None, all_rows: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """A score less the logarithm of the mean exponential of its user's scores; 0 where a user has one row."""
    if users_B is None:
        return torch.zeros_like(scores_B)
    weights_B = torch.ones_like(scores_B) if weights_B is None else weights_B.to(scores_B.dtype)
    if all_rows is None:
        users_G, log_mean_G = _log_means(scores_B, users_B, weights_B)
    else:
        users_G, log_mean_G = _log_means(all_rows(scores_B), all_rows(users_B), all_rows(weights_B))
    return scores_B - log_mean_G[torch.searchsorted(users_G, users_B)]


def _log_means(scores_B: Tensor, users_B: Tensor, weights_B: Tensor) -> tuple[Tensor, Tensor]:
    """The users, rising, and where each stands first the logarithm of the mean exponential of its scores."""
    users_G = users_B.sort().values
    group_B = torch.searchsorted(users_G, users_B)
    none_G = scores_B.new_zeros(len(users_G))
    counts_B = weights_B > 0
    highest_G = (none_G - torch.inf).scatter_reduce(0, group_B, scores_B.detach().masked_fill(~counts_B, -torch.inf), "amax")
    highest_G = highest_G.masked_fill(highest_G == -torch.inf, 0)
    total_G = none_G.index_add(0, group_B, weights_B)
    below_B = torch.where(counts_B, scores_B - highest_G[group_B], 0)
    summed_G = none_G.index_add(0, group_B, weights_B * below_B.exp())
    # of a user all of whose rows weigh nothing any number does
    mean_G = torch.where(summed_G > 0, summed_G, 1).log() - torch.where(total_G > 0, total_G, 1).log()
    return users_G, highest_G + mean_G


class BilateralSoftmax(RetrievalLoss):
    """``bilateral_softmax`` with its choices made.

    Args:
        temperature: ``t2``, of the negatives. It is never learned: the loss is no likelihood, and has no best temperature.
        positive_temperature: ``t1``, of the positives. None: as ``t2``.
        negative_weight: ``w``, of the sum over the negatives.
        log_q: Whether ``forward`` is given the sampling probabilities, and corrects the negatives for them.
        reduction: See ``bilateral_softmax``.
        precision: See ``bilateral_softmax``.

    Attributes:
        needs_full_catalogue: False.
        uses_log_q: As given.
        needs_users: True.
        recordable: True.

    Raises:
        ValueError: If a temperature or the weight is not a finite number above 0.
    """

    def __init__(
        self,
        temperature: float = 1.0,
        *,
        positive_temperature: float | None = None,
        negative_weight: float = 1.0,
        log_q: bool = False,
        reduction: Reduction = "mean",
        precision: Precision = "float32",
    ) -> None:
        super().__init__()
        if not (negative_weight > 0 and math.isfinite(negative_weight)):
            raise ValueError(f"the weight of the negatives must be a finite number above 0; came {negative_weight}")
        self.negative_weight = negative_weight
        self.needs_full_catalogue = False
        self.uses_log_q = log_q
        self.needs_users = True
        self.recordable = True
        self.temperature = Temperature(temperature)
        self.positive_temperature = Temperature(temperature if positive_temperature is None else positive_temperature)
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
        users_B: Tensor | None = None,
        all_rows: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The loss of a batch; see ``bilateral_softmax``.

        Raises:
            ValueError: Also if ``log_q_C`` is missing though the loss corrects for it, or given though it does not.
        """
        if self.uses_log_q != (log_q_C is not None):
            raise ValueError(
                "log_q_C must be given exactly when the loss was made with log_q=True; it was made with "
                f"log_q={self.uses_log_q}, and log_q_C was {'given' if log_q_C is not None else 'not given'}"
            )
        return bilateral_softmax(
            queries_BD,
            candidates_CD,
            positives_B,
            users_B=users_B,
            counts_C=counts_C,
            temperature=_number(self.temperature.value()),
            positive_temperature=_number(self.positive_temperature.value()),
            negative_weight=self.negative_weight,
            log_q_C=log_q_C,
            masked=masked,
            weights_B=weights_B,
            reduction=self.reduction,
            precision=self.precision,
            padded=padded,
            all_rows=all_rows,
        )


def _number(value: Tensor) -> float | Tensor:
    """A scalar as a number, unless an accelerator would have to be asked for it."""
    return float(value) if value.device.type == "cpu" else value
