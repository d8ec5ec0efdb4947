"""A tower by a kernel in C: lookups, pooling and dense layers in one pass over the rows, and all gradients in another.

Of a few thousand rows the numbers take a fraction of a millisecond, and so do the calls of the dozens of operations that torch
makes of a tower.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from twotower.native import native_library
from twotower.nn.lookup import Lookup
from twotower.nn.untraced import untraced

__all__ = ["run_native_tower"]

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_LEAST_PRODUCTS = 2**20
"""Products from which threads pay."""
_WIDEST = 512
"""Layers up to which the kernel was measured to be the quicker one."""
_POOLINGS = {None: 0, "sum": 0, "mean": 1, "sqrt_n": 2}


Given: TypeAlias = Lookup | Tensor


def run_native_tower(inputs: Sequence[Given], weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor | None:
    """``relu(... relu(x W1^T + b1) ...) Wn^T + bn`` of the inputs side by side; there is no second derivative.

    Tables get dense gradients. Each number is added up by one thread, in one order: bits do not depend on how many there are.

    Args:
        inputs: Lookups, and float32 ``[n, width]``.
        weights: Of each layer, float32 ``[its outputs, its inputs]``.
        biases: Of each layer, float32 ``[its outputs]``.

    Returns:
        ``[n, outputs of the last layer]``; None where there is no kernel for it, or something looks into operations of torch.

    Raises:
        IndexError: If a value is not a row of its table.
    """
    library = native_library("tower")
    numbers = [each.table if isinstance(each, Lookup) else each for each in inputs]
    if library is None or not weights or torch.is_autocast_enabled("cpu") or not untraced((*numbers, *weights, *biases)):
        return None
    if len({_rows(each) for each in inputs}) != 1:
        return None
    if any(each.dim() != 2 for each in (*numbers, *weights)):
        return None
    widths = [sum(each.shape[1] for each in numbers), *(weight.shape[0] for weight in weights)]
    layers = zip(weights, biases, widths, strict=False)
    if any(weight.shape[1] != width or bias.shape != weight.shape[:1] for weight, bias, width in layers):
        return None
    if len(biases) != len(weights) or not 0 < min(widths) <= max(widths) <= _WIDEST:
        return None
    if not all(each.dtype is torch.float32 for each in (*numbers, *weights, *biases)):
        return None
    output: Tensor = _Tower.apply(library, inputs, widths, *numbers, *weights, *biases)  # type: ignore[no-untyped-call]
    return output


class _Tower(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, library: ctypes.CDLL, inputs: Sequence[Given], widths: list[int], *given: Tensor) -> Tensor:
        tensors = [each.contiguous() for each in given]
        indices = [_indices(each) for each in inputs]
        rows = _rows(inputs[0])
        joined = torch.empty(rows, widths[0], dtype=torch.float32)
        outputs = [torch.empty(rows, width, dtype=torch.float32) for width in widths[1:]]
        call = _Call(library, inputs, indices, tensors, widths, outputs)
        call.forward(joined)
        ctx.call = call
        ctx.save_for_backward(joined, *tensors, *outputs[:-1])
        return outputs[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BD: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # refuses what was changed since
        call: _Call = ctx.call
        return None, None, None, *call.backward(grad_BD.contiguous(), saved[0], ctx.needs_input_grad[3:])


class _Call:
    """The arguments of both passes; it holds what they point to, but for the outputs."""

    def __init__(
        self,
        library: ctypes.CDLL,
        inputs: Sequence[Given],
        indices: list[tuple[Tensor | None, Tensor | None]],
        tensors: list[Tensor],
        widths: list[int],
        outputs: list[Tensor],
    ) -> None:
        self.library, self.tensors, self.indices, self.widths = _declared(library), tensors, indices, widths
        self.num_inputs, num_layers = len(inputs), len(outputs)
        self.rows = len(outputs[0])
        self.inputs = (_Input * self.num_inputs)(
            *(_input(*each) for each in zip(tensors[: self.num_inputs], inputs, indices, strict=True))
        )
        layers = zip(tensors[self.num_inputs :][:num_layers], tensors[self.num_inputs + num_layers :], outputs, strict=True)
        self.layers = (_Layer * num_layers)(
            *(_Layer(weight.data_ptr(), bias.data_ptr(), len(bias), output.data_ptr()) for weight, bias, output in layers)
        )
        products = self.rows * sum(one * other for one, other in itertools.pairwise(widths))
        self.parts = torch.get_num_threads() if products >= _LEAST_PRODUCTS else 1
        self.room = torch.empty(self.library.tower_room(widths[0], self.layers, num_layers), dtype=torch.float32)

    def forward(self, joined: Tensor) -> None:
        wrong = self.library.tower_forward(
            *(self.inputs, self.num_inputs, self.layers, len(self.layers), self.rows, self.widths[0], self.parts),
            *(self.room.data_ptr(), joined.data_ptr()),
        )
        if wrong:
            input, (values, offsets) = self.inputs[wrong - 1], self.indices[wrong - 1]
            assert values is not None
            came = f"{values.min()} to {values.max()}" if len(values) else "none"
            bags = "" if offsets is None else f", in bags from {offsets[0]} to {offsets[-1]} of {len(values)}"
            raise IndexError(
                f"rows of a table of {input.rows} must be in [0, {input.rows}), in bags that are end to end; came {came}{bags}"
            )

    def backward(self, grad_BD: Tensor, joined: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
        width = self.widths[0]
        grads: list[Tensor | None] = [
            (torch.zeros_like(each) if at < self.num_inputs and self.indices[at][0] is not None else torch.empty_like(each))
            if wants or at >= self.num_inputs
            else None
            for at, (each, wants) in enumerate(zip(self.tensors, wanted, strict=True))
        ]
        addresses = [None if grad is None else grad.data_ptr() for grad in grads]
        hidden = [torch.empty(self.rows, each, dtype=torch.float32) for each in self.widths[1:-1]]
        for at in range(self.num_inputs):
            self.inputs[at].grad = addresses[at]
        first, num_layers = self.num_inputs, len(self.layers)
        for at, layer in enumerate(self.layers):
            layer.outputs_grad = hidden[at].data_ptr() if at < len(hidden) else None
            layer.weights_grad, layer.bias_grad = addresses[first + at], addresses[first + num_layers + at]
        joined_grad = torch.empty(self.rows, width, dtype=torch.float32) if any(wanted[:first]) else None
        self.library.tower_backward(
            *(grad_BD.data_ptr(), self.inputs, first, self.layers, num_layers, self.rows, width, self.parts),
            *(self.room.data_ptr(), joined.data_ptr(), None if joined_grad is None else joined_grad.data_ptr()),
        )
        return grads


class _Input(ctypes.Structure):
    _fields_ = (
        ("numbers", _POINTER),
        ("rows", _NUMBER),
        ("dim", _NUMBER),
        ("values", _POINTER),
        ("count", _NUMBER),
        ("offsets", _POINTER),
        ("pooling", _NUMBER),
        ("scale", ctypes.c_float),
        ("grad", _POINTER),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        ("weights", _POINTER),
        ("bias", _POINTER),
        ("width", _NUMBER),
        ("outputs", _POINTER),
        ("outputs_grad", _POINTER),
        ("weights_grad", _POINTER),
        ("bias_grad", _POINTER),
    )


def _rows(given: Given) -> int:
    if isinstance(given, Lookup):
        return len(given.values) if given.offsets is None else len(given.offsets) - 1
    return len(given)


def _indices(given: Given) -> tuple[Tensor | None, Tensor | None]:
    if not isinstance(given, Lookup):
        return None, None
    return (
        given.values.to(torch.int64).contiguous(),
        None if given.offsets is None else given.offsets.to(torch.int64).contiguous(),
    )


def _input(numbers: Tensor, given: Given, indices: tuple[Tensor | None, Tensor | None]) -> _Input:
    values, offsets = indices
    if values is None or not isinstance(given, Lookup):
        return _Input(numbers.data_ptr(), *numbers.shape, None, 0, None, -1, 1.0)
    bags = None if offsets is None else offsets.data_ptr()
    shape = (numbers.data_ptr(), *numbers.shape, values.data_ptr(), len(values))
    return _Input(*shape, bags, _POOLINGS[given.pooling], given.scale)


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.tower_room.argtypes = [_NUMBER, _POINTER, _NUMBER]
    library.tower_room.restype = _NUMBER
    library.tower_forward.argtypes = [_POINTER, _NUMBER, _POINTER, *[_NUMBER] * 4, *[_POINTER] * 2]
    library.tower_forward.restype = _NUMBER
    library.tower_backward.argtypes = [*[_POINTER] * 2, _NUMBER, _POINTER, *[_NUMBER] * 4, *[_POINTER] * 3]
    library.tower_backward.restype = None
    return library
