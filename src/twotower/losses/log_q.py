"""Sampling probabilities of candidates, for the log-Q correction of the sampled softmax.

In a batch a popular candidate is a negative more often than a rare one. Subtracting ``log Q(candidate)`` from its logit
undoes that: the sampled softmax then estimates the full one. Bengio and Senécal (2008); Yi et al., "Sampling-bias-corrected
neural modeling for large corpus item recommendations" (RecSys 2019), equation 3. A positive is not drawn, though: it is there.
Khrylchenko et al., "Correcting the LogQ correction: revisiting sampled softmax for large-scale retrieval" (RecSys 2025,
arXiv 2507.09331).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["certain_positive_logits", "log_q_from_counts", "log_share", "mixture_log_q"]


def log_q_from_counts(counts_N: Tensor) -> Tensor:
    """Log-probability that a row drawn from the training table has each candidate as its positive.

    ``log(count / total)``. A candidate that was never counted is treated as if it had been counted once: it is at most as
    rare as the rarest one seen, and the result is never ``-inf``, which would turn a logit into ``+inf``. (Such a
    candidate can't be an in-batch negative; it gets here through extra negatives only.)

    Args:
        counts_N: Integers or floats, not negative, shape ``[N]``: rows of the training table per candidate.

    Returns:
        float32, shape ``[N]`` (float64 if the counts are), finite, at most 0.

    Raises:
        ValueError: If a count is negative or not finite, or all are 0.

    Example:
        >>> import torch
        >>> log_q_from_counts(torch.tensor([6, 2, 0])).exp()
        tensor([0.7500, 0.2500, 0.1250])
    """
    counts64_N = counts_N.to(torch.float64)
    wrong = (~torch.isfinite(counts64_N) | (counts64_N < 0)).nonzero().flatten().tolist()
    if wrong:
        raise ValueError(f"counts must be finite and not negative; came {counts_N[wrong[0]].item()} at row {wrong[0]}")
    total = float(counts64_N.sum())
    if total <= 0:
        raise ValueError(
            f"counts must add up to more than 0; came {counts_N.shape[0]} counts, none above 0: count the train rows"
        )
    log_q_N = log_share(counts64_N, total)
    return log_q_N if counts_N.dtype == torch.float64 else log_q_N.to(torch.float32)


def log_share(counts64_N: Tensor, total: float) -> Tensor:
    """``log(count / total)``, at most 0, float64; a count of 0 is taken for 1."""
    return torch.where(counts64_N == 0, 1.0, counts64_N).div_(total).clamp_(max=1.0).log_()


def mixture_log_q(in_batch_log_q_C: Tensor, batch_size: int, num_uniform: int, catalogue_size: int) -> Tensor:
    """Log-probability under in-batch and uniformly drawn negatives together.

    ``Q = (B p + U / N) / (B + U)``: of ``B + U`` negatives, ``B`` follow the popularity ``p`` and ``U`` are uniform over
    the ``N`` candidates. Yang et al., "Mixed negative sampling for learning two-tower neural networks in
    recommendations" (WWW 2020), section 3.

    Args:
        in_batch_log_q_C: ``log p``, shape ``[C]``, from ``log_q_from_counts``.
        batch_size: ``B``, at least 1.
        num_uniform: ``U``, at least 0; with 0 the result is ``log p``.
        catalogue_size: ``N``, at least 1.

    Returns:
        Same shape and dtype as ``in_batch_log_q_C``.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> import torch
        >>> mixture_log_q(torch.tensor([0.5, 0.1]).log(), batch_size=30, num_uniform=10, catalogue_size=20).exp()
        tensor([0.3875, 0.0875])
    """
    if batch_size < 1 or num_uniform < 0 or catalogue_size < 1:
        raise ValueError(
            "batch_size and catalogue_size must be at least 1 and num_uniform at least 0; "
            f"came {batch_size}, {catalogue_size} and {num_uniform}"
        )
    if num_uniform == 0:
        return in_batch_log_q_C.clone()
    log_uniform = in_batch_log_q_C.new_tensor(math.log(num_uniform / catalogue_size))
    return torch.logaddexp(in_batch_log_q_C + math.log(batch_size), log_uniform) - math.log(batch_size + num_uniform)


def certain_positive_logits(log_q_C: Tensor, positives_B: Tensor, counts_C: Tensor | None = None) -> Tensor:
    """What is added to the logit of each query's positive, where negatives have ``log n - log Q`` and the positive is no draw.

    Of the draws, the ``m = sum_c n_c - n_p`` that are not the positive follow ``Q'(c) = Q(c) / (1 - Q(p))``, so that
    ``Z = 1/m sum_{c != p} n_c exp(s_c) / Q'(c)`` estimates the sum over all items but the positive, and
    ``P = exp(s_p) / (exp(s_p) + Z)`` the full softmax's probability, with a bias of the order of ``1/m``. Times
    ``m / (1 - Q(p))``, numerator and denominator are those of a softmax over ``s_c + log n_c - log Q(c)`` and, at the positive,
    ``s_p + log m - log(1 - Q(p))``.

    Args:
        log_q_C: ``log Q``, float, shape ``[C]``.
        positives_B: int64, shape ``[B]``: column of each query's positive.
        counts_C: How often each candidate was drawn, at least 1, shape ``[C]``. None: once each.

    Returns:
        ``log m - log(1 - Q(p))``, shape ``[B]``, of the type of ``log_q_C``; finite. Where nothing but the positive was drawn,
        ``m`` is taken for 1: there is nothing to compare it with.

    Example:
        >>> import torch
        >>> certain_positive_logits(torch.tensor([0.5, 0.25, 0.25]).log(), torch.tensor([0, 1])).exp()
        tensor([4.0000, 2.6667])
    """
    q_C = log_q_C.to(torch.float64).exp()
    counts64_C = torch.ones_like(q_C) if counts_C is None else counts_C.to(torch.float64)
    others_C = (counts64_C.sum() - counts64_C).clamp_(min=1).log_() - torch.log1p(-q_C.clamp_(max=1 - 1e-9))
    return others_C.index_select(0, positives_B).to(log_q_C.dtype)
