"""From external ids to the rows of a table, and what to say about an id that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import cached_property

import numpy as np
import polars as pl
import torch
from torch import Tensor

from twotower.data import IdTable
from twotower.errors import DataError, UnknownIdError
from twotower.recommender.column_values import is_utf8
from twotower.types import Id
from twotower.vocabulary import Vocabulary

__all__ = ["IdLookup", "require_list"]

_COMPARED = 10_000
"""Ids that a wrong one is compared with, letter by letter, to suggest the nearest."""

_NO_IDS = (bool, float, complex, np.bool_, Decimal, Fraction)


class IdLookup:
    """Rows of ids in a table; the dictionary is made at the first question and kept.

    Args:
        table: Its row order is the answer's.

    Example:
        >>> lookup = IdLookup(IdTable.from_ids(pl.Series([7, 9]), "user_id", noun="user"))
        >>> lookup.rows([9, None, "7", 7]).tolist()
        [1, -1, -1, 0]
        >>> lookup.require(["7"], "exclude")
        Traceback (most recent call last):
        ...
        twotower.errors.UnknownIdError: exclude: no user '7' among 2, whose ids are integers; did you mean 7?
    """

    def __init__(self, table: IdTable) -> None:
        self.table = table

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.table.ids.to_list())

    @property
    def ids(self) -> tuple[Id, ...]:
        """The ids, by row."""
        return self._vocabulary.ids

    @property
    def kind(self) -> str:
        """What the ids are, in a word."""
        return "text" if self.table.ids.dtype == pl.String else "integers"

    def rows(self, ids: Iterable[Id | None]) -> Tensor:
        """Row of each id, int64 ``[n]``; -1 for None, for an unknown id and for one of the other type.

        Raises:
            DataError: If an entry is no id at all, a list say.
        """
        if self.kind == "integers":  # Python takes True and 1.0 for 1
            ids = (None if isinstance(value, _NO_IDS) else value for value in ids)
        try:
            return torch.from_numpy(self._vocabulary.rows(ids).astype(np.int64)) - 1
        except TypeError:
            raise DataError(f"an id must be text or an integer, one per entry; {self.table.noun} ids are {self.kind}") from None

    def require(self, ids: Sequence[Id], name: str) -> Tensor:
        """Rows of ids that must all be known, int64 ``[n]``.

        Args:
            ids: A list of ids.
            name: What the caller calls them, for messages.

        Raises:
            DataError: If a single id came in place of a list.
            UnknownIdError: If one is not in the table; names it and the nearest that is.
        """
        require_list(ids, name)
        rows = self.rows(ids)
        if bool((rows < 0).any()):
            raise UnknownIdError(f"{name}: {self.describe_unknown(ids[int((rows < 0).nonzero()[0])])}")
        return rows

    def describe_unknown(self, value: object) -> str:
        """A sentence about an id that is not in the table: what the ids are, and the nearest of them."""
        near = self._nearest(value)
        hint = "" if near is None else f"; did you mean {near!r}?"
        return f"no {self.table.noun} {value!r} among {len(self.table):,}, whose ids are {self.kind}{hint}"

    def _nearest(self, value: object) -> Id | None:
        text = str(value)
        other: Id | None = text if self.kind == "text" else int(text) if text.removeprefix("-").isdecimal() else None
        if other is not None and other != value and other in self._vocabulary:
            return other
        if not is_utf8(text):
            return None
        ids = self.table.ids
        texts = ids.cast(pl.String)
        same = (texts.str.to_lowercase() == text.strip().lower()).arg_true()
        if len(same):
            return self._vocabulary.ids[int(same[0])]
        alike = (texts.str.len_chars().cast(pl.Int64) - len(text)).abs() <= max(2, len(text) // 3)
        rows = alike.arg_true().head(_COMPARED)
        close = difflib.get_close_matches(text, texts[rows].to_list(), n=1)
        return None if not close else close[0] if self.kind == "text" else int(close[0])


def require_list(ids: object, name: str) -> None:
    """Refuse a single id where a list belongs: text would be taken letter by letter; and whatever else is no list.

    Raises:
        DataError: Saying what to write.
    """
    if isinstance(ids, str | bytes | int | np.generic):
        raise DataError(f"{name} must be a list of ids; came the single value {ids!r}: write [{ids!r}]")
    if not isinstance(ids, Collection):
        raise DataError(f"{name} must be a list of ids; came {ids!r}")
