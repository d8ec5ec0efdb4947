"""What is in the columns of a table, as far as a first recipe has to know it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl

from twotower.data.column_types import declare_types
from twotower.errors import TableReadError

__all__ = ["ColumnFacts", "ColumnKind", "TableFacts", "table_facts"]

ColumnKind: TypeAlias = Literal["text", "integer", "float", "boolean", "time", "list", "other"]
"""What a column holds; a datetime or a date is a time."""

_BLOCK = 5_000
_BLOCKS = 40
_TEXTS = 20_000
_EXACT = 5_000_000
_NESTED = 200_000
_JOINTS = "|;,"
_COMPOSED = ":/#|"
_MOST_PARTS = 100


@dataclass(frozen=True)
class ColumnFacts:
    """One column.

    Attributes:
        name: Its name.
        kind: What it holds.
        dtype: The type as it was read, for people.
        missing: Rows without a value (null, or NaN).
        distinct: Different values; of more than five million rows of numbers an estimate.
        least: Of numbers and times; None for others, and where there is no value.
        greatest: The same.
        example: The first value that is not missing; None: there is none.
        long_tail: Whether a few numbers are far greater than most (the mean is over three times the median), and none negative.
        words: Words of a text, on average.
        joint: What stands between the values of a text that holds several (``"Action|Drama"``); None: it holds one.
        parts: What stands after the first part of ids such as ``network:number``; None: they have no parts.
        iso_times: Whether every text reads as a time (ISO 8601).
    """

    name: str
    kind: ColumnKind
    dtype: str
    missing: int
    distinct: int
    least: Any = None
    greatest: Any = None
    example: Any = None
    long_tail: bool = False
    words: float = 0.0
    joint: str | None = None
    parts: str | None = None
    iso_times: bool = False


@dataclass(frozen=True, eq=False)
class TableFacts:
    """A table: its columns, and rows to look closer at.

    Attributes:
        rows: How many there are.
        columns: In the order of the table.
        sample: At most 200,000 rows, in blocks that lie evenly over the table, so that neighbours stay together.
    """

    rows: int
    columns: tuple[ColumnFacts, ...]
    sample: pl.DataFrame

    def column(self, name: str) -> ColumnFacts:
        """Facts of a column of that name."""
        return next(column for column in self.columns if column.name == name)


def table_facts(frame: pl.DataFrame) -> TableFacts:
    """Look at every column; a memory-mapped table is read column by column.

    Example:
        >>> facts = table_facts(pl.DataFrame({"age": [31, None, 31], "id": ["a:1", "b:2", "a:3"]}))
        >>> [(column.kind, column.missing, column.distinct, column.example) for column in facts.columns]
        [('integer', 1, 1, 31), ('text', 0, 3, 'a:1')]
    """
    sample = _sample(frame)
    return TableFacts(frame.height, tuple(_column(frame[name], sample[name]) for name in frame.columns), sample)


def _sample(frame: pl.DataFrame) -> pl.DataFrame:
    if frame.height <= _BLOCK * _BLOCKS:
        return frame
    starts = np.linspace(0, frame.height - _BLOCK, _BLOCKS).astype(int).tolist()
    return pl.concat([frame.slice(start, _BLOCK) for start in starts])


def _column(column: pl.Series, sample: pl.Series) -> ColumnFacts:
    kind = _kind(column.dtype)
    numbers = kind in ("integer", "float", "time")
    if column.dtype.is_float():
        missing = int(column.null_count() + column.is_nan().sum())
        column = column.fill_nan(None) if missing > column.null_count() else column
    else:
        missing = column.null_count()
    first = column.is_not_null().arg_max() if missing < len(column) else None
    texts = _texts(column, sample) if kind == "text" else pl.Series(dtype=pl.String)
    return ColumnFacts(
        name=column.name,
        kind=kind,
        dtype="String" if isinstance(column.dtype, pl.Enum | pl.Categorical) else str(column.dtype),
        missing=missing,
        distinct=_distinct(column, missing),
        least=column.min() if numbers else None,
        greatest=column.max() if numbers else None,
        example=None if first is None else _plain(column[first]),
        long_tail=kind in ("integer", "float") and _long_tail(sample),
        words=float(texts.str.split(" ").list.len().mean() or 0) if len(texts) else 0.0,  # type: ignore[arg-type]
        joint=_joint(texts),
        parts=_parts(texts),
        iso_times=_iso_times(texts),
    )


def _kind(dtype: pl.DataType) -> ColumnKind:
    if dtype.is_integer():
        return "integer"
    if dtype.is_float() or dtype.is_decimal():
        return "float"
    if isinstance(dtype, pl.String | pl.Enum | pl.Categorical):
        return "text"
    if isinstance(dtype, pl.Boolean):
        return "boolean"
    if isinstance(dtype, pl.Date | pl.Datetime):
        return "time"
    return "list" if isinstance(dtype, pl.List) and _kind(dtype.inner) in ("text", "integer") else "other"  # type: ignore[arg-type]


def _distinct(column: pl.Series, missing: int) -> int:
    if isinstance(column.dtype, pl.Enum):
        return column.to_physical().n_unique() - (missing > 0)
    if column.dtype.is_nested():
        values = [str(value) for value in column.drop_nulls().head(_NESTED).to_list()]
        return len(set(values))
    if len(column) > _EXACT and column.dtype.is_numeric():
        found: int = column.to_frame("x").select(pl.col("x").approx_n_unique()).item()
        return found - (missing > 0)
    return column.n_unique() - (missing > 0)


def _texts(column: pl.Series, sample: pl.Series) -> pl.Series:
    """Different values of a column of text: some, where there are many."""
    if isinstance(column.dtype, pl.Enum):
        categories = column.dtype.categories
        return categories.gather_every(max(1, len(categories) // _TEXTS))
    return sample.cast(pl.String).drop_nulls().unique(maintain_order=True).head(_TEXTS)


def _long_tail(numbers: pl.Series) -> bool:
    present = numbers.drop_nulls().cast(pl.Float64).drop_nans()
    if present.is_empty() or float(present.min()) < 0:  # type: ignore[arg-type]
        return False
    return float(present.mean()) > 3 * float(present.median()) and float(present.max()) > 20  # type: ignore[arg-type]


def _joint(texts: pl.Series) -> str | None:
    """Texts of several values are made of few pieces, put together in many ways."""
    for joint in _JOINTS:
        lists = texts.str.split(joint)
        if len(texts) and float(lists.list.len().mean() or 0) >= 1.3:  # type: ignore[arg-type]
            pieces = lists.explode(empty_as_null=True).str.strip_chars().n_unique()
            if pieces <= max(3, len(texts) // 2):
                return joint
    return None


def _parts(texts: pl.Series) -> str | None:
    """Ids of parts begin with one of a few words."""
    for sign in _COMPOSED:
        split = texts.str.split_exact(sign, 1).struct.unnest()
        if len(texts) < 2 or split["field_1"].null_count():
            continue
        first = split["field_0"].n_unique()
        if 2 <= first <= min(_MOST_PARTS, max(2, len(texts) // 3)) and split["field_1"].n_unique() > first:
            return sign
    return None


def _iso_times(texts: pl.Series) -> bool:
    if not len(texts) or not texts.str.contains(r"^\d{4}-\d\d-\d\d").all():
        return False
    try:
        declare_types(texts.to_frame("at"), {"at": "datetime"}, noun="", locate=str)
    except TableReadError:
        return False
    return True


def _plain(value: Any) -> Any:
    if isinstance(value, pl.Series):
        return value.to_list()
    return value.isoformat(sep=" ") if isinstance(value, datetime) else value.isoformat() if isinstance(value, date) else value
