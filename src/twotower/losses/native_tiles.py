"""The tiles of a softmax cross-entropy, worked on by a kernel in C."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor
from torch.nn.functional import pad

from twotower.losses.logits import Precision
from twotower.losses.tiles import Asked, Found, number_of_parts
from twotower.native import native_library

__all__ = ["NativeTiles"]

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_TILE_BYTES = 2**19
_LEAST_ROWS, _MOST_ROWS = 32, 64
_NUMBERS = torch.float32


class NativeTiles:
    """Queries and candidates as the kernel takes them.

    Args:
        library: The kernel.
        queries_BD: float32 on the CPU, shape ``[B, D]``.
        candidates_CD: The same, shape ``[C, D]``.
        bias_C: Added to the logits of each candidate, shape ``[C]``, or None.
        narrow: Whether products are of numbers of 16 bits (bfloat16), added up in float32.
    """

    def __init__(
        self, library: ctypes.CDLL, queries_BD: Tensor, candidates_CD: Tensor, bias_C: Tensor | None, *, narrow: bool
    ) -> None:
        self._library, self._narrow = library, narrow
        self._dim = queries_BD.shape[1]
        missing = -self._dim % library.softmax_lanes()
        self._queries_BW, self._candidates_CW = (
            (pad(vectors, (0, missing)) if missing else vectors).contiguous() for vectors in (queries_BD, candidates_CD)
        )
        num_candidates, width = self._candidates_CW.shape
        self._padded = int(library.softmax_padded(num_candidates))
        given = (self._candidates_CW.data_ptr(), num_candidates, width)
        if narrow:
            room = torch.empty(self._padded * width, dtype=torch.int16)
            self._combined, self._packed = torch.empty(2, self._padded // 2 * width, dtype=torch.int32)
            library.softmax_pack_narrow(*given, room.data_ptr(), self._combined.data_ptr(), self._packed.data_ptr())
        else:
            self._combined, self._packed = self._candidates_CW, torch.empty(self._padded * width, dtype=_NUMBERS)
            library.softmax_pack(*given, self._packed.data_ptr())
        self._bias = torch.full((self._padded,), -torch.inf, dtype=_NUMBERS)
        self._bias[:num_candidates] = 0 if bias_C is None else bias_C

    @staticmethod
    def open(
        queries_BD: Tensor, candidates_CD: Tensor, bias_C: Tensor | None, precision: Precision = "float32"
    ) -> NativeTiles | None:
        """The tiles of these vectors; None where the kernel is not there or does not take such numbers."""
        if queries_BD.device.type != "cpu" or not queries_BD.dtype == candidates_CD.dtype == _NUMBERS or not len(candidates_CD):
            return None
        library, narrow = _library(), precision == "bfloat16"
        if library is None or (narrow and not library.softmax_narrow()):
            return None
        return NativeTiles(library, queries_BD, candidates_CD, bias_C, narrow=narrow)

    def rows(self, tile_bytes: int | None) -> int:
        """How many queries a tile has, of whose logits so many bytes may be in memory; None: what the caches like."""
        row_bytes = self._padded * _NUMBERS.itemsize
        rows = max(_LEAST_ROWS, min(_TILE_BYTES // row_bytes, _MOST_ROWS)) if tile_bytes is None else tile_bytes // row_bytes
        return max(1, min(len(self._queries_BW), rows))

    def losses(self, asked: Asked, *, gradients: bool, tile_bytes: int | None) -> Found:
        """The losses and, where they are wanted, the gradients.

        Args:
            asked: Of which positives, and how.
            gradients: Whether they are wanted.
            tile_bytes: Memory for the logits at a time; None: about what the caches hold.

        Raises:
            ValueError: If a positive, or what is masked, is not a candidate.
        """
        library, (num_candidates, width) = self._library, self._candidates_CW.shape
        num_queries, rows = len(self._queries_BW), self.rows(tile_bytes)
        parts = number_of_parts(self._queries_BW, self._candidates_CW, rows)
        positives_B = asked.positives_B.to(torch.int64).contiguous()
        coefficients_B = asked.coefficients_B.to(_NUMBERS).contiguous()
        own_shift_B = None if asked.own_shift_B is None else asked.own_shift_B.to(_NUMBERS).contiguous()
        room = torch.empty(parts * library.softmax_room(num_candidates, width, rows, self._narrow), dtype=_NUMBERS)
        losses_B = torch.empty_like(coefficients_B)
        queries_grad_BW = torch.empty_like(self._queries_BW) if gradients else None
        candidates_grad_PCW = torch.empty(parts, num_candidates, width, dtype=_NUMBERS) if gradients else None
        starts, columns = (None, None) if asked.masked is None else asked.masked
        hard, counts_C = asked.hard, None
        if hard is not None and hard.counts_C is not None:
            counts_C = hard.counts_C.to(_NUMBERS).contiguous()
        wrong = library.softmax_tiles(
            *map(_address, (self._queries_BW, self._combined, self._packed, self._bias)),
            *map(_address, (positives_B, coefficients_B, own_shift_B, starts, columns)),
            *(0 if hard is None else min(hard.most, 2**24), _address(counts_C), hard is not None and hard.own_copies),
            *(num_queries, num_candidates, width, rows, parts, self._narrow),
            *map(_address, (room, losses_B, queries_grad_BW, candidates_grad_PCW)),
        )
        if wrong >= 0:
            raise ValueError(
                f"query {wrong}: its positive and what is masked for it must be candidates, 0 to {num_candidates - 1}; its "
                f"positive is {int(positives_B[wrong])}"
            )
        if queries_grad_BW is None or candidates_grad_PCW is None:
            return Found(losses_B, None, None)
        return Found(losses_B, self._trimmed(queries_grad_BW), self._trimmed(candidates_grad_PCW[0]))

    def _trimmed(self, gradient: Tensor) -> Tensor:
        return gradient if gradient.shape[1] == self._dim else gradient[:, : self._dim].contiguous()


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _library() -> ctypes.CDLL | None:
    library = native_library("softmax")
    return None if library is None else _declared(library)


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.softmax_pack.argtypes = [_POINTER, _NUMBER, _NUMBER, _POINTER]
    library.softmax_pack.restype = None
    library.softmax_padded.argtypes = [_NUMBER]
    library.softmax_padded.restype = _NUMBER
    library.softmax_room.argtypes = [_NUMBER] * 4
    library.softmax_room.restype = _NUMBER
    library.softmax_narrow.argtypes = []
    library.softmax_narrow.restype = _NUMBER
    if library.softmax_narrow():
        library.softmax_pack_narrow.argtypes = [_POINTER, _NUMBER, _NUMBER, *[_POINTER] * 3]
        library.softmax_pack_narrow.restype = None
    library.softmax_lanes.argtypes = []
    library.softmax_lanes.restype = _NUMBER
    library.softmax_tiles.argtypes = [*[_POINTER] * 9, _NUMBER, _POINTER, *[_NUMBER] * 7, *[_POINTER] * 4]
    library.softmax_tiles.restype = _NUMBER
    return library
