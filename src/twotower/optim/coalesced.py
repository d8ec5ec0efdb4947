"""The rows that a sparse gradient touches, each once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["coalesced", "touched_rows"]


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
    if gradient.sparse_dim() != 1:
        raise ValueError(
            f"a sparse gradient must hold whole rows, with 1 sparse dimension; came {gradient.sparse_dim()} of "
            f"{gradient.dim()}, as dense.to_sparse() makes them: use dense.to_sparse(1)"
        )
    gradient = coalesced(gradient)
    return gradient.indices()[0], gradient.values()
