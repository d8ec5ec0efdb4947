"""The columns that everything hangs on: ids, times and weights, each in one form, checked once."""

from __future__ import annotations

import polars as pl

from twotower.errors import DataError, nearest, type_name

__all__ = [
    "as_coded_ids",
    "as_ids",
    "as_unix_seconds",
    "as_weights",
    "require_columns",
    "require_same_id_type",
]

_EXAMPLES = 5
_LATEST_S = 100_000_000_000


def require_columns(frame: pl.DataFrame, names: dict[str, str], *, noun: str) -> None:
    """Check that columns exist.

    Args:
        frame: Any frame.
        names: By role (``"user"``), the column that was declared for it.
        noun: What the table is called in an error.

    Raises:
        DataError: Naming every missing column, with the nearest name that exists.
    """
    missing = [
        f"no column {name!r} (declared as {role}){nearest(name, frame.columns)}"
        for role, name in names.items()
        if name not in frame.columns
    ]
    if missing and frame.width == 1 and (sign := next((s for s in ";\t|," if s in frame.columns[0]), None)):
        raise DataError(
            f"{noun}: no column {', '.join(map(repr, names.values()))}, but one column {frame.columns[0]!r}; "
            f"if its separator is {sign!r}, declare separator = {sign!r}"
        )
    if missing:
        raise DataError(f"{noun}: {' | '.join(missing)}")


def as_ids(column: pl.Series, *, noun: str) -> pl.Series:
    """A column of ids as String or Int64.

    Narrower integers are widened; categories and enumerations become text. Nulls are kept.

    Raises:
        DataError: If the column is neither text nor integers; floats such as ``1.0`` (a column of integers that once held a
            missing value) are never guessed at.
    """
    dtype = column.dtype
    if dtype in (pl.String, pl.Int64):
        return column
    if dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if dtype.is_integer():
        wide = column.cast(pl.Int64, strict=False)
        if wide.null_count() > column.null_count():
            row = int((wide.is_null() & column.is_not_null()).arg_true()[0])
            raise DataError(
                f"{noun} ids in {column.name!r} must fit in 64 signed bits; row {row} holds {column[row]}; cast to text"
            )
        return wide
    if column.dtype == pl.Null:
        return column.cast(pl.String)
    if column.dtype.is_float():
        seen = column.drop_nulls().head(3).to_list()
        raise DataError(
            f"{noun} ids in {column.name!r} must be text or integers; came {column.dtype} such as {seen}; "
            f"cast the column, for instance types = {{{column.name!r}: 'integer'}} "
            "(one missing id turns integers to floats in pandas)"
        )
    raise DataError(f"{noun} ids in {column.name!r} must be text or integers; came {column.dtype}; cast the column")


def as_coded_ids(column: pl.Series, *, noun: str) -> pl.Series:
    """A column of ids as String, Int64 or, if it is one, Enum: there each distinct id is text once, and a row is a number.

    Raises:
        DataError: As `as_ids`.
    """
    return column if column.dtype == pl.Enum else as_ids(column, noun=noun)


def require_same_id_type(ids: pl.Series, known: pl.Series, *, noun: str, other: str) -> None:
    """Refuse to compare text with integers, by which every id would look unknown.

    Args:
        ids: Ids as `as_coded_ids` gives them.
        known: The ids that they are to be found in.
        noun: What kind of id it is.
        other: What the table of the known ids is called.

    Raises:
        DataError: Naming both columns, both types and an example of each.
    """
    found = ids.dtype
    dtype = pl.String() if found == pl.Enum else found
    if dtype != known.dtype:
        raise DataError(
            f"{noun} ids must have one type: {ids.name!r} is {dtype} ({_sample(ids)}), but {known.name!r} in the {other} "
            f"is {known.dtype} ({_sample(known)}); declare one of them in `types`"
        )


def as_unix_seconds(column: pl.Series) -> pl.Series:
    """A time column as Unix seconds: Int64, or Float64 where there are fractions.

    Dates and datetimes are converted (naive ones are UTC); numbers are taken as Unix seconds already.

    Raises:
        DataError: If the column is text, holds nulls, NaN or infinities (with row numbers), or numbers so large that they must
            be milliseconds.
    """
    name, dtype = column.name, column.dtype
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        _require_finite(column.is_null(), column, "time")
        # from the column's own unit: through microseconds an old nanosecond column would lose digits for nothing
        per_second = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[
            dtype.time_unit if isinstance(dtype, pl.Datetime) else "ms"
        ]
        ticks = column.cast(pl.Datetime("ms")).to_physical() if dtype == pl.Date else column.to_physical()
        return ticks // per_second if (ticks % per_second == 0).all() else ticks.cast(pl.Float64) / per_second
    if dtype in (pl.String, pl.Enum, pl.Categorical):
        raise DataError(
            f"time column {name!r} must be numbers (Unix seconds), dates or datetimes; came text such as {_sample(column)}; "
            f"declare types = {{{name!r}: 'datetime'}} for ISO 8601 text, or parse it before"
        )
    if not (dtype.is_integer() or dtype.is_float()):
        raise DataError(f"time column {name!r} must be numbers (Unix seconds), dates or datetimes; came {dtype}; convert it")
    _require_finite(column.is_null() if dtype.is_integer() else ~column.is_finite().fill_null(False), column, "time")
    too_late = (column.cast(pl.Float64).abs() > _LATEST_S).arg_true()
    if len(too_late):
        row = int(too_late[0])
        raise DataError(
            f"time column {name!r} must be Unix seconds; row {row} holds {column[row]}, which looks like milliseconds "
            "or finer; divide the column first"
        )
    return column.cast(pl.Float64 if dtype.is_float() else pl.Int64)


def as_weights(column: pl.Series) -> pl.Series:
    """A column of sample weights, finite and not negative; its type is kept.

    Raises:
        DataError: If it is not numeric, or holds a null, NaN, infinity or negative value (with row numbers).
    """
    if not (column.dtype.is_integer() or column.dtype.is_float()):
        raise DataError(
            f"weight column {column.name!r} must be numbers; came {type_name(column.dtype)}; declare its type or convert it"
        )
    finite = column.cast(pl.Float64)
    _require_finite(~(finite.is_finite() & (finite >= 0)).fill_null(False), column, "weight")
    return column


def _require_finite(faulty: pl.Series, column: pl.Series, role: str) -> None:
    rows = faulty.arg_true()
    if len(rows):
        shown = ", ".join(f"row {row}: {column[int(row)]}" for row in rows.head(_EXAMPLES).to_list())
        must = "finite and at least 0" if role == "weight" else "present and finite"
        filled = f", or say what a missing one counts as: fill = {{ {column.name} = 0 }} in the table's section"
        hint = filled if role == "weight" and column.null_count() else ""
        raise DataError(
            f"{role} column {column.name!r} must be {must} in every row; {len(rows):,} rows are not ({shown}); "
            f"correct or drop them{hint}"
        )


def _sample(column: pl.Series) -> str:
    values = column.drop_nulls().head(1).to_list()
    return repr(values[0]) if values else "empty"
