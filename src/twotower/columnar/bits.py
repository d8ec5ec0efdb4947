"""Booleans as packed bits in a file, eight to a byte, the first in the lowest bit: as Arrow maps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["BitFile"]


class BitFile:
    """Packs booleans, however many come at a time.

    Args:
        path: A new file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._rest = np.zeros(0, dtype=np.bool_)

    def append(self, values: NDArray[np.bool_]) -> None:
        """Write booleans, shape ``[n]``, behind those before."""
        values = np.concatenate([self._rest, values])
        whole = len(values) // 8 * 8
        np.packbits(values[:whole], bitorder="little").tofile(self._file)
        self._rest = values[whole:]

    def append_same(self, value: bool, count: int) -> None:
        """Write one boolean so many times."""
        while count > 0:
            part = min(count, 1 << 20)
            self.append(np.full(part, value, dtype=np.bool_))
            count -= part

    def close(self) -> None:
        """Write the last byte; bits behind the end are 0."""
        if not self._file.closed:
            np.packbits(self._rest, bitorder="little").tofile(self._file)
            self._file.close()
