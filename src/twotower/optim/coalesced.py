"""The rows that a sparse gradient touches, each once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from twotower.padded_distinct import padded_distinct

__all__ = ["coalesced", "padded_rows", "touched_rows"]


def coalesced(gradient: Tensor) -> Tensor:
    """The same gradient with each of its rows once, ascending: what ``gradient.coalesce()`` gives, in half of its time.

    Rows are put in order by their numbers alone, and those of one number are added up in one pass over the values, where torch
    adds row to row in a loop.

    Args:
        gradient: Sparse, values ``[m, ...]``. One that is sparse in more than its first dimension is left to torch.

    Returns:
        A sparse tensor, coalesced; ``gradient`` itself when it is. Equal rows are added up in the order in which they come.
    """
    if gradient.is_coalesced():
        return gradient
    if gradient.sparse_dim() != 1:
        return gradient.coalesce()
    # torch gives rows and values of a tensor that is not coalesced under these names only
    rows, values = gradient._indices()[0], gradient._values()
    if bool((rows[1:] > rows[:-1]).all()):
        # autograd forgets that what it was given is coalesced
        return torch.sparse_coo_tensor(rows[None], values, gradient.shape, is_coalesced=True, check_invariants=False)
    ordered, places = rows.sort(stable=True)
    distinct, counts = torch.unique_consecutive(ordered, return_counts=True)
    offsets = torch.zeros(len(counts) + 1, dtype=torch.int64, device=rows.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    flat = values.reshape(len(values), -1)
    added = F.embedding_bag(places, flat, offsets, mode="sum", include_last_offset=True)
    return torch.sparse_coo_tensor(
        distinct[None], added.reshape(-1, *values.shape[1:]), gradient.shape, is_coalesced=True, check_invariants=False
    )


def touched_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """What a sparse gradient touches.

    Args:
        gradient: Sparse in its first dimension.

    Returns:
        Rows, int64 ``[r]``, ascending and distinct; and their gradients, ``[r, ...]``.

    Raises:
        ValueError: If it is sparse in more dimensions: then it does not have whole rows.
    """
    _check_rows(gradient)
    gradient = coalesced(gradient)
    return gradient.indices()[0], gradient.values()


def padded_rows(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a sparse gradient touches, in as many rows as it has values: no shape depends on which rows these are.

    So the host need not know how many are distinct, and a CUDA graph can hold what is done with them. What has no row of its
    own left comes last: it has the number of a row that is there, a gradient of 0, and is to change nothing.

    Args:
        gradient: Sparse in its first dimension, of ``m`` values.

    Returns:
        Rows, int64 ``[m]``; their gradients, ``[m, ...]``, each row's added up at its first place; and bool ``[m]``, where a
        row is at its first place.

    Raises:
        ValueError: If it is sparse in more dimensions.

    Example:
        >>> values = torch.tensor([[1.0], [2.0], [3.0]])
        >>> gradient = torch.sparse_coo_tensor(torch.tensor([[4, 1, 4]]), values, (6, 1), check_invariants=True)
        >>> rows, values, first = padded_rows(gradient)
        >>> rows.tolist(), values.tolist(), first.tolist()
        ([1, 4, 1], [[2.0], [4.0], [0.0]], [True, True, False])
    """
    _check_rows(gradient)
    if gradient.is_coalesced():
        rows, values = gradient.indices()[0], gradient.values()
        return rows, values, torch.ones_like(rows, dtype=torch.bool)
    values = gradient._values()
    distinct = padded_distinct(gradient._indices()[0])
    flat = values.reshape(len(values), -1)
    added = F.embedding_bag(distinct.order, flat, distinct.starts, mode="sum", include_last_offset=True)
    return distinct.values, added.reshape(values.shape), distinct.counts > 0


def _check_rows(gradient: Tensor) -> None:
    if gradient.sparse_dim() != 1:
        raise ValueError(
            f"a sparse gradient must hold whole rows, with 1 sparse dimension; came {gradient.sparse_dim()} of "
            f"{gradient.dim()}, as dense.to_sparse() makes them: use dense.to_sparse(1)"
        )
