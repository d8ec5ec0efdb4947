"""Interactions: a table that was checked once against its schema, with the account of what was dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast, final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.data.coded_texts import CodedTexts
from twotower.data.consecutive import as_slice, taken_frame
from twotower.data.id_columns import as_coded_ids, as_unix_seconds, as_weights, require_columns, require_same_id_type
from twotower.data.id_table import IdTable
from twotower.data.positives import parse_positives, positive_rows
from twotower.data.repeats import count_repeats, resolve_repeats
from twotower.data.report import DataReport, DroppedRows
from twotower.data.schema import Schema
from twotower.data.weights import row_weights
from twotower.errors import DataError

__all__ = ["Interactions"]

_EXAMPLES = 5
_ROW = "(row of the source)"
_CODES = "(codes of {})"
_SUMMED_WEIGHT = "weight"


@final
@dataclass(frozen=True, eq=False)
class Interactions:
    """Positives in the order of the file; build it with `from_table`.

    Attributes:
        frame: The positives with every column of the source; ids are String, Int64 or Enum (of a converted table, where a row
            is a number and each distinct id is text once), times Int64 or Float64 Unix seconds. Where nothing is dropped, the
            columns are those of the source, not copies.
        negatives: Rows that fail ``schema.positives``, in the same form.
        negatives_at: int64, for each of the negatives how many positives of the checked table come before it in the source.
        schema: What the columns mean. Where repeats were summed without a weight column, its ``weight`` names the new one.
        report: What was read, kept and dropped.
        coded: Ids that are text and were coded before, by column.

    Example:
        >>> table = pl.DataFrame({"user": ["u", "v", "u"], "item": [1, 1, 2], "at": [30, 10, 20], "rating": [5, 2, 4]})
        >>> interactions = Interactions.from_table(table, Schema(user="user", item="item", time="at", positives="rating >= 4"))
        >>> interactions.item_ids.to_list(), interactions.order.tolist(), len(interactions.negatives)
        ([1, 2], [1, 0], 1)
    """

    frame: pl.DataFrame
    negatives: pl.DataFrame
    schema: Schema
    report: DataReport
    negatives_at: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    coded: Mapping[str, CodedTexts] = field(default_factory=dict)

    @classmethod
    def from_table(
        cls,
        frame: pl.DataFrame,
        schema: Schema,
        *,
        catalogue: IdTable | None = None,
        users: IdTable | None = None,
        coded: Mapping[str, CodedTexts] | None = None,
    ) -> Interactions:
        """Check a table and apply the rules of its schema.

        The rules apply in this order: null ids, unknown items, positives, repeats, ``min_item_count``, ``min_user_count``. The
        negatives know the first three only.

        Args:
            frame: The table, in the order of its file.
            schema: What the columns mean.
            catalogue: The items that can be recommended; None: every item is known.
            users: The users table; users that it lacks are counted, not dropped.
            coded: By column of ids, its rows as `code_texts` found them: then no text is looked at again.

        Raises:
            DataError: If a column is missing or of a wrong type; a time or weight is missing or not finite; an id is null or
                unknown where the schema makes that an error; ids are text here and integers in the catalogue or the users
                table; or nothing is left (the message then quotes the report).
        """
        rows_read = frame.height
        frame = _checked(frame, schema)
        coded = {name: found for name, found in (coded or {}).items() if name in (schema.user, schema.item)}
        frame = frame.with_columns(pl.Series(_CODES.format(name), found.codes) for name, found in coded.items())
        user_key, item_key = (_CODES.format(name) if name in coded else name for name in (schema.user, schema.item))
        dropped: list[DroppedRows] = []
        frame = _without_null_ids(frame, schema, dropped)
        if users is not None and frame.height:
            require_same_id_type(frame[schema.user], users.ids, noun="user", other="users table")
        if catalogue is not None and frame.height:
            require_same_id_type(frame[schema.item], catalogue.ids, noun="item", other="catalogue")
            keys = _keys(frame, schema.item, coded)
            frame = _without_unknown_items(frame, schema, catalogue, keys, dropped)
        positive = positive_rows(frame, parse_positives(schema.positives)) if schema.positives else None
        negatives = _numbered(frame).filter(~positive) if positive is not None else frame.clear()
        frame = _numbered(frame).filter(positive) if positive is not None else frame

        repeats = count_repeats(frame, user_key, item_key)
        frame, schema = _without_repeats(frame, schema, dropped)
        frame = _without_rare(frame, schema.item, item_key, "item", schema.min_item_count, dropped)
        frame = _without_rare(frame, schema.user, user_key, "user", schema.min_user_count, dropped)

        unknown_users = int((users.rows(frame[schema.user].unique()) < 0).sum()) if users is not None else None
        times = frame[schema.time] if schema.time is not None and frame.height else None
        report = DataReport(
            rows_read=rows_read,
            rows_kept=frame.height,
            negatives=negatives.height,
            dropped=tuple(dropped),
            repeats=repeats,
            repeats_rule=schema.repeats,
            users=frame[user_key].n_unique(),
            items=frame[item_key].n_unique(),
            unknown_users=unknown_users,
            first_time=None if times is None else float(cast("float", times.min())),
            last_time=None if times is None else float(cast("float", times.max())),
        )
        if frame.is_empty():
            rule = f" (positives are rows with {schema.positives})" if schema.positives else ""
            raise DataError(
                f"interactions: at least one positive row must remain, but none does: {'; '.join(report.lines())}{rule}"
            )
        at = np.zeros(0, dtype=np.int64)
        if not negatives.is_empty():
            at = np.searchsorted(frame[_ROW].to_numpy(), negatives[_ROW].to_numpy()).astype(np.int64, copy=False)
        of_kept = {name: found for name in coded if isinstance(found := _keys(frame, name, coded), CodedTexts)}
        frame, negatives = (_unnumbered(each.drop(map(_CODES.format, coded))) for each in (frame, negatives))
        return cls(frame, negatives, schema, report, at, of_kept)

    @property
    def user_ids(self) -> pl.Series:
        """User of each row: String, Int64 or Enum, no nulls.

        Raises:
            LookupError: If the column was taken out, as of `twotower.runs.Tables`.
        """
        if self.schema.user not in self.frame.columns:
            raise LookupError("these interactions know their users as rows alone: ask Tables.users_of for the ids")
        return self.frame[self.schema.user]

    @property
    def item_ids(self) -> pl.Series:
        """Item of each row: String, Int64 or Enum, no nulls."""
        return self.frame[self.schema.item]

    @property
    def user_keys(self) -> pl.Series | CodedTexts:
        """User of each row, as `user_ids` or coded."""
        return self.coded.get(self.schema.user) or self.user_ids

    @property
    def item_keys(self) -> pl.Series | CodedTexts:
        """Item of each row, as `item_ids` or coded."""
        return self.coded.get(self.schema.item) or self.item_ids

    @property
    def times(self) -> NDArray[np.int64] | NDArray[np.float64] | None:
        """Unix seconds of each row, int64 or float64, shape ``[n]``; None without a time column."""
        return self.frame[self.schema.time].to_numpy(writable=True) if self.schema.time is not None else None

    @property
    def weights(self) -> NDArray[np.float32] | None:
        """Weight of each row as `row_weights` shapes it, finite and at least 0, shape ``[n]``; None without a weight column."""
        return row_weights(self.frame[self.schema.weight], self.schema) if self.schema.weight is not None else None

    def weights_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """The `weights` of the given rows, shape ``[len(rows)]``; no other column is copied."""
        name = self.schema.weight
        return None if name is None else row_weights(taken_frame(self.frame.select(name), rows)[name], self.schema)

    @cached_property
    def is_ordered(self) -> bool:
        """Whether the rows stand in the order in which they happened."""
        return self.schema.order == "row" or self.schema.time is None or self.frame[self.schema.time].is_sorted()

    @property
    def order(self) -> NDArray[np.int64]:
        """Row numbers from what happened first to what happened last, shape ``[n]``.

        Sorted by (time, row number), so that rows of one time stay in the order of the file; ascending where the schema's order
        is ``row``.
        """
        return np.arange(len(self), dtype=np.int64) if self.is_ordered else self._sorted

    @cached_property
    def _sorted(self) -> NDArray[np.int64]:
        return _order(self.frame, self.schema)

    def in_order(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Some rows, distinct, from what happened first to what happened last."""
        if self.is_ordered:
            return rows if as_slice(rows) is not None else np.sort(rows)
        member = np.zeros(len(self), dtype=np.bool_)
        member[rows] = True
        return self._sorted[member[self._sorted]]

    def take(self, rows: NDArray[np.int64]) -> Interactions:
        """The given rows, in that order, under the same schema and report.

        Rows of one time are then ordered as given: take ascending rows to keep the order of the file.
        """
        return Interactions(taken_frame(self.frame, rows), self.negatives, self.schema, self.report, self.negatives_at)

    def __len__(self) -> int:
        return self.frame.height


def _order(frame: pl.DataFrame, schema: Schema) -> NDArray[np.int64]:
    if schema.order == "row" or schema.time is None:
        return np.arange(frame.height, dtype=np.int64)
    return np.argsort(frame[schema.time].to_numpy(), kind="stable").astype(np.int64, copy=False)


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the row numbers of the source, which it needs from the first dropped row on."""
    return frame if _ROW in frame.columns else frame.with_row_index(_ROW)


def _unnumbered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop(_ROW) if _ROW in frame.columns else frame


def _checked(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """The frame with ids, times and weights in their one form."""
    roles = {"user": schema.user, "item": schema.item, "time": schema.time, "weight": schema.weight}
    require_columns(frame, {role: name for role, name in roles.items() if name is not None}, noun="interactions")
    columns = [as_coded_ids(frame[schema.user], noun="user"), as_coded_ids(frame[schema.item], noun="item")]
    if schema.time is not None:
        columns.append(as_unix_seconds(frame[schema.time]))
    if schema.weight is not None:
        columns.append(as_weights(frame[schema.weight]))
    return frame.with_columns(columns)


def _without_null_ids(frame: pl.DataFrame, schema: Schema, dropped: list[DroppedRows]) -> pl.DataFrame:
    for role, name in (("user", schema.user), ("item", schema.item)):
        if not frame[name].null_count():
            continue
        frame = _numbered(frame)
        missing = frame.filter(pl.col(name).is_null())
        rows = tuple(missing[_ROW].head(_EXAMPLES).to_list())
        if schema.null_ids == "error":
            raise DataError(
                f"interactions: every row needs a {role} in {name!r}; {missing.height:,} rows have none "
                f"(rows {', '.join(map(str, rows))}); correct them, or declare null_ids = 'drop'"
            )
        dropped.append(DroppedRows(reason=f"no {role} id, at rows", rows=missing.height, examples=rows))
        frame = frame.filter(pl.col(name).is_not_null())
    return frame


def _keys(frame: pl.DataFrame, name: str, coded: Mapping[str, CodedTexts]) -> pl.Series | CodedTexts:
    return CodedTexts(coded[name].names, frame[_CODES.format(name)].to_numpy()) if name in coded else frame[name]


def _without_unknown_items(
    frame: pl.DataFrame, schema: Schema, catalogue: IdTable, items: pl.Series | CodedTexts, dropped: list[DroppedRows]
) -> pl.DataFrame:
    known = pl.Series(catalogue.rows32(items) >= 0)
    if known.all():
        return frame
    frame = _numbered(frame)
    unknown = frame.filter(~known)
    ids = unknown[schema.item].unique(maintain_order=True)
    shown = tuple(ids.head(_EXAMPLES).to_list())
    if schema.unknown_items == "error":
        raise DataError(
            f"interactions: every item must be in the catalogue; {unknown.height:,} rows name {len(ids):,} items that are not "
            f"(for instance {', '.join(map(repr, shown))}); add them, or declare unknown_items = 'drop'"
        )
    dropped.append(DroppedRows(reason="item not in the catalogue", rows=unknown.height, examples=shown))
    return frame.filter(known)


def _without_repeats(frame: pl.DataFrame, schema: Schema, dropped: list[DroppedRows]) -> tuple[pl.DataFrame, Schema]:
    if schema.repeats == "keep":
        return frame, schema
    frame = _numbered(frame)
    rows, weights = resolve_repeats(
        frame,
        user=schema.user,
        item=schema.item,
        rule=schema.repeats,
        order=_order(frame, schema),
        weights=frame[schema.weight] if schema.weight is not None else None,
    )
    if len(rows) < frame.height:
        removed = np.setdiff1d(np.arange(frame.height), rows, assume_unique=True)
        examples = tuple(frame[_ROW][removed[:_EXAMPLES]].to_list())
        reason = f"repeat a (user, item) pair (rule: {schema.repeats}), at rows"
        dropped.append(DroppedRows(reason=reason, rows=len(removed), examples=examples))
    frame = frame[rows]
    if weights is None:
        return frame, schema
    if schema.weight is None:
        if _SUMMED_WEIGHT in frame.columns:
            raise DataError(
                f"interactions: repeats = 'sum' writes a new column {_SUMMED_WEIGHT!r}, but the table has one; "
                f"declare it (weight = {_SUMMED_WEIGHT!r}) or rename it"
            )
        schema = schema.model_copy(update={"weight": _SUMMED_WEIGHT})
    return frame.with_columns(weights.alias(cast("str", schema.weight))), schema


def _without_rare(
    frame: pl.DataFrame, column: str, key: str, noun: str, minimum: int, dropped: list[DroppedRows]
) -> pl.DataFrame:
    if minimum == 1:
        return frame
    counted = frame.select(pl.len().over(key) >= minimum).to_series()
    if counted.all():
        return frame
    frame = _numbered(frame)
    rare = frame.filter(~counted)
    examples = tuple(rare[column].unique(maintain_order=True).head(_EXAMPLES).to_list())
    dropped.append(DroppedRows(reason=f"{noun} with fewer than {minimum} positives", rows=rare.height, examples=examples))
    return frame.filter(counted)
