"""The ids of a vocabulary as the field of a spec: a series in memory, a list in JSON, or, if large, a name in its place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import polars as pl
from pydantic import PlainSerializer, PlainValidator, SerializationInfo

__all__ = ["LargeVocabularies", "VocabularyIds", "with_vocabularies"]

_NAME = "vocabulary"


class LargeVocabularies:
    """Collects the vocabularies that are too large for JSON while a spec is dumped; the context of its serialisation.

    Args:
        at_least: From so many ids on, a vocabulary is kept here.

    Example:
        >>> from twotower.preprocessing import Lookup
        >>> large = LargeVocabularies(at_least=2)
        >>> Lookup(ids=pl.Series(["ann", "bob"])).model_dump(context=large)
        {'ids': {'vocabulary': 'vocabulary_0'}}
        >>> large.found["vocabulary_0"].to_list()
        ['ann', 'bob']
    """

    def __init__(self, *, at_least: int) -> None:
        self.at_least = at_least
        self.found: dict[str, pl.Series] = {}

    def put(self, ids: pl.Series) -> str:
        """The name of a vocabulary; features of the same ids have one together."""
        for name, other in self.found.items():
            if other is ids or other.equals(ids, check_dtypes=True):
                return name
        name = f"vocabulary_{len(self.found)}"
        self.found[name] = ids
        return name


def with_vocabularies(values: object, ids: Callable[[str], pl.Series]) -> object:
    """Dumped values with the ids in the place of every name that stands for them.

    Args:
        values: Lists, mappings and single values, as JSON has them.
        ids: Gives the ids of a name.
    """
    if isinstance(values, list):
        return [with_vocabularies(value, ids) for value in values]
    if not isinstance(values, dict):
        return values
    if values.keys() == {_NAME} and isinstance(values[_NAME], str):
        return ids(values[_NAME])
    return {key: with_vocabularies(value, ids) for key, value in values.items()}


def _read(value: Any) -> pl.Series:
    """A series of ids from what a spec holds."""
    if isinstance(value, list | tuple):
        texts = all(type(one) is str for one in value)
        if not texts and not all(type(one) is int and -(2**63) <= one < 2**63 for one in value):
            raise ValueError("must be all text or all integers of 64 bits")
        value = pl.Series(value, dtype=pl.String if texts else pl.Int64)
    if not isinstance(value, pl.Series) or value.dtype not in (pl.String, pl.Int64):
        raise ValueError("must be ids: all text or all integers")
    if not len(value) or value.null_count():
        raise ValueError("must be at least one id, and none of them null")
    if value.is_sorted():  # neighbours tell it, without a hash table of millions
        twice = bool((value.slice(1) == value.head(len(value) - 1)).any())
    else:
        twice = bool(value.is_duplicated().any())
    if twice:
        raise ValueError("every value must be there once")
    return value.alias("")


def _write(ids: pl.Series, info: SerializationInfo) -> list[str | int] | dict[str, str]:
    large = info.context
    if isinstance(large, LargeVocabularies) and len(ids) >= large.at_least:
        return {_NAME: large.put(ids)}
    return ids.to_list()


VocabularyIds: TypeAlias = Annotated[pl.Series, PlainValidator(_read), PlainSerializer(_write)]
"""Distinct ids, String or Int64, at least one, no nulls."""
