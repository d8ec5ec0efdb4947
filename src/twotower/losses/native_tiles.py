"""The tiles of a softmax cross-entropy, worked on by a kernel in C."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor
from torch.nn.functional import pad

from twotower.native import native_library

__all__ = ["NativeTiles"]

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64
_TILE_BYTES = 2**19
_LEAST_ROWS, _MOST_ROWS = 32, 64
_NUMBERS = torch.float32


class NativeTiles:
    """Queries and candidates as the kernel takes them.

    Args:
        library: See `open_kernel`.
        queries_BD: float32 on the CPU, shape ``[B, D]``.
        candidates_CD: The same, shape ``[C, D]``.
        bias_C: Added to the logits of each candidate, shape ``[C]``, or None.
    """

    def __init__(self, library: ctypes.CDLL, queries_BD: Tensor, candidates_CD: Tensor, bias_C: Tensor | None) -> None:
        self._library = library
        self._dim = queries_BD.shape[1]
        missing = -self._dim % library.softmax_lanes()
        self._queries_BW, self._candidates_CW = (
            (pad(vectors, (0, missing)) if missing else vectors).contiguous() for vectors in (queries_BD, candidates_CD)
        )
        num_candidates, width = self._candidates_CW.shape
        self.padded = int(library.softmax_padded(num_candidates))
        self._packed = torch.empty(self.padded * width, dtype=_NUMBERS)
        library.softmax_pack(self._candidates_CW.data_ptr(), num_candidates, width, self._packed.data_ptr())
        self._bias = torch.full((self.padded,), -torch.inf)
        self._bias[:num_candidates] = 0 if bias_C is None else bias_C

    @staticmethod
    def open(queries_BD: Tensor, candidates_CD: Tensor, bias_C: Tensor | None) -> NativeTiles | None:
        """The tiles of these vectors; None where the kernel is not there or does not take such numbers."""
        if queries_BD.dtype != _NUMBERS or not len(candidates_CD):
            return None
        library = _library()
        return None if library is None else NativeTiles(library, queries_BD, candidates_CD, bias_C)

    def rows(self, tile_bytes: int | None) -> int:
        """How many queries a tile has, of whose logits so many bytes may be in memory; None: what the caches like."""
        row_bytes = self.padded * _NUMBERS.itemsize
        if tile_bytes is not None:
            return max(1, tile_bytes // row_bytes)
        return max(_LEAST_ROWS, min(_TILE_BYTES // row_bytes, _MOST_ROWS))

    def gradients(self, parts: int) -> tuple[Tensor, Tensor]:
        """Room for the gradients of the queries and, for each part, of the candidates, which start as 0."""
        return torch.empty_like(self._queries_BW), torch.zeros(parts, *self._candidates_CW.shape)

    def trimmed(self, gradient: Tensor) -> Tensor:
        """A gradient without the numbers that the kernel added to each vector."""
        return gradient if gradient.shape[-1] == self._dim else gradient[..., : self._dim].contiguous()

    def work(
        self,
        rows: slice,
        tile_rows: int,
        positives_B: Tensor,
        coefficients_B: Tensor,
        own_shift_B: Tensor | None,
        masked: tuple[Tensor, Tensor] | None,
        losses_B: Tensor,
        gradients: tuple[Tensor, Tensor] | None,
    ) -> None:
        """Losses of some queries, and what they add to the gradients.

        Args:
            rows: Which queries.
            tile_rows: Of a tile.
            positives_B: int64, contiguous, shape ``[B]``, as the next two.
            coefficients_B: float32.
            own_shift_B: float32, or None.
            masked: int64: where each query's columns start, shape ``[B + 1]``, and all columns; or None.
            losses_B: Written.
            gradients: Of the queries, shape ``[B, W]``, written; of the candidates, shape ``[C, W]``, added to.
        """
        tile_rows = min(tile_rows, rows.stop - rows.start)
        room = torch.empty(self._library.softmax_room(*self._candidates_CW.shape, tile_rows))
        queries_grad_RW = None if gradients is None else gradients[0][rows]
        wrong = self._library.softmax_tiles(
            self._queries_BW[rows].data_ptr(),
            self._candidates_CW.data_ptr(),
            self._packed.data_ptr(),
            self._bias.data_ptr(),
            positives_B[rows].data_ptr(),
            coefficients_B[rows].data_ptr(),
            None if own_shift_B is None else own_shift_B[rows].data_ptr(),
            None if masked is None else masked[0][rows].data_ptr(),
            None if masked is None else masked[1].data_ptr(),
            rows.stop - rows.start,
            *self._candidates_CW.shape,
            tile_rows,
            room.data_ptr(),
            losses_B[rows].data_ptr(),
            None if queries_grad_RW is None else queries_grad_RW.data_ptr(),
            None if gradients is None else gradients[1].data_ptr(),
        )
        if wrong >= 0:
            raise ValueError(
                f"query {rows.start + wrong}: its positive and what is masked for it must be candidates, 0 to "
                f"{len(self._candidates_CW) - 1}; its positive is {int(positives_B[rows.start + wrong])}"
            )


def _library() -> ctypes.CDLL | None:
    library = native_library("softmax")
    return None if library is None else _declared(library)


@functools.cache
def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.softmax_pack.argtypes = [_POINTER, _NUMBER, _NUMBER, _POINTER]
    library.softmax_pack.restype = None
    library.softmax_padded.argtypes = [_NUMBER]
    library.softmax_padded.restype = _NUMBER
    library.softmax_room.argtypes = [_NUMBER] * 3
    library.softmax_room.restype = _NUMBER
    library.softmax_lanes.argtypes = []
    library.softmax_lanes.restype = _NUMBER
    library.softmax_tiles.argtypes = [*[_POINTER] * 9, *[_NUMBER] * 4, *[_POINTER] * 4]
    library.softmax_tiles.restype = _NUMBER
    return library
