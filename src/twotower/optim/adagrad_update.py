"""One step of Adagrad on one parameter: sparse gradients touch their rows, dense ones give the same result."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from twotower.optim.coalesced import padded_rows, touched_rows
from twotower.optim.native_adagrad import update_rows

__all__ = ["update_in_place"]


def update_in_place(
    parameter: Tensor,
    accumulator: Tensor,
    squares: Callable[[Tensor], Tensor],
    lr: float | Tensor,
    eps: float,
    *,
    by_row: bool | None = None,
) -> None:
    """``a += squares(g)``, ``w -= lr * g / (sqrt(a) + eps)``; both tensors are changed.

    Args:
        parameter: With a gradient, dense, or sparse in its first dimension.
        accumulator: Shape of the parameter, or of its first dimension.
        squares: What of a gradient ``[r, ...]`` is added to the accumulators of its ``r`` rows: the squares, or their mean.
        lr: Learning rate. A tensor (a scalar): as it will be when a graph of these operations is replayed; then nothing makes
            the host wait, and no shape depends on values (`padded_rows`).
        eps: Above 0.
        by_row: Whether ``squares`` gives the mean square of each row (True) or the squares themselves (False), for which there
            is a kernel. None: something else.
    """
    gradient = parameter.grad
    assert gradient is not None
    if isinstance(lr, Tensor):
        _update_recorded(parameter, gradient, accumulator, squares, lr, eps)
        return
    if not gradient.is_sparse:
        accumulator += squares(gradient)
        parameter.addcdiv_(gradient, _spread(accumulator.sqrt().add_(eps), gradient), value=-lr)
        return
    rows, values = touched_rows(gradient)
    if by_row is not None and update_rows(parameter, accumulator, rows, values, lr, eps, by_row=by_row):
        return
    touched = accumulator.index_select(0, rows).add_(squares(values))
    accumulator.index_copy_(0, rows, touched)
    moved = parameter.index_select(0, rows).addcdiv_(values, _spread(touched.sqrt_().add_(eps), values), value=-lr)
    # every row is there once, and torch copies rows three times as fast as it adds them
    parameter.index_copy_(0, rows, moved)


def _update_recorded(
    parameter: Tensor,
    gradient: Tensor,
    accumulator: Tensor,
    squares: Callable[[Tensor], Tensor],
    lr: Tensor,
    eps: float,
) -> None:
    if not gradient.is_sparse:
        accumulator += squares(gradient)
        parameter.sub_(gradient.div(_spread(accumulator.sqrt().add_(eps), gradient)).mul_(lr))
        return
    rows, values, _ = padded_rows(gradient)
    # a row that is there again adds 0, in whatever order: rows are added, for copies of one row would be either
    accumulator.index_add_(0, rows, squares(values))
    roots = accumulator.index_select(0, rows).sqrt_().add_(eps)
    parameter.index_add_(0, rows, values.div(_spread(roots, values)).mul_(-lr))


def _spread(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(values.shape + (1,) * (like.dim() - values.dim()))
