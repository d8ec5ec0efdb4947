"""What ``--query`` says of a user, in the types that the columns have in train."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl

from twotower.errors import ConfigError, nearest

__all__ = ["query_values"]


def query_values(parts: Sequence[str], types: Mapping[str, pl.DataType], *, id_column: str) -> dict[str, object]:
    """Parse ``column=value,column=value`` and JSON objects; a column that comes twice has its last value.

    Args:
        parts: One per ``--query``. A value that holds a comma is put between double quotes, stands alone in its option, or is
            given in a JSON object; of JSON only times are converted, which are text there.
        types: Type by name of the columns that can be given; times as datetimes.
        id_column: The user's id, which is not given this way.

    Raises:
        ConfigError: With every fault: no column of that name (with the nearest), or a value that is not of the column's type.

    Example:
        >>> types = {"country": pl.String(), "age": pl.Int64(), "city": pl.String()}
        >>> query_values(["country=BR,age=23", "city=Rio, RJ"], types, id_column="viewer")
        {'country': 'BR', 'age': 23, 'city': 'Rio, RJ'}
    """
    values: dict[str, object] = {}
    faults: list[str] = []
    for part in parts:
        try:
            given = dict(_json_object(part) if part.lstrip().startswith("{") else _pairs(part))
        except ConfigError as error:
            faults += error.faults
            continue
        for name, raw in given.items():
            if name == id_column:
                faults.append(f"--query {name}={raw}: {name!r} is the user's id; write --user {raw}")
                continue
            if name not in types:
                faults.append(f"--query {name}: the query does not read {name!r}{nearest(name, types)}")
                continue
            try:
                written = isinstance(raw, str) and (types[name].is_temporal() or not part.lstrip().startswith("{"))
                values[name] = _value(name, str(raw), types[name]) if written else raw
            except ConfigError as error:
                faults += error.faults
    if faults:
        raise ConfigError(faults)
    return values


def _pairs(part: str) -> Iterator[tuple[str, str]]:
    pieces = _pieces(part)
    if pieces and "=" in pieces[0] and not any("=" in piece for piece in pieces[1:]):
        pieces = [part]  # one pair, whose value may hold commas
    for piece in pieces:
        name, equals, raw = (text.strip() for text in piece.partition("="))
        if not equals or not name:
            raise ConfigError(
                f"--query {piece.strip()}: write column=value; a value that holds a comma goes between double quotes, "
                'column="a, b", or into a --query of its own'
            )
        quoted = len(raw) >= 2 and raw[0] == raw[-1] == '"'
        yield name, raw[1:-1] if quoted else raw


def _pieces(part: str) -> list[str]:
    """Split at the commas outside of double quotes; a quote that is never closed is text."""
    pieces = [""]
    inside = False
    for place, letter in enumerate(part):
        if letter == '"' and (inside or '"' in part[place + 1 :]):
            inside = not inside
        if letter == "," and not inside:
            pieces.append("")
        else:
            pieces[-1] += letter
    return pieces


def _json_object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--query {text}: not valid JSON: {error}") from None
    return dict(found)


def _value(name: str, raw: str, dtype: pl.DataType) -> object:
    if dtype.is_numeric():
        number = _number(raw)
        if number is None:
            raise ConfigError(f"--query {name}={raw}: {name!r} is a number in train ({dtype}); came {raw!r}")
        return number
    if dtype.is_temporal():
        number = _number(raw)
        try:
            return datetime.fromisoformat(raw) if number is None else float(number)
        except ValueError:
            raise ConfigError(
                f"--query {name}={raw}: {name!r} is a time; write 2024-01-31, 2024-01-31T08:30:00Z or Unix seconds"
            ) from None
    if dtype == pl.Boolean:
        if raw not in ("true", "false"):
            raise ConfigError(f"--query {name}={raw}: {name!r} is true or false; came {raw!r}")
        return raw == "true"
    return raw


def _number(raw: str) -> int | float | None:
    try:
        return int(raw)
    except ValueError:
        pass
    try:
        number = float(raw)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
