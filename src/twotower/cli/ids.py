"""Ids as they are typed on a command line."""

from __future__ import annotations

import polars as pl

from twotower.errors import ConfigError
from twotower.types import Id

__all__ = ["id_of"]


def id_of(text: str, ids: pl.Series, option: str) -> Id:
    """The id that a person typed, of the type that a table's ids have.

    Args:
        text: As it was typed.
        ids: The ids of the table.
        option: Where it was typed.

    Raises:
        ConfigError: If ids are integers and this is none.
    """
    if ids.dtype == pl.String:
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{option} {text}: the ids are integers") from None
