"""Columns of text as the bytes that they are: what kernels read and write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

__all__ = ["ArrowText"]


@dataclass(frozen=True)
class ArrowText:
    """A column of text.

    Attributes:
        text: uint8, one behind the other, in UTF-8.
        offsets: int64 ``[n + 1]``, where each begins and the last one ends.
        valid: bool ``[n]``, which of them are there; None: all.

    Example:
        >>> found = ArrowText.of(pl.Series("id", ["ann", None, "bo"]))
        >>> found.text.tobytes(), found.offsets.tolist(), found.valid.tolist()
        (b'annbo', [0, 3, 3, 5], [True, False, True])
        >>> found.series("id").to_list()
        ['ann', None, 'bo']
    """

    text: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    valid: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, column: pl.Series) -> ArrowText:
        """The bytes of a column of type String."""
        array = column.to_arrow()
        array = array if array.type == pa.large_string() else array.cast(pa.large_string())
        _, offsets, data = array.buffers()
        places = np.frombuffer(offsets or bytes(8), dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        valid = column.is_not_null().to_numpy() if column.null_count() else None
        return cls(np.frombuffer(data or b"", dtype=np.uint8), places, valid)

    def series(self, name: str) -> pl.Series:
        """The column; its bytes are not checked to be UTF-8."""
        n = len(self.offsets) - 1
        valid, nulls = None, 0
        if self.valid is not None and not self.valid.all():
            valid, nulls = pa.py_buffer(np.packbits(self.valid, bitorder="little")), n - int(np.count_nonzero(self.valid))
        buffers = [valid, pa.py_buffer(self.offsets), pa.py_buffer(self.text)]
        return pl.Series(values=_Exported(pa.Array.from_buffers(pa.large_string(), n, buffers, null_count=nulls))).alias(name)


@dataclass(frozen=True)
class _Exported:
    """An array that polars takes by Arrow's own protocol: where it sees one of pyarrow, it loads pyarrow's functions first."""

    array: Any

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        return cast("tuple[object, object]", self.array.__arrow_c_array__(requested_schema))
