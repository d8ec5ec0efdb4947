"""Which rows are positives: a small expression such as ``rating >= 4 and kind == 'buy'``, parsed, never evaluated as code."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias, cast

import polars as pl

from twotower.errors import DataError, nearest, type_name

__all__ = ["Condition", "Operator", "parse_positives", "positive_rows"]

Operator: TypeAlias = Literal[">=", "<=", "==", "!=", ">", "<"]

_CONDITION = re.compile(
    r"\s*(?:`(?P<quoted>[^`]+)`|(?P<name>[^\W\d][\w.:-]*))"
    r"\s*(?P<operator>>=|<=|==|!=|>|<)"
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)|'(?P<single>(?:[^']|'')*)'|\"(?P<double>(?:[^\"]|\"\")*)\")"
    r"\s*(?P<joint>and\b|$)",
    re.IGNORECASE,
)


class Condition(NamedTuple):
    """One comparison of a column with a number or with text.

    Attributes:
        column: Name of the column.
        operator: The comparison; text knows ``==`` and ``!=`` only.
        value: What the column is compared with.
    """

    column: str
    operator: Operator
    value: int | float | str


def parse_positives(text: str) -> tuple[Condition, ...]:
    """Parse conditions joined with ``and``.

    A column is a bare name, or any name between backticks; a value is a number, or text between quotes (a quote inside is
    doubled).

    Raises:
        ValueError: Naming the part that can't be read.

    Example:
        >>> parse_positives("rating >= 4 and kind == 'buy'")
        (Condition(column='rating', operator='>=', value=4), Condition(column='kind', operator='==', value='buy'))
    """
    conditions: list[Condition] = []
    position, joined = 0, True
    while joined:
        found = _CONDITION.match(text, position)
        if found is None:
            raise ValueError(
                f"positives must read like \"rating >= 4 and kind == 'buy'\" (>= <= > < == != and numbers or quoted text); "
                f"can't read {text[position:].strip()!r}"
            )
        parts = found.groupdict()
        value: int | float | str
        if parts["number"] is not None:
            value = int(parts["number"]) if re.fullmatch(r"[-+]?\d+", parts["number"]) else float(parts["number"])
        elif parts["single"] is not None:
            value = parts["single"].replace("''", "'")
        else:
            value = parts["double"].replace('""', '"')
        if isinstance(value, str) and parts["operator"] not in ("==", "!="):
            raise ValueError(f"positives compare text with == and != only; came {found.group(0).strip()!r}")
        conditions.append(Condition(parts["quoted"] or parts["name"], cast("Operator", parts["operator"]), value))
        position, joined = found.end(), bool(parts["joint"])
    return tuple(conditions)


def positive_rows(frame: pl.DataFrame, conditions: tuple[Condition, ...]) -> pl.Series:
    """Whether each row meets every condition, as a Boolean series.

    Raises:
        DataError: If a column is missing or of another type than its value, or where it holds a null or NaN, of which nobody
            can say whether it is a positive.
    """
    kept = pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
    for condition in conditions:
        if condition.column not in frame.columns:
            raise DataError(f"positives: no column {condition.column!r}{nearest(condition.column, frame.columns)}")
        kept = kept & _compared(frame[condition.column], condition)
    return kept


def _compared(column: pl.Series, condition: Condition) -> pl.Series:
    textual = column.dtype in (pl.String, pl.Categorical, pl.Enum)
    numeric = column.dtype.is_numeric() or column.dtype == pl.Boolean
    if textual != isinstance(condition.value, str) or not (textual or numeric):
        wanted = "text" if isinstance(condition.value, str) else "numbers"
        raise DataError(
            f"positives: {condition.column!r} is compared with {condition.value!r} and must hold {wanted}; "
            f"came {type_name(column.dtype)}; change the condition, or declare the column's type"
        )
    undecided = column.is_null() | column.is_nan() if column.dtype.is_float() else column.is_null()
    if undecided.any():
        rows = undecided.arg_true()
        raise DataError(
            f"positives: {condition.column!r} must have a value in every row; {len(rows):,} rows have none "
            f"(rows {', '.join(map(str, rows.head(5).to_list()))}); correct or drop them"
        )
    left, value = pl.col("x"), pl.lit(condition.value)
    comparison = {
        ">=": left >= value,
        "<=": left <= value,
        "==": left == value,
        "!=": left != value,
        ">": left > value,
        "<": left < value,
    }[condition.operator]
    plain = column.cast(pl.String) if textual else column.cast(pl.Int64) if column.dtype == pl.Boolean else column
    return plain.to_frame("x").select(comparison).to_series()
