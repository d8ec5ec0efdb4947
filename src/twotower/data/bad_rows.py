"""Rows that can't be read: an error that names file, row and column, or a count by reason with a sample."""

from __future__ import annotations

from typing import Literal, TypeAlias

from twotower.config import Config
from twotower.errors import TableReadError

__all__ = ["BadRow", "BadRows", "BadRowsPolicy", "SkippedRows"]

BadRowsPolicy: TypeAlias = Literal["error", "skip"]
"""What to do with a row that can't be read: stop, or leave it out, count it and show a few."""

Reason: TypeAlias = Literal["wrong number of fields", "not UTF-8", "value of another type"]

_SHOWN_CHARACTERS = 200


class BadRow(Config):
    """One row that was left out.

    Attributes:
        file: Where it is.
        row: Data row of that file, counted from 0; blank lines and the header are not counted.
        reason: What is wrong with it.
        column: The first column that is wrong; None where the number of fields is.
        text: The row as it stands in the file, cut at 200 characters.
    """

    file: str
    row: int
    reason: Reason
    column: str | None = None
    text: str


class SkippedRows(Config):
    """The account of rows that were left out.

    Attributes:
        counts: Rows by reason; a row counts for one reason only.
        sample: The first of them, at most 5, in the order of the source.
    """

    counts: dict[str, int]
    sample: tuple[BadRow, ...]

    @property
    def rows(self) -> int:
        """Rows that were left out, for whatever reason."""
        return sum(self.counts.values())


class BadRows:
    """Stops at a bad row, or counts it, by policy.

    Args:
        policy: What to do with one.

    Example:
        >>> bad = BadRows("skip")
        >>> bad.add(file=0, name="log.csv", row=7, reason="wrong number of fields", text="a,b,c")
        >>> bad.skipped().counts
        {'wrong number of fields': 1}
    """

    SAMPLE = 5
    """Rows that are shown at most."""

    def __init__(self, policy: BadRowsPolicy) -> None:
        self.policy = policy
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[tuple[int, BadRow]]] = {}

    def refuse(self, sentence: str) -> None:
        """Stop with a sentence that names file, row and column, unless the policy is to skip.

        Raises:
            TableReadError: Under the policy ``error``.
        """
        if self.policy == "error":
            raise TableReadError(f"{sentence}, or declare on_bad_rows = 'skip'")

    def add(self, *, file: int, name: str, row: int, reason: Reason, text: str, column: str | None = None) -> None:
        """Count a row that is left out.

        Args:
            file: Place of the file in its source, from 0.
            name: What it is called.
            row: Data row of the file, from 0.
            reason: What is wrong.
            text: The row.
            column: The column that is wrong.
        """
        self._counts[reason] = self._counts.get(reason, 0) + 1
        first = self._first.setdefault(reason, [])
        if len(first) < self.SAMPLE:
            shown = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
            first.append((file, BadRow(file=name, row=row, reason=reason, column=column, text=shown)))

    def skipped(self) -> SkippedRows:
        """The account so far, the same in whatever blocks the rows came."""
        found = sorted((pair for pairs in self._first.values() for pair in pairs), key=lambda pair: (pair[0], pair[1].row))
        return SkippedRows(counts=dict(sorted(self._counts.items())), sample=tuple(row for _, row in found[: self.SAMPLE]))
