"""Rows of a table: one for each value, or one vector from any number of them."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from twotower.filled import Filled
from twotower.nn.native_pool import can_pool, native_pool
from twotower.padded_distinct import padded_distinct
from twotower.types import Ragged

__all__ = ["look_up_rows", "pool_rows"]


def look_up_rows(table_VD: Tensor, rows: Tensor, *, sparse: bool = False) -> Tensor:
    """Rows of a table.

    Args:
        table_VD: The embedding table.
        rows: Integers in ``[0, V)``, shape ``[n]``.
        sparse: Whether the table's gradient holds only the rows that were looked up.

    Returns:
        ``[n, D]``.
    """
    learns = torch.is_grad_enabled() and table_VD.requires_grad
    if learns and not sparse and rows.dim() == 1 and not rows.is_floating_point():
        offsets, values = torch.arange(len(rows) + 1, device=rows.device), rows.to(torch.int64)
        if can_pool(table_VD, values, offsets):  # torch adds the gradient up with one thread, and slowly
            return native_pool(table_VD, values, offsets, mean=False)
    return F.embedding(rows, table_VD, sparse=sparse)


def pool_rows(table_VD: Tensor, rows: Ragged, pooling: Literal["mean", "sum", "sqrt_n"], *, sparse: bool = False) -> Tensor:
    """Look rows up in a table and pool them, without materialising the rows.

    Args:
        table_VD: The embedding table.
        rows: Ragged integer rows in ``[0, V)``.
        pooling: ``sum``; ``mean`` = sum / length; ``sqrt_n`` = sum / sqrt(length).
        sparse: Whether the table's gradient holds only the rows that were looked up, each once (there is no second derivative).

    Returns:
        ``[n, D]``; an empty row is pooled to zeros.
    """
    # for int32 torch has no fast path on the CPU: ten times slower than the copy
    values = rows.values if rows.values.dtype == torch.int64 else rows.values.to(torch.int64)
    mean = pooling == "mean"
    if isinstance(rows, Filled):
        pooled_BD = cast("Tensor", _PooledFilled.apply(table_VD, values, rows.offsets, mean, sparse))  # type: ignore[no-untyped-call]
    elif sparse and torch.is_grad_enabled():
        pooled_BD = cast("Tensor", _PooledRows.apply(table_VD, values, rows.offsets, mean))  # type: ignore[no-untyped-call]
    elif not sparse and can_pool(table_VD, values, rows.offsets):
        pooled_BD = native_pool(table_VD, values, rows.offsets, mean=mean)
    else:
        pooled_BD = _pooled(table_VD, values, rows.offsets, mean=mean)
    if pooling == "sqrt_n":
        pooled_BD = pooled_BD / rows.lengths.clamp(min=1).to(pooled_BD.dtype).sqrt().unsqueeze(1)
    return pooled_BD


def _pooled(table_VD: Tensor, values: Tensor, offsets: Tensor, *, mean: bool) -> Tensor:
    return F.embedding_bag(values, table_VD, offsets, mode="mean" if mean else "sum", include_last_offset=True)


class _PooledRows(torch.autograd.Function):
    """Pooling whose gradient has each row once.

    Torch's own writes a row of gradient for every value, for the optimiser to sort and add up. The gradient of a row is itself
    a pooling, of the gradients of the bags that it is in; nothing longer than the distinct rows is written.
    """

    @staticmethod
    def forward(ctx: Any, table_VD: Tensor, values: Tensor, offsets: Tensor, mean: bool) -> Tensor:
        ctx.save_for_backward(values, offsets)
        ctx.shape, ctx.mean = table_VD.shape, mean
        return _pooled(table_VD, values, offsets, mean=mean)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BD: Tensor) -> tuple[Tensor | None, ...]:
        values, offsets = ctx.saved_tensors
        lengths = offsets[1:] - offsets[:-1]
        if ctx.mean:
            grad_BD = grad_BD / lengths.clamp(min=1).to(grad_BD.dtype).unsqueeze(1)
        ordered, places = values.sort(stable=True)
        rows, counts = torch.unique_consecutive(ordered, return_counts=True)
        bags = torch.repeat_interleave(torch.arange(len(lengths), device=values.device), lengths)[places]
        starts = torch.zeros(len(rows) + 1, dtype=torch.int64, device=values.device)
        torch.cumsum(counts, 0, out=starts[1:])
        gradient = torch.sparse_coo_tensor(
            rows[None],
            _pooled(grad_BD.contiguous(), bags, starts, mean=False),
            ctx.shape,
            is_coalesced=True,
            check_invariants=False,
        )
        return gradient, None, None, None


class _PooledFilled(torch.autograd.Function):
    """Pooling of rows that are filled up: no shape depends on values, and the host is asked for none.

    What fills is pooled beside, in bags that nobody reads, and its part of the gradient is 0.
    """

    @staticmethod
    def forward(ctx: Any, table_VD: Tensor, values: Tensor, offsets: Tensor, mean: bool, sparse: bool) -> Tensor:
        ctx.save_for_backward(values, offsets)
        ctx.shape, ctx.mean, ctx.sparse = table_VD.shape, mean, sparse
        if not len(values) or len(offsets) == 1:
            return table_VD.new_zeros(len(offsets) - 1, table_VD.shape[1])
        return _pooled(table_VD, values, Filled(values, offsets).bags(), mean=mean)[: len(offsets) - 1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BD: Tensor) -> tuple[Tensor | None, ...]:
        values, offsets = ctx.saved_tensors
        if ctx.mean:
            grad_BD = grad_BD / (offsets[1:] - offsets[:-1]).clamp(min=1).to(grad_BD.dtype).unsqueeze(1)
        wide_BD = torch.cat([grad_BD, grad_BD.new_zeros(1, grad_BD.shape[1])])
        bags = Filled(values, offsets).row_of_values()
        if ctx.sparse:
            rows = wide_BD.index_select(0, bags)
            return torch.sparse_coo_tensor(values[None], rows, ctx.shape, check_invariants=False), None, None, None, None
        found = padded_distinct(values)
        gradient = grad_BD.new_zeros(ctx.shape)
        if len(values):  # each row is added once, and what only fills adds 0: the order does not matter
            gradient.index_add_(0, found.values, _pooled(wide_BD, bags[found.order], found.starts, mean=False))
        return gradient, None, None, None, None
