"""Adam for embedding tables, whose moments move only where a sparse gradient touches."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterable
from inspect import unwrap
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from twotower.native import native_library
from twotower.optim.coalesced import padded_rows, touched_rows

__all__ = ["LazyAdam"]

_LEAST_NUMBERS = 2**17
"""Numbers to move from which threads pay."""


class LazyAdam(Optimizer):
    """Adam (Kingma and Ba, 2015) with lazy moments: a row's moments decay, and its weights move, only when it has a gradient.

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``, ``w -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)``, where
    ``t`` counts the steps of the whole table. On the rows that a batch touches that is Adam's own step from the moments that
    they have; a dense Adam would have moved all other rows too, on their old momentum, and let their moments fade. The cost of
    a step does not depend on the number of rows. A dense gradient touches every row: then it is Adam.

    Args:
        parameters: Parameters, or groups of them, as for every optimiser of torch.
        lr: Learning rate, at least 0.
        betas: ``b1`` and ``b2``, in ``[0, 1)``.
        eps: Above 0.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> import torch
        >>> table = torch.nn.Embedding(3, 2, sparse=True)
        >>> optimizer = LazyAdam(table.parameters(), lr=0.1)
        >>> before = table.weight.detach().clone()
        >>> table(torch.tensor([2, 2])).sum().backward()
        >>> optimizer.step()
        >>> (table.weight != before).any(dim=1).tolist()
        [False, False, True]
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if not (lr >= 0 and all(0 <= beta < 1 for beta in betas) and eps > 0):
            raise ValueError(f"lr must be at least 0, betas in [0, 1) and eps above 0; came {lr}, {betas} and {eps}")
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, their moments at once: a saved state is complete before the first step."""
        unwrap(Optimizer.add_param_group)(self, param_group)  # as in `uncompiled`, which can't reach a call of super
        for parameter in self.param_groups[-1]["params"]:
            self.state[parameter] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient, sparse in its first dimension or dense.

        Raises:
            ValueError: If a gradient is sparse in more dimensions.
        """
        loss: float | None = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        _move(parameter, parameter.grad, self.state[parameter], group)
        return loss


def _move(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    if isinstance(group["lr"], Tensor):
        _move_recorded(parameter, gradient, state, group)
        return
    touched = touched_rows(gradient) if gradient.is_sparse else None
    state["step"] += 1
    count = float(state["step"])
    decay_1, decay_2 = group["betas"]
    rate, root, eps = group["lr"] / (1 - decay_1**count), (1 - decay_2**count) ** 0.5, group["eps"]
    means, squares = state["exp_avg"], state["exp_avg_sq"]
    if touched is None:
        means.lerp_(gradient, 1 - decay_1)
        squares.mul_(decay_2).addcmul_(gradient, gradient, value=1 - decay_2)
        parameter.addcdiv_(means, (squares.sqrt() / root).add_(eps), value=-rate)
        return
    rows, values = touched
    if _by_kernel((parameter, means, squares), rows, values, (rate, decay_1, decay_2, root, eps)):
        return
    touched_means = means.index_select(0, rows).lerp_(values, 1 - decay_1)
    touched_squares = squares.index_select(0, rows).mul_(decay_2).addcmul_(values, values, value=1 - decay_2)
    means.index_copy_(0, rows, touched_means)
    squares.index_copy_(0, rows, touched_squares)
    moved = parameter.index_select(0, rows).addcdiv_(touched_means, (touched_squares.sqrt() / root).add_(eps), value=-rate)
    parameter.index_copy_(0, rows, moved)


def _move_recorded(parameter: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
    """As `_move`, of what a graph holds: the rate and the count are tensors, and no shape depends on values."""
    state["step"] += 1
    decay_1, decay_2 = group["betas"]
    count = state["step"].double()  # 1 - 0.999 has three digits fewer than 0.999
    rate = group["lr"] / (1 - decay_1**count).to(group["lr"].dtype)
    root = (1 - decay_2**count).sqrt().to(parameter.dtype)
    means, squares = state["exp_avg"], state["exp_avg_sq"]
    if not gradient.is_sparse:
        means.lerp_(gradient, 1 - decay_1)
        squares.mul_(decay_2).addcmul_(gradient, gradient, value=1 - decay_2)
        parameter.sub_(means.div((squares.sqrt() / root).add_(group["eps"])).mul_(rate))
        return
    rows, values, first = padded_rows(gradient)
    here = first.reshape(first.shape + (1,) * (values.dim() - 1))
    # a row that is there again must not move again: it adds 0
    old = means.index_select(0, rows)
    means.index_add_(0, rows, ((values - old) * (1 - decay_1)).mul_(here))
    old = squares.index_select(0, rows)
    squares.index_add_(0, rows, ((values * values - old) * (1 - decay_2)).mul_(here))
    steps = means.index_select(0, rows).div_((squares.index_select(0, rows).sqrt_() / root).add_(group["eps"]))
    parameter.index_add_(0, rows, steps.mul_(-rate).mul_(here))


def _by_kernel(tables: tuple[Tensor, Tensor, Tensor], rows: Tensor, values: Tensor, numbers: tuple[float, ...]) -> bool:
    """False, with nothing changed, where there is no kernel for it."""
    library = _library()
    fits = tables[0].dim() == 2 and all(each.is_contiguous() for each in tables) and rows.dtype is torch.int64
    fits = fits and values.shape == (len(rows), tables[0].shape[1]) and all(each.shape == tables[0].shape for each in tables)
    if library is None or not fits or not all(each.is_cpu and each.dtype is torch.float32 for each in (*tables, values)):
        return False
    rows, values = rows.contiguous(), values.contiguous()
    parts = torch.get_num_threads() if values.numel() >= _LEAST_NUMBERS else 1
    addresses = (each.data_ptr() for each in tables)
    outside = library.adam_rows(*addresses, *tables[0].shape, rows.data_ptr(), len(rows), values.data_ptr(), *numbers, parts)
    if outside:
        size = len(tables[0])
        raise IndexError(f"rows of a table of {size} must be in [0, {size}); came {rows.min()} to {rows.max()}")
    torch.autograd.graph.increment_version(tables)
    return True


def _library() -> ctypes.CDLL | None:
    library = native_library("adam")
    return None if library is None else _declared(library)


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, number, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    library.adam_rows.argtypes = [*[pointer] * 3, *[number] * 2, pointer, number, pointer, *[real] * 5, number]
    library.adam_rows.restype = number
    return library
