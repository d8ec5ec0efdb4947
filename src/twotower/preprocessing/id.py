"""Ids: each known one has a row of its own, or, hashed, shares a row with others."""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from twotower.config import Config
from twotower.preprocessing.categories import encode_by_category, fit_by_category
from twotower.preprocessing.counts import row_counts
from twotower.preprocessing.feature import ColumnFeature
from twotower.preprocessing.lookup import Lookup, distinct, id_values, value_totals
from twotower.spec import RowsColumn
from twotower.vocabulary import OUT_OF_VOCABULARY

__all__ = ["FittedId", "IdFeature", "hash_rows"]


class IdFeature(ColumnFeature):
    """An id (text or integers) that is looked up in an embedding table.

    An id that train never had has row 0, with and without ``tail_buckets``: that is the row which id dropout trains to stand
    for somebody unknown, while a row of the tail has learned from those who share it. To tell the two apart, the ids of the
    tail are kept too; where their number is the trouble, and not that of the embedding's rows, ``hash_buckets`` keeps none.

    Attributes:
        min_count: Ids of fewer interactions have no row of their own: they share row 0 with the unknown ones.
        tail_buckets: Ids of fewer interactions than ``min_count`` share so many rows, which follow those of the frequent ids,
            by hash, instead of all sharing row 0.
        hash_buckets: Keep no vocabulary: the row is a hash of the id, in 1 to ``hash_buckets``. Ids of one bucket can't be
            told apart, and an id never seen falls into a bucket too. Two of ``n`` ids share one with probability
            1 / ``hash_buckets``.
    """

    kind: Literal["id"] = "id"
    min_count: int = Field(default=1, ge=1)
    tail_buckets: int | None = Field(default=None, ge=1, lt=2**30)
    hash_buckets: int | None = Field(default=None, ge=1, lt=2**31 - 1)

    @model_validator(mode="after")
    def _one_of(self) -> IdFeature:
        if self.hash_buckets is not None and self.min_count > 1:
            raise ValueError("min_count needs a vocabulary, and with hash_buckets there is none: leave one of them out")
        if self.tail_buckets is not None and self.min_count == 1:
            raise ValueError("tail_buckets are for ids of fewer than min_count interactions: set min_count to 2 or more")
        return self

    def fit(self, column: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedId:
        """Collect the ids of the train rows.

        Args:
            column: Text or integers, ``[n]``; nulls are left out.
            counts: How many interactions each row stands for, ``[n]``; None: one each.

        Raises:
            DataError: If the column holds neither text nor integers, or no id is left.
        """
        if isinstance(column.dtype, pl.Enum):
            return fit_by_category(self.fit, column, counts)
        if self.hash_buckets is not None:
            row_counts(counts, len(id_values(column, self.column)))
            return FittedId(config=self, lookup=None)
        totals = value_totals(column, counts, self.column)
        frequent = Lookup.of_totals(totals, min_count=self.min_count, column=self.column)
        rare = totals.filter((pl.col("count") < self.min_count) & (pl.col("count") > 0))["value"]
        tail = Lookup(ids=rare) if self.tail_buckets is not None and len(rare) else None
        return FittedId(config=self, lookup=frequent, tail=tail)


class FittedId(Config):
    """An id feature and the ids that it found (none when hashed).

    Attributes:
        lookup: Ids with a row of their own; None when hashed.
        tail: Ids that share a row of the tail, by ``hash_rows``; None where there are none.

    Example:
        >>> fitted = IdFeature(column="item").fit(pl.Series([30, 10, 30]))
        >>> fitted.encode(pl.Series([10, 20, 30]))["item"].tolist()
        [1, 0, 2]
    """

    kind: Literal["id"] = "id"
    config: IdFeature
    lookup: Lookup | None
    tail: Lookup | None = None

    @model_validator(mode="after")
    def _vocabulary_or_hash(self) -> FittedId:
        if (self.lookup is None) != (self.config.hash_buckets is not None):
            raise ValueError("an id feature has a vocabulary, or hash_buckets, and not both")
        if self.tail is not None and self.config.tail_buckets is None:
            raise ValueError("only an id feature with tail_buckets has a tail")
        return self

    @property
    def columns(self) -> tuple[RowsColumn, ...]:
        """One column of rows."""
        own = self.lookup.size if self.lookup is not None else (self.config.hash_buckets or 0) + 1
        return (RowsColumn(name=self.config.output_name, vocabulary_size=own + (self.config.tail_buckets or 0)),)

    def encode(self, column: pl.Series) -> dict[str, Tensor]:
        """Rows int32 ``[n]``; an unknown id (unless hashed) and null have row 0.

        Raises:
            DataError: If the column holds integers where it was fitted on text, or the other way round.
        """
        if isinstance(column.dtype, pl.Enum):
            return encode_by_category(self.encode, column)
        if self.lookup is None:
            rows = hash_rows(id_values(column, self.config.column), self.config.hash_buckets or 0)
        else:
            rows = self.lookup.rows(column, column=self.config.column)
            if self.tail is not None:
                rare = self.tail.rows(column, column=self.config.column) != OUT_OF_VOCABULARY
                ids = id_values(column, self.config.column).filter(pl.Series(rare))
                rows[rare] = hash_rows(ids, self.config.tail_buckets or 0) + np.int32(self.lookup.size - 1)
        return {self.config.output_name: torch.from_numpy(rows)}


def hash_rows(ids: pl.Series, buckets: int) -> NDArray[np.int32]:
    """Rows 1 to ``buckets`` of ids by hash, ``[n]``; null has row 0.

    The hash is BLAKE2b with a digest of 8 bytes over the UTF-8 text of the id (an integer as its decimal digits), read as a
    little-endian integer, modulo ``buckets``, plus 1: the same in every process, on every machine.

    Example:
        >>> hash_rows(pl.Series(["ann", None, "ann"]), 1).tolist()
        [1, 0, 1]
    """
    different, positions = distinct(ids)
    texts: list[bytes] = different.cast(pl.String).cast(pl.Binary).to_list()
    digests = b"".join([blake2b(text, digest_size=8).digest() for text in texts])
    rows = (np.frombuffer(digests, dtype="<u8") % np.uint64(buckets)).astype(np.int32) + np.int32(1)
    return np.concatenate([np.array([OUT_OF_VOCABULARY], dtype=np.int32), rows])[positions]
