"""Columns of text as numbers: each text is looked at once, and whatever is asked later is asked of the numbers.

An Enum of polars is the same idea, and is what converted tables have. But its hash table of all texts is made anew whenever its
type crosses from Python, which for a column that was read just now takes longer than all else that is done with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.arrow_text import ArrowText
from twotower.data.native_texts import NativeTexts

__all__ = ["CodedTexts", "code_texts"]


@dataclass(frozen=True, eq=False)
class CodedTexts:
    """A column of text.

    Attributes:
        names: The texts, distinct, sorted by their bytes, no nulls; not all of them need occur.
        codes: uint32 ``[n]``, the place of each row's text among the names; ``len(names)`` for a null.

    Example:
        >>> coded = CodedTexts.of(pl.Series(["b", None, "a", "b"]))
        >>> coded.names.to_list(), coded.codes.tolist()
        (['a', 'b'], [1, 2, 0, 1])
    """

    names: pl.Series
    codes: NDArray[np.uint32]

    @classmethod
    def of(cls, column: pl.Series) -> CodedTexts:
        """Code a column of type String."""
        kernel = NativeTexts.here()
        return (None if kernel is None else _natively(kernel, column)) or _by_polars(column)

    def occurring(self) -> pl.Series:
        """Names that some row has."""
        occurs = np.bincount(self.codes, minlength=len(self.names))[: len(self.names)] > 0
        return self.names if occurs.all() else self.names.filter(pl.Series(occurs))

    @property
    def has_nulls(self) -> bool:
        """Whether some row has no text."""
        return bool((self.codes == len(self.names)).any())


def code_texts(frame: pl.DataFrame, columns: Iterable[str]) -> dict[str, CodedTexts]:
    """Code columns of text, side by side.

    Args:
        frame: Any frame.
        columns: Those that are missing or no text are left out.
    """
    texts = [frame[name] for name in columns if name in frame.columns and frame[name].dtype == pl.String]
    with ThreadPoolExecutor(max(1, len(texts))) as pool:  # neither the kernel nor polars holds Python's lock
        return {text.name: coded for text, coded in zip(texts, pool.map(CodedTexts.of, texts), strict=True)}


def _natively(kernel: NativeTexts, column: pl.Series) -> CodedTexts | None:
    texts = ArrowText.of(column)
    coded = kernel.code(texts)
    return None if coded is None else CodedTexts(kernel.take(texts, coded[1]).series(column.name), coded[0])


def _by_polars(column: pl.Series) -> CodedTexts:
    names = column.drop_nulls().unique().sort()
    codes = column.cast(pl.Enum(names)).to_physical().cast(pl.UInt32).fill_null(len(names))
    return CodedTexts(names, codes.to_numpy())
