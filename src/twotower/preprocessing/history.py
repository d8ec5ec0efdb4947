"""What a user has interacted with before, as a feature of the query, pooled or in order: the vocabulary of its items."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator
from torch import Tensor

from twotower.config import Config
from twotower.errors import DataError
from twotower.preprocessing.buckets import BucketsFeature, FittedBuckets
from twotower.preprocessing.categories import encode_by_category, fit_by_category
from twotower.preprocessing.category import CategoryFeature, FittedCategory
from twotower.preprocessing.floats import to_floats
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
        request_time: Whether the encoder knows when the next item is asked for: of a row that is trained on or judged its own
            time, of a request its time. Figures then are of a recommender that is asked at that moment. The encoder must read
            times (``relative_time`` or ``time_gap``).
        columns: Columns of the interactions that are read of each event beside its item, such as a rating: numbers by
            buckets (at most 16, between quantiles of the train rows), anything else as categories. What the row itself has
            there is never read.
    """

    kind: Literal["sequence"] = "sequence"
    name: str = Field(default="sequence", min_length=1)
    max_length: int = Field(default=50, ge=1)
    min_count: int = Field(default=1, ge=1)
    items: ItemsAre = "table"
    request_time: bool = False
    columns: tuple[str, ...] = ()

    @field_validator("columns")
    @classmethod
    def _distinct_columns(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(columns)) < len(columns):
            raise ValueError(f"each column may be named once; came {', '.join(columns)}")
        return columns

    @model_validator(mode="after")
    def _of_a_table(self) -> SequenceFeature:
        _require_table(self.items, self.min_count)
        if self.items == "candidate" and (self.request_time or self.columns):
            raise ValueError("items = 'candidate' can't be read beside request_time or columns yet: leave them out, or items")
        return self

    @model_serializer(mode="wrap")
    def _without_later_keys(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Keys that came later are written only where they are given, so that a recipe reads as it did before."""
        values = _without_default(write(self))
        return {name: value for name, value in values.items() if value or name not in ("request_time", "columns")}

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

    def fit(
        self, item_ids: pl.Series, counts: NDArray[np.int64] | None = None, events: pl.DataFrame | None = None
    ) -> FittedHistory:
        """Collect the items of the train rows; see `HistoryFeature.fit`.

        Args:
            item_ids: As there.
            counts: As there.
            events: The train rows, with ``columns``.

        Raises:
            DataError: As there, or if a column of the events can't be fitted.
        """
        fitted = _fit(self, item_ids, counts)
        if not self.columns:
            return fitted
        if events is None:
            raise DataError(f"columns of events need the train rows: {', '.join(map(repr, self.columns))}")
        return fitted.model_copy(update={"events": tuple(_fit_event(events[name]) for name in self.columns)})


_MOST_EDGES = 15


def _fit_event(column: pl.Series) -> FittedBuckets | FittedCategory:
    """Numbers by buckets of about as many events each, or of one value each where there are few; anything else by its value."""
    if not column.dtype.is_numeric():
        return CategoryFeature(column=column.name, missing="own_row").fit(column)
    values = np.unique(to_floats(column, column.name))
    values = values[~np.isnan(values)]
    if 1 < len(values) <= _MOST_EDGES + 1:
        edges = tuple(((values[1:] + values[:-1]) / 2).tolist())
        return BucketsFeature(column=column.name, edges=edges, missing="own_row").fit(column)
    return BucketsFeature(column=column.name, num_edges=_MOST_EDGES, spacing="quantile", missing="own_row").fit(column)


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
    events: tuple[Annotated[FittedBuckets | FittedCategory, Field(discriminator="kind")], ...] = ()

    @model_validator(mode="after")
    def _lookup_where_needed(self) -> FittedHistory:
        if (self.lookup is None) != (self.config.items == "candidate"):
            raise ValueError(
                f"a history whose items are {self.config.items!r} has {'a' if self.lookup is None else 'no'} lookup"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_empty_events(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Events are written only where there are some, so that a history reads as it did before there were any."""
        values: dict[str, Any] = write(self)
        if not self.events:
            values.pop("events", None)
        return values

    @property
    def event_columns(self) -> tuple[RowsColumn, ...]:
        """What is read of each event beside its item."""
        return tuple(column for feature in self.events for column in feature.columns)

    def encode_events(self, frame: pl.DataFrame) -> dict[str, Tensor]:
        """The rows of `event_columns` of events, by name, int32 ``[n]`` each.

        Args:
            frame: Has the columns.

        Raises:
            DataError: If a column is of another type than in train.
        """
        return {name: rows for feature in self.events for name, rows in feature.encode(frame[feature.config.column]).items()}

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
