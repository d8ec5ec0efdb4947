"""Clipping gradients by their common norm, sparse ones included."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from twotower.optim.coalesced import coalesced, padded_rows

__all__ = ["clip_gradients", "clip_recorded"]


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together, in place, so that their Euclidean norm is at most ``max_norm``.

    A sparse gradient counts as the dense one that it stands for: rows that occur several times are added up first (and
    stay so, which spares the optimiser the work).

    Args:
        parameters: Those without a gradient are passed over.
        max_norm: Above 0; infinity measures only.

    Returns:
        The norm before clipping; 0 when there is no gradient. A norm that is not finite is returned as it is and the
        gradients are left alone: what to do then is for the caller to decide.

    Raises:
        ValueError: If ``max_norm`` is not above 0.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_gradients([weight], max_norm=1.0), weight.grad.tolist()
        (5.0, [0.6000000238418579, 0.800000011920929])
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0; came {max_norm}")
    values: list[Tensor] = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            gradient = coalesced(gradient)
            parameter.grad = gradient
            values.append(gradient.values())
        else:
            values.append(gradient)
    if not values:
        return 0.0
    with torch.no_grad():
        norms = [torch.linalg.vector_norm(value, dtype=torch.promote_types(value.dtype, torch.float32)) for value in values]
        norm = float(torch.linalg.vector_norm(torch.stack([each.to(norms[0].device) for each in norms])))
        if math.isfinite(norm) and norm > max_norm:
            for value in values:
                value.mul_(max_norm / norm)
    return norm


def clip_recorded(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """As `clip_gradients`, on a device that is not waited for: the norm stays there, and no shape depends on values.

    Args:
        parameters: On one device.
        max_norm: Above 0.

    Returns:
        The norm before clipping, a scalar. One that is not finite leaves the gradients alone.

    Raises:
        ValueError: If ``max_norm`` is not above 0.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0; came {max_norm}")
    values: list[Tensor] = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        if gradient.is_sparse:
            rows, added, _ = padded_rows(gradient)
            parameter.grad = torch.sparse_coo_tensor(rows[None], added, gradient.shape, check_invariants=False)
            values.append(added)
        else:
            values.append(gradient)
    if not values:
        return torch.zeros(())
    with torch.no_grad():
        norm: Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in values]))
        scale = torch.where(norm.isfinite() & (norm > max_norm), max_norm / norm, 1.0)
        for value in values:
            value.mul_(scale)
    return norm
