"""What a run takes over from the one that it goes on from, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twotower.cli.output import print_lines, print_table

__all__ = ["lineage_lines", "print_warm_start", "warm_start_line"]


def print_warm_start(facts: Mapping[str, Any]) -> None:
    """Print which rows of tables are carried, which parts, and what starts anew."""
    rows, optimizer = facts["rows"], facts["optimizer"]
    replayed = f" and {rows['replayed']:,} known ones once more" if rows["replayed"] else ""
    anew = f", anew for {', '.join(optimizer['anew'])}" if optimizer["anew"] and optimizer["carried"] else ""
    print_lines(
        "",
        f"goes on from {facts['from']}, which knows {rows['known']:,} of the train rows; learns from {rows['new']:,} new ones"
        f"{replayed}",
    )
    print_table(
        "",
        ["table", "known", "new", "dropped"],
        [
            [name, f"{counts['known']:,}", f"{counts['new']:,}", f"{counts['dropped']:,}"]
            for name, counts in facts["tables"].items()
        ],
        left=["table"],
    )
    print_lines(
        f"carried besides: {', '.join(facts['carried']) or 'nothing'}",
        f"optimiser: {'goes on' if optimizer['carried'] else 'starts anew'}{anew}",
        *(f"starts anew: {part} ({reason})" for part, reason in facts["fresh"].items()),
        *facts["notes"],
    )


def warm_start_line(facts: Mapping[str, Any]) -> str:
    """What a run went on from, how much it knew, and what it learned.

    Example:
        >>> warm_start_line({"from": "runs/monday", "rows": {"learned": 1200, "new": 1200, "known": 9000}})
        'went on from runs/monday: knew 9,000 train rows, learned from 1,200'
    """
    rows = facts["rows"]
    return f"went on from {facts['from']}: knew {rows['known']:,} train rows, learned from {rows['learned']:,}"


def lineage_lines(card: Mapping[str, Any]) -> list[str]:
    """The runs that a bundle goes back to, the earliest first; none where it began anew.

    Example:
        >>> lineage_lines({"warm_start": {"lineage": [{"run": "runs/monday", "trained_on": "train rows"}]}})
        ['goes back to: runs/monday (train rows)']
    """
    return [f"goes back to: {each['run']} ({each['trained_on']})" for each in card.get("warm_start", {}).get("lineage", [])]
