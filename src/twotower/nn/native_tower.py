"""A tower by a kernel in C: lookups, pooling and dense layers in one pass over the rows, and all gradients in another.

Of a few thousand rows the numbers take a fraction of a millisecond, and so do the calls of the dozens of operations that torch
makes of a tower.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Iterator, Sequence
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
_CPU = torch.device("cpu")
_WHOLE = frozenset((torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8))
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
    indices = [
        each for given in inputs if isinstance(given, Lookup) for each in (given.values, given.offsets) if each is not None
    ]
    floats = (*numbers, *weights, *biases)
    if library is None or not weights or any(isinstance(each, Lookup) and each.filled for each in inputs):
        return None
    if torch.is_autocast_enabled("cpu") or not untraced((*floats, *indices)):
        return None
    if not all(each.dim() == 1 and each.dtype in _WHOLE for each in indices):
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
    if not all(each.dtype is torch.float32 for each in floats):
        return None
    output: Tensor = _Tower.apply(library, inputs, indices, widths, *floats)  # type: ignore[no-untyped-call]
    return output


class _Tower(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, library: ctypes.CDLL, inputs: Sequence[Given], indices: list[Tensor], widths: list[int], *floats: Tensor
    ) -> Tensor:
        read = [*(each.contiguous() for each in floats), *(each.to(torch.int64).contiguous() for each in indices)]
        # the device is named, since a program may have set another one for what it makes
        made = [torch.empty(_rows(inputs[0]), width, dtype=torch.float32, device=_CPU) for width in widths]
        call = _Call(library, inputs, read, made)
        call.forward(read, made[0])
        ctx.call = call
        # all that gradients are made of: torch tells what was changed since, and may keep it elsewhere or make it once more
        ctx.save_for_backward(*read, *made[:-1])
        return made[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BD: Tensor) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        return None, None, None, None, *call.backward(ctx.saved_tensors, grad_BD.contiguous(), ctx.needs_input_grad[4:])


class _Call:
    """The arguments of both passes. No tensor is held: the second pass is given again what the first one read and made.

    Args:
        library: The kernel's.
        inputs: As they came.
        read: Numbers and tables of all inputs, weights, biases; then values and offsets of the lookups.
        made: The inputs side by side, and the output of each layer.
    """

    def __init__(self, library: ctypes.CDLL, inputs: Sequence[Given], read: list[Tensor], made: list[Tensor]) -> None:
        self.library, self.widths, self.rows = _declared(library), [each.shape[1] for each in made], len(made[0])
        self.addresses = [each.data_ptr() for each in (*read, *made)]
        first, num_layers = len(inputs), len(made) - 1
        place, entries, self.num_indices = first + 2 * num_layers, [], []
        for each, numbers, address in zip(inputs, read, self.addresses, strict=False):
            if isinstance(each, Lookup):
                count = 1 if each.offsets is None else 2
                indices = self.addresses[place], len(read[place]), None if count == 1 else self.addresses[place + 1]
                entries.append(_Input(address, *numbers.shape, *indices, _POOLINGS[each.pooling], each.scale))
            else:
                count = 0
                entries.append(_Input(address, *numbers.shape, None, 0, None, -1, 1.0))
            self.num_indices.append(count)
            place += count
        self.inputs = (_Input * first)(*entries)
        weights, biases, outputs = (self.addresses[start:] for start in (first, first + num_layers, place + 1))
        self.layers = (_Layer * num_layers)(*map(_Layer, weights, biases, self.widths[1:], outputs))
        self.room = self.library.tower_room(self.widths[0], self.layers, num_layers)
        products = self.rows * sum(one * other for one, other in itertools.pairwise(self.widths))
        self.parts = torch.get_num_threads() if products >= _LEAST_PRODUCTS else 1

    def _point(self, inputs: ctypes.Array[_Input], layers: ctypes.Array[_Layer], addresses: Sequence[int]) -> None:
        """Let the arguments point to other tensors: ``read``, and then ``made`` but for the last."""
        first, place = len(inputs), len(inputs) + 2 * len(layers)
        for input, count, numbers in zip(inputs, self.num_indices, addresses, strict=False):
            input.numbers = numbers
            input.values, input.offsets = (*addresses[place : place + count], None, None)[:2]
            place += count
        for at, (layer, outputs) in enumerate(zip(layers, (*addresses[place + 1 :], None), strict=False)):
            layer.weights, layer.bias, layer.outputs = addresses[first + at], addresses[first + len(layers) + at], outputs

    def forward(self, read: Sequence[Tensor], joined: Tensor) -> None:
        inputs, layers, room = self.inputs, self.layers, self._room()
        wrong = self.library.tower_forward(
            *(inputs, len(inputs), layers, len(layers), self.rows, self.widths[0], self.parts),
            *(room.data_ptr(), joined.data_ptr()),
        )
        if wrong:
            raise IndexError(self._wrong(wrong - 1, read))

    def backward(self, saved: Sequence[Tensor], grad_BD: Tensor, wanted: Sequence[bool]) -> list[Tensor | None]:
        num_inputs, num_layers, width = len(self.inputs), len(self.layers), self.widths[0]
        joined, *outputs = saved[len(saved) - num_layers :]
        (inputs, layers), room = self._arguments_of(saved), self._room()
        grads: list[Tensor | None] = [
            (torch.zeros_like(each) if at < num_inputs and self.num_indices[at] else torch.empty_like(each))
            if wants or at >= num_inputs
            else None
            for at, (each, wants) in enumerate(zip(saved, wanted, strict=False))
        ]
        addresses = [None if grad is None else grad.data_ptr() for grad in grads]
        hidden = [torch.empty_like(each) for each in outputs]
        for at in range(num_inputs):
            inputs[at].grad = addresses[at]
        for at, layer in enumerate(layers):
            layer.outputs_grad = hidden[at].data_ptr() if at < len(hidden) else None
            layer.weights_grad, layer.bias_grad = addresses[num_inputs + at], addresses[num_inputs + num_layers + at]
        joined_grad = torch.empty_like(joined) if any(wanted[:num_inputs]) else None
        wrong = self.library.tower_backward(
            *(grad_BD.data_ptr(), inputs, num_inputs, layers, num_layers, self.rows, width, self.parts),
            *(room.data_ptr(), joined.data_ptr(), None if joined_grad is None else joined_grad.data_ptr()),
        )
        if wrong:
            raise IndexError(self._wrong(wrong - 1, saved))
        return grads

    def _arguments_of(self, saved: Sequence[Tensor]) -> tuple[ctypes.Array[_Input], ctypes.Array[_Layer]]:
        """Those of the first pass, copied; they point to other tensors where torch gives back others than it was given."""
        addresses = [each.data_ptr() for each in saved]
        inputs, layers = type(self.inputs).from_buffer_copy(self.inputs), type(self.layers).from_buffer_copy(self.layers)
        if addresses != self.addresses[:-1]:
            for each, (*shape, dtype) in zip(saved, self._expected(), strict=True):
                if [*each.shape] != shape or each.dtype is not dtype or each.device.type != "cpu" or not each.is_contiguous():
                    raise RuntimeError(
                        f"what is kept for a gradient must come back as it was, contiguous {dtype} {shape} on the CPU; "
                        f"came {each.dtype} {[*each.shape]} on {each.device}"
                    )
            self._point(inputs, layers, addresses)
        return inputs, layers

    def _expected(self) -> Iterator[tuple[Any, ...]]:
        """Shape and type of what is kept for the second pass."""
        yield from ((each.rows, each.dim, torch.float32) for each in self.inputs)
        yield from ((to, start, torch.float32) for start, to in itertools.pairwise(self.widths))
        yield from ((width, torch.float32) for width in self.widths[1:])
        for input, count in zip(self.inputs, self.num_indices, strict=True):
            yield from [(input.count, torch.int64), (self.rows + 1, torch.int64)][:count]
        yield from ((self.rows, width, torch.float32) for width in self.widths[:-1])

    def _room(self) -> Tensor:
        """What the kernel wants for itself."""
        return torch.empty(self.room, dtype=torch.float32, device=_CPU)

    def _wrong(self, at: int, read: Sequence[Tensor]) -> str:
        place = len(self.inputs) + 2 * len(self.layers) + sum(self.num_indices[:at])
        rows, values = self.inputs[at].rows, read[place]
        came = f"{values.min()} to {values.max()}" if len(values) else "none"
        bags = (
            f", in bags from {read[place + 1][0]} to {read[place + 1][-1]} of {len(values)}"
            if self.num_indices[at] == 2
            else ""
        )
        return f"rows of a table of {rows} must be in [0, {rows}), in bags that are end to end; came {came}{bags}"


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


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.tower_room.argtypes = [_NUMBER, _POINTER, _NUMBER]
    library.tower_room.restype = _NUMBER
    library.tower_forward.argtypes = [_POINTER, _NUMBER, _POINTER, *[_NUMBER] * 4, *[_POINTER] * 2]
    library.tower_forward.restype = _NUMBER
    library.tower_backward.argtypes = [*[_POINTER] * 2, _NUMBER, _POINTER, *[_NUMBER] * 4, *[_POINTER] * 3]
    library.tower_backward.restype = _NUMBER
    return library
