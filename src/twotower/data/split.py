"""Cutting interactions into train, validation and test: by time, per user, at random, or as given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, Strict, model_validator

from twotower.config import Config
from twotower.data.interactions import Interactions
from twotower.errors import DataError, nearest

__all__ = ["GivenSplit", "LeaveLastOut", "RandomSplit", "Split", "SplitConfig", "TimeSplit", "split"]


def _rows_or_fraction(value: int | float) -> int | float:
    if value < 0 or (isinstance(value, float) and value >= 1):
        raise ValueError("must be a number of rows (an integer of at least 0) or a fraction in [0, 1)")
    return value


Part: TypeAlias = Annotated[Annotated[int, Strict()] | Annotated[float, Strict()], AfterValidator(_rows_or_fraction)]
"""An integer is a number of rows, a float a fraction (rounded to the nearest row); 0 is none."""


class TimeSplit(Config):
    """The last rows are the test, the ones before them the validation: what was known then, asked of what came after.

    Attributes:
        test: Rows, or fraction of all rows.
        validation: Rows, or fraction of the rows that remain after the test.
    """

    kind: Literal["time"] = "time"
    test: Part = 0.2
    validation: Part = 0.1


class LeaveLastOut(Config):
    """Each user's last row is the test, the one before it the validation.

    A user with two rows has no validation, a user with one is in train only.

    Attributes:
        validation: Whether to cut validation rows; else they stay in train.
    """

    kind: Literal["leave_last_out"] = "leave_last_out"
    validation: bool = True


class RandomSplit(Config):
    """A permutation of the rows in the order of the file: first train, then validation, last the test.

    Attributes:
        train: Rows, or fraction of the rows that remain after test and validation; those left over are used for nothing. None:
            all of them.
        seed: Of ``numpy.random.default_rng(seed).permutation(n)``.
        test: Rows, or fraction of all rows.
        validation: Rows, or fraction of the rows that remain after the test.
    """

    kind: Literal["random"] = "random"
    seed: int = Field(default=42, ge=0)
    train: Part | None = None
    test: Part = 0.2
    validation: Part = 0.1


class GivenSplit(Config):
    """A column says which part a row belongs to.

    Attributes:
        column: Name of the column, text.
        train: Its label for train.
        validation: Its label for validation; the column need not use it.
        test: Its label for test.
    """

    kind: Literal["given"] = "given"
    column: str
    train: str = "train"
    validation: str = "validation"
    test: str = "test"

    @model_validator(mode="after")
    def _distinct(self) -> GivenSplit:
        if len({self.train, self.validation, self.test}) < 3:
            raise ValueError(f"the three labels must differ; came {self.train!r}, {self.validation!r}, {self.test!r}")
        return self


SplitConfig: TypeAlias = Annotated[TimeSplit | LeaveLastOut | RandomSplit | GivenSplit, Field(discriminator="kind")]
"""Any of the four, told apart by ``kind``."""


@final
@dataclass(frozen=True, eq=False)
class Split:
    """Row numbers into ``interactions.frame``, int64; no row is in two parts.

    By time and leave-last-out list rows in the order in which they happened, random in the order of its permutation, given in
    the order of the file.

    Attributes:
        train: Rows to learn from.
        validation: Rows to choose by; may be empty where none was asked for.
        test: Rows to judge by, once.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]


def split(interactions: Interactions, config: TimeSplit | LeaveLastOut | RandomSplit | GivenSplit) -> Split:
    """Cut interactions as a config says.

    Raises:
        DataError: If the train part would be empty, or a part that was asked for (the message gives the counts); or if the
            column of a given split is missing, not text, or holds a label that was not declared.

    Example:
        >>> import polars as pl
        >>> from twotower.data.schema import Schema
        >>> table = pl.DataFrame({"user": [1, 1, 2, 2, 2], "item": [1, 2, 3, 4, 5], "time": [5, 4, 3, 2, 1]})
        >>> interactions = Interactions.from_table(table, Schema(user="user", item="item", time="time"))
        >>> parts = split(interactions, TimeSplit(test=2, validation=1))
        >>> parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()
        ([4, 3], [2], [1, 0])
    """
    wants_validation = False
    wants_test = True
    if isinstance(config, GivenSplit):
        parts = _given(interactions.frame, config)
    elif isinstance(config, LeaveLastOut):
        parts = _leave_last_out(interactions, validation=config.validation)
        wants_validation = config.validation
    else:
        if isinstance(config, RandomSplit):
            rows = np.random.default_rng(config.seed).permutation(len(interactions)).astype(np.int64, copy=False)
        else:
            rows = interactions.order if interactions.is_ordered else interactions.order.copy()  # theirs to change
        parts = _cut(rows, test=config.test, validation=config.validation)
        if isinstance(config, RandomSplit) and config.train is not None:
            parts = _fewer_train(parts, config.train)
        wants_test, wants_validation = config.test > 0, config.validation > 0
    empty = [
        name
        for name, wanted in (("train", True), ("validation", wants_validation), ("test", wants_test))
        if wanted and not len(getattr(parts, name))
    ]
    if empty:
        counts = f"{len(parts.train):,} train, {len(parts.validation):,} validation, {len(parts.test):,} test"
        raise DataError(
            f"split {config.kind!r}: {' and '.join(empty)} must not be empty; of {len(interactions):,} rows came {counts}; "
            "change the sizes of the parts"
        )
    return parts


def _cut(rows: NDArray[np.int64], *, test: int | float, validation: int | float) -> Split:
    num_test = min(_size(test, len(rows)), len(rows))
    rest = len(rows) - num_test
    num_validation = min(_size(validation, rest), rest)
    return Split(rows[: rest - num_validation], rows[rest - num_validation : rest], rows[rest:])


def _fewer_train(parts: Split, train: int | float) -> Split:
    size = _size(train, len(parts.train))
    if size > len(parts.train):
        raise DataError(
            f"split 'random': train asks for {size:,} rows, but {len(parts.train):,} remain after {len(parts.validation):,} "
            f"validation and {len(parts.test):,} test rows; ask for fewer"
        )
    return Split(parts.train[:size], parts.validation, parts.test)


def _size(part: int | float, total: int) -> int:
    return part if isinstance(part, int) else round(part * total)


def _leave_last_out(interactions: Interactions, *, validation: bool) -> Split:
    order = interactions.order
    ordered = interactions.user_ids[order].to_frame("user")
    # how many rows of the same user come after this one: 0 is the last
    places = ordered.select(
        pl.int_range(pl.len()).reverse().over("user").alias("later"), pl.int_range(pl.len()).over("user").alias("earlier")
    )
    later, earlier = places["later"].to_numpy(), places["earlier"].to_numpy()
    is_test = (later == 0) & (earlier >= 1)
    is_validation = (later == 1) & (earlier >= 1) & validation
    return Split(order[~is_test & ~is_validation], order[is_validation], order[is_test])


def _given(frame: pl.DataFrame, config: GivenSplit) -> Split:
    if config.column not in frame.columns:
        raise DataError(f"split 'given': no column {config.column!r}{nearest(config.column, frame.columns)}")
    labels = frame[config.column]
    if labels.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise DataError(
            f"split 'given': column {config.column!r} must hold text; came {labels.dtype}; declare its type 'string'"
        )
    labels = labels.cast(pl.String)
    declared = (config.train, config.validation, config.test)
    unknown = (~labels.is_in(declared).fill_null(False)).arg_true()
    if len(unknown):
        row = int(unknown[0])
        raise DataError(
            f"split 'given': column {config.column!r} must hold {', '.join(map(repr, declared))}; row {row} holds "
            f"{labels[row]!r} ({len(unknown):,} such rows); correct the labels or declare them"
        )
    train, validation, test = ((labels == label).arg_true().cast(pl.Int64).to_numpy().copy() for label in declared)
    return Split(train, validation, test)
