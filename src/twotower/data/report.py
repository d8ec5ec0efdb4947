"""What became of a table's rows: how many were read, kept and dropped, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from twotower.config import Config

__all__ = ["DataReport", "DroppedRows"]


class DroppedRows(Config):
    """Rows that were dropped for one reason.

    Attributes:
        reason: Why, in words.
        rows: How many.
        examples: The first few: row numbers of the source (from 0), or ids.
    """

    reason: str
    rows: int
    examples: tuple[str | int, ...] = ()


class DataReport(Config):
    """The account of one table of interactions; ``rows_read`` is the sum of kept, negative and dropped rows.

    Attributes:
        rows_read: Rows of the source.
        rows_kept: Positives that remain.
        negatives: Rows that fail ``positives``, kept apart.
        dropped: Rows that are in neither, by reason, in the order in which the rules were applied.
        repeats: Positives whose (user, item) pair an earlier row had already, before the rule for repeats.
        repeats_rule: That rule.
        users: Distinct users among the positives.
        items: Distinct items among the positives.
        unknown_users: Distinct users among the positives that the users table lacks; None where there is no such table.
        first_time: Earliest time of the positives, Unix seconds; None without times.
        last_time: Latest time of the positives, Unix seconds; None without times.
        skipped: Rows of the source that could not be read and were left out before all else (``on_bad_rows = "skip"``), by
            reason; they are not in ``rows_read``.
        sampled_from: Rows that a sample was drawn from, of which ``rows_read`` were taken; None where all were.
        ignored_columns: Columns of the source that nothing reads.
        filled: By column, how many missing values took the value that was declared for them.
        conflicts: By column of a catalogue that is made from the interactions: items that have more than one value in it.
    """

    rows_read: int
    rows_kept: int
    negatives: int
    dropped: tuple[DroppedRows, ...]
    repeats: int
    repeats_rule: Literal["keep", "first", "last", "sum"]
    users: int
    items: int
    unknown_users: int | None = None
    first_time: float | None = None
    last_time: float | None = None
    skipped: tuple[DroppedRows, ...] = ()
    sampled_from: int | None = None
    ignored_columns: tuple[str, ...] = ()
    filled: dict[str, int] = Field(default_factory=dict)
    conflicts: dict[str, int] = Field(default_factory=dict)

    def lines(self) -> list[str]:
        """The account in sentences, one a line."""
        lines = [f"{self.rows_read:,} rows read, {self.rows_kept:,} kept: {self.users:,} users, {self.items:,} items"]
        if self.sampled_from is not None:
            lines[0] = f"a sample of {self.sampled_from:,} rows: {lines[0]}"
        lines += [_account(part, "skipped") for part in self.skipped]
        if self.negatives:
            lines.append(f"{self.negatives:,} rows are negatives and kept apart")
        for part in self.dropped:
            lines.append(_account(part, "dropped"))
        if self.repeats:
            lines.append(f"{self.repeats:,} rows repeat a (user, item) pair; rule: {self.repeats_rule}")
        if self.unknown_users:
            lines.append(f"{self.unknown_users:,} users are not in the users table")
        if self.first_time is not None and self.last_time is not None:
            lines.append(f"times from {_date(self.first_time)} to {_date(self.last_time)}")
        if self.filled:
            lines.append(f"missing values filled: {_counted(self.filled)}")
        if self.conflicts:
            lines.append(f"items with more than one value: {_counted(self.conflicts)}")
        if self.ignored_columns:
            lines.append(f"columns that nothing reads: {', '.join(self.ignored_columns)}")
        return lines


def _account(part: DroppedRows, verb: str) -> str:
    examples = f" (for instance {', '.join(repr(example) for example in part.examples)})" if part.examples else ""
    return f"{part.rows:,} rows {verb}: {part.reason}{examples}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
