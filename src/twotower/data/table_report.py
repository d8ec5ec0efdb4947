"""The account of reading a table: how many rows, what was left out, and what was filled in."""

from __future__ import annotations

from pydantic import Field

from twotower.config import Config
from twotower.data.bad_rows import SkippedRows

__all__ = ["TableReport"]


class TableReport(Config):
    """What became of a table on its way in.

    Attributes:
        rows: Rows that were read and kept.
        skipped: Rows that were left out because they can't be read.
        ignored: Columns that the source has and nobody asked for.
        filled: Missing values that were replaced, by column; the columns for which that was declared.
    """

    rows: int
    skipped: SkippedRows
    ignored: tuple[str, ...] = ()
    filled: dict[str, int] = Field(default_factory=dict)

    def lines(self, noun: str = "table") -> list[str]:
        """The account in sentences, one a line; none where there is nothing to say.

        Args:
            noun: What the table is called.
        """
        lines: list[str] = []
        if self.skipped.rows:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.skipped.counts.items())
            lines.append(f"{self.skipped.rows:,} bad rows of the {noun} skipped ({reasons}), for instance:")
            lines += [
                f"  data row {row.row:,} of {row.file}: {row.reason}{f' in {row.column!r}' if row.column else ''}: {row.text}"
                for row in self.skipped.sample
            ]
        if self.ignored:
            lines.append(f"columns of the {noun} that nothing reads: {', '.join(self.ignored)}")
        filled = [f"{name} {count:,}" for name, count in self.filled.items() if count]
        if filled:
            lines.append(f"missing values of the {noun} filled: {', '.join(filled)}")
        return lines
