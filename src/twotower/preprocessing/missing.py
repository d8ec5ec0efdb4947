"""What a feature does about values that are not there: rules as a person writes them, and the error that names the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator

from twotower.config import Config
from twotower.errors import DataError

__all__ = ["FillNumber", "first_rows", "missing_rule", "require_present"]

_ROWS_SHOWN = 5


class FillNumber(Config):
    """Put this number where a value is missing, in fitting and in encoding, as if the table had held it."""

    fill: float


def missing_rule(*words: str, fill: bool = True) -> BeforeValidator:
    """A validator that turns any fault in a missing rule into one sentence that lists the rules.

    Args:
        words: The rules that are one word.
        fill: Whether ``{"fill": value}`` is a rule too.

    Example:
        >>> from twotower.config import parse_config
        >>> from twotower.preprocessing import NumberFeature
        >>> parse_config(NumberFeature, {"column": "age", "missing": {"fill": 30}}).missing
        FillNumber(fill=30.0)
        >>> parse_config(NumberFeature, {"column": "age", "missing": "zero"})
        Traceback (most recent call last):
        ...
        twotower.errors.ConfigError: missing: must be 'error', 'own' or {'fill': value} (came: 'zero')
    """
    rules = [repr(word) for word in words] + (["{'fill': value}"] if fill else [])
    sentence = f"must be {', '.join(rules[:-1])} or {rules[-1]}"

    def check(value: Any) -> Any:
        good_fill = fill and (isinstance(value, Config) or (isinstance(value, dict) and set(value) == {"fill"}))
        if not good_fill and not (isinstance(value, str) and value in words):
            raise ValueError(sentence)
        return value

    return BeforeValidator(check)


def first_rows(bad: NDArray[np.bool_]) -> str:
    """Phrase how many rows are marked, and the numbers (from 0) of the first ones.

    Example:
        >>> first_rows(np.array([False, True, True]))
        '2 of 3 rows, first: 1, 2'
    """
    rows = np.flatnonzero(bad)
    return f"{len(rows):,} of {len(bad):,} rows, first: {', '.join(str(row) for row in rows[:_ROWS_SHOWN])}"


def require_present(missing: NDArray[np.bool_], column: str, remedy: str) -> None:
    """Check that nothing is missing.

    Args:
        missing: Marks the rows without a value, ``[n]``.
        column: Name of the column.
        remedy: What to declare instead, for the message.

    Raises:
        DataError: With the number of rows and the first row numbers.
    """
    if missing.any():
        raise DataError(f"column {column!r} must not have missing values; missing in {first_rows(missing)}; {remedy}")
