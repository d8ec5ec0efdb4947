"""The query's columns of known users, encoded once; of a request only what it gives is encoded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import polars as pl
import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.preprocessing import Preprocessor
from twotower.recommender.requests import FeatureRows, RequestDefaults, given_frame, request_frame
from twotower.recommender.stored_users import StoredUsers
from twotower.types import Column, Id, Ragged, take_column

__all__ = ["QueryRows"]

_AT_ONCE = 2**18


class QueryRows:
    """What the query tower reads of each user, but for the histories.

    The columns of all known users are encoded when the first request comes, with one row more, for somebody of whom nothing is
    known. A request takes rows of them, and encodes again only the features that read a column which it gives. A feature that
    can't be encoded of every row (a vector that may not be missing, and has no default) is encoded anew in each request, so
    that only whoever lacks it is refused.

    Args:
        preprocessor: As fitted.
        users: Known users.
        defaults: For what a request leaves out.
    """

    def __init__(self, preprocessor: Preprocessor, users: StoredUsers, defaults: RequestDefaults) -> None:
        self._preprocessor, self._users, self._defaults = preprocessor, users, defaults
        self._features = (*preprocessor.spec.user, *preprocessor.spec.context)
        # What a missing value means is the feature's to say; only where it says that none may be missing, and for the time,
        # a default stands in. Filling others would give users another vector than they had in training.
        strict = {
            column
            for feature in self._features
            if getattr(feature.config, "missing", None) == "error"
            for column in feature.config.source_columns
        }
        self._strict = sorted(strict | {defaults.time_column} if defaults.time_column else strict)
        groups = {feature.config.source_columns for feature in self._features}
        self._together = sorted(columns for columns in groups if len(columns) > 1)
        self._id_features = {f.config.output_name for f in self._features if users.table.id_column in f.config.source_columns}

    @property
    def readable(self) -> tuple[str, ...]:
        """Columns that a request may give, sorted."""
        return tuple(sorted(set(self._users.table.frame.columns) - {self._users.table.id_column}))

    @property
    def stand_ins(self) -> dict[str, object]:
        """By column, what a value is taken as that nobody gives, before any feature reads it."""
        return {name: self._defaults.values[name] for name in self._strict if name in self._defaults.values}

    def columns(
        self, users: Sequence[Id | None], rows: Tensor, features: FeatureRows | None
    ) -> tuple[dict[str, Column], dict[str, Tensor]]:
        """The columns of requests, and where something was assumed.

        Args:
            users: Who asks, ``n`` entries.
            rows: Of each in the table of users, int64 ``[n]``, -1 for whoever is not in it.
            features: What requests give beside that; None: nothing.

        Returns:
            Encoded columns of ``n`` rows; and by raw column bool ``[n]``, true where `RequestDefaults.values` stands in.

        Raises:
            ConfigError: If a feature is given that the query does not read.
            DataError: If the number of rows or a value's type does not fit.
        """
        table = self._users.table
        given = None
        if features is not None:
            given = given_frame(features, len(users), columns=table.frame.columns, id_column=table.id_column)
        encoded, assumed = self._known
        places = torch.where(rows < 0, len(table), rows)
        touched = self._touched(set() if given is None else set(given.columns), users, rows)
        touched |= set(self._owner.values()) - {self._owner[name] for name in encoded}
        columns = {name: take_column(column, places) for name, column in encoded.items() if self._owner[name] not in touched}
        found = {name: mask.index_select(0, places) for name, mask in assumed.items()}
        if touched:
            some = [feature for feature in self._features if feature.config.output_name in touched]
            frame, masks = self._frame(users, rows, given, sorted({c for f in some for c in f.config.source_columns}))
            columns |= self._preprocessor.encode_features(some, frame)
            found |= masks
        return {name: columns[name] for name in self._owner}, found

    def times(self, users: Sequence[Id | None], rows: Tensor, features: FeatureRows | None) -> tuple[Tensor, Tensor]:
        """When requests are, Unix seconds ``[n]``, and where that was assumed, bool ``[n]``; arguments as of `columns`.

        Raises:
            DataError: If a time is of another type, or infinite.
        """
        name = self._defaults.time_column
        assert name is not None
        table, given = self._users.table, None
        if features is not None:
            given = given_frame(features, len(users), columns=table.frame.columns, id_column=table.id_column)
            given = given.select(own for own in given.columns if own == name)
        frame, assumed = self._frame(users, rows, given, [name])
        times = torch.from_numpy(frame[name].to_numpy(writable=True))
        if not bool(times.isfinite().all()):
            raise DataError(
                f"features: column {name!r} must hold finite times, in Unix seconds; came {frame[name].to_list()[:5]!r}"
            )
        return times, assumed[name]

    def _touched(self, given: set[str], users: Sequence[Id | None], rows: Tensor) -> set[str]:
        """Names of the features that have to be encoded anew."""
        touched = {f.config.output_name for f in self._features if given & set(f.config.source_columns)}
        # an id that the bundle lacks may have a row of its own all the same: a hash, or a vocabulary that knows more
        if self._id_features and any(user is not None and row < 0 for user, row in zip(users, rows.tolist(), strict=True)):
            touched |= self._id_features
        return touched

    @cached_property
    def _known(self) -> tuple[dict[str, Column], dict[str, Tensor]]:
        """Encoded columns of all known users and of nobody, and where a default stands in."""
        table = self._users.table
        parts: dict[str, list[Column]] = {name: [] for name in self._owner}
        masks: list[dict[str, Tensor]] = []
        for start in range(0, len(table) + 1, _AT_ONCE):
            rows = torch.arange(start, min(start + _AT_ONCE, len(table) + 1))
            rows = torch.where(rows == len(table), -1, rows)
            frame, mask = self._frame(None, rows, None, table.frame.columns)
            for feature in self._features:
                try:
                    for name, column in self._preprocessor.encode_features([feature], frame).items():
                        if name in parts:
                            parts[name].append(column)
                except DataError:  # told to those requests that it is a fault of
                    for own in feature.columns:
                        parts.pop(own.name, None)
            masks.append(mask)
        columns = {name: _joined(chunks) for name, chunks in parts.items()}
        return columns, {name: torch.cat([mask[name] for mask in masks]) for name in masks[0]}

    @cached_property
    def _owner(self) -> dict[str, str]:
        """The feature that each encoded column is of."""
        return {column.name: feature.config.output_name for feature in self._features for column in feature.columns}

    def _frame(
        self, users: Sequence[Id | None] | None, rows: Tensor, given: pl.DataFrame | None, columns: Sequence[str]
    ) -> tuple[pl.DataFrame, dict[str, Tensor]]:
        """Raw columns of requests, defaults in place of what may not be missing."""
        known = self._users.frame_at(rows, columns, users)
        if given is not None:
            given = given.select(name for name in given.columns if name in known.columns)
        frame, assumed = request_frame(
            known,
            given,
            self._defaults,
            strict_columns=[name for name in self._strict if name in known.columns],
            together=[group for group in self._together if set(group) <= set(known.columns)],
        )
        return frame, {name: torch.from_numpy(mask.to_numpy(writable=True)) for name, mask in assumed.items()}


def _joined(parts: list[Column]) -> Column:
    """Columns of one feature, one below the other."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Ragged):
        ragged = [part for part in parts if isinstance(part, Ragged)]
        starts = np.cumsum([0, *(len(part.values) for part in ragged[:-1])])
        offsets = [part.offsets[:-1] + int(start) for part, start in zip(ragged, starts, strict=True)]
        total = torch.tensor([sum(len(part.values) for part in ragged)])
        return Ragged(torch.cat([part.values for part in ragged]), torch.cat([*offsets, total]))
    return torch.cat([part for part in parts if isinstance(part, Tensor)])
