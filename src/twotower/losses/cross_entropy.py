"""The last step of every retrieval loss: cross-entropy of each query's positive against what competes with it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Reduction", "query_coefficients", "reduce_losses", "softmax_cross_entropy"]

Reduction: TypeAlias = Literal["mean", "sum", "none"]
"""From one loss per query to what is returned: the weighted mean, the weighted sum, or the weighted losses themselves."""


def softmax_cross_entropy(
    logits_BC: Tensor,
    positives_B: Tensor,
    *,
    log_counts: Tensor | None = None,
    weights_B: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Softmax cross-entropy over candidates that may stand for several equal ones.

    ``loss_i = logsumexp_c(logit_ic + log n_ic) - logit_i,positive``. A candidate that would fill ``n`` columns of the
    naive matrix of logits is held once, with ``log n``: value and gradient are those of the naive matrix, where the
    positive is *one* of the ``n`` columns.

    Args:
        logits_BC: Float, shape ``[B, C]``, after temperature and corrections. A masked candidate has ``-inf``, so its
            probability and its gradient are exactly 0; a positive must be finite.
        positives_B: int64, shape ``[B]``: the column of each query's positive.
        log_counts: Logarithm of how often each candidate competes, shape ``[C]`` or ``[B, C]``; ``-inf`` for never, but
            finite at the positives. None: once each.
        weights_B: Weight of each query, not negative, shape ``[B]``. None: 1 each.
        reduction: See ``reduce_losses``.

    Returns:
        A scalar, or shape ``[B]`` for ``"none"``. Never negative but for rounding. A query alone with its positive loses 0.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.0]])
        >>> softmax_cross_entropy(logits, torch.tensor([0])).exp()
        tensor(2.)
        >>> softmax_cross_entropy(logits, torch.tensor([0]), log_counts=torch.tensor([1.0, 3.0]).log()).exp()
        tensor(4.)
    """
    if log_counts is None:
        losses_B = F.cross_entropy(logits_BC, positives_B, reduction="none")
    else:
        own_B1 = positives_B[:, None]
        own_log_counts_B = log_counts[positives_B] if log_counts.dim() == 1 else log_counts.gather(1, own_B1).squeeze(1)
        losses_B = F.cross_entropy(logits_BC + log_counts, positives_B, reduction="none") + own_log_counts_B
    return reduce_losses(losses_B, weights_B, reduction)


def reduce_losses(losses_B: Tensor, weights_B: Tensor | None, reduction: Reduction) -> Tensor:
    """Weight the loss of each query and reduce.

    Args:
        losses_B: Float, shape ``[B]``.
        weights_B: Weight of each query, not negative, shape ``[B]``, or None for 1 each. A weight of 0 drops the query.
        reduction: ``"mean"`` is ``sum(w * loss) / sum(w)``, so that the size of the step does not depend on the scale of
            the weights; ``"sum"`` is ``sum(w * loss)`` (what Keras' ``SUM`` reduction gives); ``"none"`` is ``w * loss``.

    Raises:
        ValueError: If there is nothing to average: no query, or weights that add up to nothing positive. On an accelerator
            weights are not looked at, which would make the host wait: the mean of nothing is NaN there.

    Example:
        >>> import torch
        >>> reduce_losses(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 1.0]), "mean")
        tensor(2.)
    """
    if reduction == "none":
        return losses_B if weights_B is None else losses_B * weights_B.to(losses_B.dtype)
    return (losses_B * query_coefficients(weights_B, losses_B, reduction)).sum()


def query_coefficients(weights_B: Tensor | None, like_B: Tensor, reduction: Reduction) -> Tensor:
    """What each query's loss counts in the reduced one, shape ``[B]``, of the type of ``like_B``.

    Args:
        weights_B: As for ``reduce_losses``.
        like_B: Any tensor of ``B`` rows.
        reduction: ``"mean"`` or ``"sum"``.

    Raises:
        ValueError: As ``reduce_losses``.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none'; came {reduction!r}")
    count = like_B.shape[0]
    if reduction == "mean" and count == 0:
        raise ValueError("a mean loss needs at least one query; came a batch of 0: skip empty batches, or reduce with 'sum'")
    weights_B = like_B.new_ones(count) if weights_B is None else weights_B.to(like_B.dtype)
    if reduction == "sum":
        return weights_B
    total = weights_B.sum()
    if total.device.type == "cpu" and not float(total) > 0:
        raise ValueError(
            f"the weights of a batch must add up to more than 0; came a total of {float(total)} over {count} "
            "queries: leave rows of weight 0 out of training, or reduce with 'sum'"
        )
    return weights_B / total
