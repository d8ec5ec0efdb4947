"""What a user has interacted with before, as a feature of the query, pooled or in order: the vocabulary of its items."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor

from twotower.config import Config
from twotower.preprocessing.categories import encode_by_category, fit_by_category
from twotower.preprocessing.lookup import Lookup
from twotower.spec import ItemsColumn, RowsColumn

__all__ = ["FittedHistory", "HistoryFeature", "SequenceFeature"]

ItemsAre: TypeAlias = Literal["table", "candidate"]
"""What the items of a history are to the query tower."""


class HistoryFeature(Config):
    """The items of a user's history, each looked up, to be pooled by the query tower (or read as a sequence).

    Fitting finds the items that have a row; which items belong to a row's history is decided where the batch is made, by
    ``mode``, ``own_item`` and ``max_length``.

    Attributes:
        name: Name of the encoded column.
        max_length: At most so many, the most recent ones; None: all.
        mode: ``before``: what the user did before this row, in the order of time; ``others``: all other train rows of the
            user, later ones included, for splits that are not by time (where they are, a row that is judged reads what came
            before it).
        own_item: Whether the row's own item may be in its history, where the user has it more than once: ``exclude`` or
            ``allow``.
        min_count: Items of fewer interactions share row 0 with the unknown ones.
        items: What each item is to the query tower: a row of the feature's embedding ``table``, or what the ``candidate`` tower
            makes of it (features and id), so that an item that nobody had in train means something where its features do.
            With ``candidate``, ``min_count`` and, of the embedding, ``dim``, ``table``, ``id_dropout``, ``init_scale`` and
            ``update`` are left out.
    """

    kind: Literal["history"] = "history"
    name: str = Field(default="history", min_length=1)
    max_length: int | None = Field(default=None, ge=1)
    mode: Literal["before", "others"] = "before"
    own_item: Literal["exclude", "allow"] = "exclude"
    min_count: int = Field(default=1, ge=1)
    items: ItemsAre = "table"

    @model_validator(mode="after")
    def _count_of_a_table(self) -> HistoryFeature:
        _require_table(self.items, self.min_count)
        return self

    @model_serializer(mode="wrap")
    def _items_where_given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_default(write(self))

    @property
    def output_name(self) -> str:
        """Name of the encoded column."""
        return self.name

    @property
    def source_columns(self) -> tuple[str, ...]:
        """None: a history is not read from a table."""
        return ()

    def fit(self, item_ids: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedHistory:
        """Collect the items of the train rows, as an id feature does.

        Args:
            item_ids: Text or integers, ``[n]``; nulls are left out.
            counts: How many interactions each item has, ``[n]``; None: one each.

        Raises:
            DataError: If the ids are neither text nor integers, or none is left.
        """
        return _fit(self, item_ids, counts)


class SequenceFeature(Config):
    """What a user did before, in order, to be read by an encoder of the query tower.

    A row's sequence is the latest ``max_length`` items before it, in the order of time, its own item among them where the user
    had it before. In training, a user's rows share sequences: these begin every half ``max_length`` of what the user did, and
    each row reads the one of which it has seen most, its items in front of the row; so one pass over a sequence encodes as many
    rows as it has items.

    Attributes:
        name: Name of the encoded column.
        max_length: At most so many items, the most recent ones.
        min_count: Items of fewer interactions share row 0 with the unknown ones.
        items: What each item is to the query tower: a row of the feature's embedding ``table``, or what the ``candidate`` tower
            makes of it (features and id), so that an item that nobody had in train means something where its features do.
            With ``candidate``, ``min_count`` and, of the embedding, ``dim``, ``table``, ``id_dropout``, ``init_scale`` and
            ``update`` are left out.
    """

    kind: Literal["sequence"] = "sequence"
    name: str = Field(default="sequence", min_length=1)
    max_length: int = Field(default=50, ge=1)
    min_count: int = Field(default=1, ge=1)
    items: ItemsAre = "table"

    @model_validator(mode="after")
    def _count_of_a_table(self) -> SequenceFeature:
        _require_table(self.items, self.min_count)
        return self

    @model_serializer(mode="wrap")
    def _items_where_given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _without_default(write(self))

    @property
    def output_name(self) -> str:
        """Name of the encoded column."""
        return self.name

    @property
    def source_columns(self) -> tuple[str, ...]:
        """None: a sequence is not read from a table."""
        return ()

    @property
    def mode(self) -> Literal["before"]:
        """As of a history: what the user did before the row."""
        return "before"

    @property
    def own_item(self) -> Literal["allow"]:
        """As of a history: the row's own item may be in it, where it came before."""
        return "allow"

    def fit(self, item_ids: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedHistory:
        """Collect the items of the train rows; see `HistoryFeature.fit`."""
        return _fit(self, item_ids, counts)


def _fit(config: HistoryFeature | SequenceFeature, item_ids: pl.Series, counts: NDArray[np.int64] | None) -> FittedHistory:
    if config.items == "candidate":
        return FittedHistory(config=config)
    if isinstance(item_ids.dtype, pl.Enum):
        return fit_by_category(lambda ids, each: _fit(config, ids.alias(item_ids.name), each), item_ids, counts)
    lookup = Lookup.fit(item_ids, counts, min_count=config.min_count, column=_named(item_ids))
    return FittedHistory(config=config, lookup=lookup)


class FittedHistory(Config):
    """A history feature and the items that it found.

    Attributes:
        config: As chosen.
        lookup: Of items; None where they are the candidate tower's vectors, which are found by catalogue row.

    Example:
        >>> fitted = HistoryFeature(min_count=2).fit(pl.Series(["x", "y", "z"]), np.array([5, 1, 2]))
        >>> fitted.encode(pl.Series(["z", "y", "x"])).tolist()
        [2, 0, 1]
    """

    kind: Literal["history"] = "history"
    config: Annotated[HistoryFeature | SequenceFeature, Field(discriminator="kind")]
    lookup: Lookup | None = None

    @model_validator(mode="after")
    def _lookup_where_needed(self) -> FittedHistory:
        if (self.lookup is None) != (self.config.items == "candidate"):
            raise ValueError(
                f"a history whose items are {self.config.items!r} has {'a' if self.lookup is None else 'no'} lookup"
            )
        return self

    @property
    def columns(self) -> tuple[RowsColumn | ItemsColumn, ...]:
        """One ragged column of rows."""
        if self.lookup is None:
            return (ItemsColumn(name=self.config.name),)
        return (RowsColumn(name=self.config.name, vocabulary_size=self.lookup.size, ragged=True),)

    def encode(self, item_ids: pl.Series) -> Tensor:
        """The row of each item of the catalogue, int32 ``[N]``: histories of catalogue rows are mapped through it.

        Raises:
            DataError: If the ids are integers and were text in fitting, or the other way round.
            ValueError: If the items are the candidate tower's vectors.
        """
        if self.lookup is None:
            raise ValueError(f"{self.config.name!r}: items that are candidates are found by catalogue row, and have no other")
        if isinstance(item_ids.dtype, pl.Enum):
            return encode_by_category(lambda ids: {"rows": self.encode(ids.alias(item_ids.name))}, item_ids)["rows"]
        return torch.from_numpy(self.lookup.rows(item_ids, column=_named(item_ids)))


def _require_table(items: ItemsAre, min_count: int) -> None:
    if items == "candidate" and min_count != 1:
        raise ValueError(
            "min_count: with items = 'candidate' no item shares a row of a table with others: leave it out (features of the "
            "candidate have a min_count of their own)"
        )


def _without_default(values: dict[str, Any]) -> dict[str, Any]:
    """A feature whose items are of a table reads as it did before there was a choice."""
    return {key: value for key, value in values.items() if key != "items" or value != "table"}


def _named(item_ids: pl.Series) -> str:
    return item_ids.name or "item ids"
