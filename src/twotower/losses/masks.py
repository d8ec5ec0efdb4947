"""Candidates that must not compete with a query's positive: probability exactly 0, gradient exactly 0.

The functions that write into the logits record nothing for autograd: they add constants (``-inf`` is one), so the gradient
of what remains passes unchanged, and that of a masked logit is its softmax, 0. A matrix of 2,048 by 1,664 logits is so
neither copied on the way forward nor on the way back.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["Mask", "check_mask", "count_own_once_", "mask_pairs_", "pairs_of", "shift_own_"]

Mask: TypeAlias = Tensor | tuple[Tensor, Tensor]
"""Pairs that must not compete: bool ``[B, C]``, or int64 ``(rows, columns)`` of equal length, in any order, repeats allowed."""


def mask_pairs_(logits_BC: Tensor, masked: Mask, positives_B: Tensor) -> Tensor:
    """Set the logits of masked pairs to ``-inf``, in place; a query's own positive is never masked.

    Args:
        logits_BC: Float, shape ``[B, C]``; changed.
        masked: The pairs. A pair of a query and its own positive is passed over.
        positives_B: int64, shape ``[B]``.

    Returns:
        ``logits_BC`` itself.

    Raises:
        ValueError: If the mask does not fit the logits.

    Example:
        >>> import torch
        >>> mask_pairs_(torch.zeros(2, 3), (torch.tensor([0, 1, 1]), torch.tensor([2, 1, 0])), torch.tensor([0, 1]))
        tensor([[0., 0., -inf],
                [-inf, 0., 0.]])
    """
    with torch.no_grad():
        own_B1 = positives_B[:, None]
        own_logits_B1 = logits_BC.gather(1, own_B1)
        check_mask(masked, logits_BC.shape)
        if isinstance(masked, Tensor):
            logits_BC.masked_fill_(masked, -torch.inf)
        else:  # a number of the host would be copied to an accelerator, which makes the host wait
            logits_BC.index_put_(masked, logits_BC.new_full((), -torch.inf))
        return logits_BC.scatter_(1, own_B1, own_logits_B1)


def pairs_of(masked: Mask, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The pairs, sorted by row.

    Args:
        masked: The pairs; on the CPU.
        shape: ``(B, C)``.

    Returns:
        int64 ``(rows, columns)``, contiguous.

    Raises:
        ValueError: If the mask does not fit the shape.

    Example:
        >>> import torch
        >>> pairs_of((torch.tensor([1, 0, 1]), torch.tensor([1, 2, 0])), (2, 3))
        (tensor([0, 1, 1]), tensor([2, 1, 0]))
    """
    check_mask(masked, shape)
    if isinstance(masked, Tensor):
        rows, columns = masked.nonzero().T.contiguous()
        return rows, columns
    rows, columns = masked
    rows, order = rows.to(torch.int64).sort(stable=True)
    return rows, columns.to(torch.int64)[order]


def count_own_once_(logits_BC: Tensor, positives_B: Tensor, log_counts_C: Tensor) -> Tensor:
    """Mask the accidental hits: other rows of the batch with a query's own positive do not compete with it.

    In the naive matrix, with one column per row of the batch, these are the other columns that hold the same candidate.
    Here each candidate is held once and its logit carries ``log n``; taking that off again at the positive leaves
    one of its ``n`` columns. In place.

    Args:
        logits_BC: Float, shape ``[B, C]``, ``log_counts_C`` already added; changed.
        positives_B: int64, shape ``[B]``.
        log_counts_C: Float, shape ``[C]``, finite.

    Returns:
        ``logits_BC`` itself.

    Example:
        >>> import torch
        >>> log_counts = torch.tensor([2.0, 1.0]).log()
        >>> count_own_once_(torch.zeros(2, 2) + log_counts, torch.tensor([0, 1]), log_counts).exp()
        tensor([[1., 1.],
                [2., 1.]])
    """
    return shift_own_(logits_BC, positives_B, -log_counts_C[positives_B])


def shift_own_(logits_BC: Tensor, positives_B: Tensor, shift_B: Tensor) -> Tensor:
    """Add a constant to the logit of each query's positive, in place.

    Args:
        logits_BC: Float, shape ``[B, C]``; changed.
        positives_B: int64, shape ``[B]``.
        shift_B: Float, shape ``[B]``, finite.

    Returns:
        ``logits_BC`` itself.
    """
    with torch.no_grad():
        return logits_BC.scatter_add_(1, positives_B[:, None], shift_B[:, None].to(logits_BC.dtype))


def check_mask(masked: Mask, shape: tuple[int, ...]) -> None:
    """Check that a mask is one of so many queries and candidates; of pairs on the CPU their values too.

    Raises:
        ValueError: If it is not.
    """
    if isinstance(masked, Tensor):
        _check_matrix(masked, shape)
    else:
        _check_pairs(*masked, shape)


def _check_matrix(masked: Tensor, shape: tuple[int, ...]) -> None:
    if masked.dtype != torch.bool or masked.shape != shape:
        raise ValueError(f"a mask must be bool of shape {tuple(shape)}; came {masked.dtype} of {tuple(masked.shape)}")


def _check_pairs(rows: Tensor, columns: Tensor, shape: tuple[int, ...]) -> None:
    if rows.dim() != 1 or rows.shape != columns.shape:
        raise ValueError(
            f"a mask of pairs must be two int64 vectors of equal length; came {tuple(rows.shape)} and {tuple(columns.shape)}"
        )
    # a negative index would wrap round and mask the wrong pair; on an accelerator this check would stall the queue
    if rows.device.type == "cpu" and rows.numel():
        for name, values, size in (("row", rows, shape[0]), ("column", columns, shape[1])):
            low, high = (int(bound) for bound in values.aminmax())
            if low < 0 or high >= size:
                raise ValueError(f"masked {name}s must be in [0, {size}); came {low} to {high}")
