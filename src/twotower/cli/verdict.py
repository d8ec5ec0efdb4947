"""What a run found: the model beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twotower.cli.outcome_lines import outcome_lines
from twotower.cli.output import figure, print_lines

__all__ = ["print_verdict"]

_VARIANTS = ("seen_included", "seen_removed")
_NAME_WIDTH, _LEAST_WIDTH = 12, 9


def print_verdict(summary: Mapping[str, Any]) -> None:
    """Print figures per interaction, with the 95% interval of the last recall; then what a split in time adds.

    Args:
        summary: As `twotower.runs.RunResult.summary` or `twotower.runs.reevaluate` has it, or without ``details``.
    """
    rankers = {"model": summary["metrics"]["test"], **summary["baselines"]}
    details, counts = summary.get("details", {}), summary["evaluation"]
    print_lines(
        f"{summary['recipe']}: {summary['rows']['test']:,} test rows of {counts['users']:,} users, "
        f"each against all {counts['catalogue']:,} items"
    )
    if counts["not_in_catalogue"]:
        print_lines(f"{counts['not_in_catalogue']:,} of them ask for an item that the catalogue lacks, and count as missed")
    for note in summary.get("notes", []):
        print_lines(f"note: {note}")
    table = _Table(list(rankers))
    keys = list(rankers["model"]["seen_included"])
    last = [key for key in keys if key.startswith("recall@")][-1]
    print_lines("", *table.headings())
    for key in keys:
        print_lines(table.line(key, _of(rankers, key)))
        if key == last:
            print_lines(*table.ends(key, {name: details[name]["intervals"] for name in rankers if name in details}))
    groups = (
        ("warm", f"users with train rows ({counts['warm_rows']:,} rows)"),
        ("cold", f"users without train rows ({counts['cold_rows']:,} rows)"),
        ("cold_items", f"items without train rows ({counts.get('cold_item_rows', 0):,} rows)"),
        ("frozen", "histories and seen items frozen at the cut"),
        ("per_user", f"per user ({counts['users']:,} users, one list each)"),
    )
    for group, title in groups:
        found = {name: details[name][group] for name in rankers if group in details.get(name, {})}
        if not found:
            continue
        print_lines("", title)
        for key in ("ndcg@10", last):
            if key in found["model"]["seen_included"]:
                print_lines(table.line(key, _of(found, key)))
        print_lines(*table.ends(last, {name: details[name]["group_intervals"].get(group, {}) for name in found}))
    if "oracle" in summary:
        print_lines("", *_share_lines(summary["oracle"]))
    for task, judged in summary.get("outcomes", {}).items():
        print_lines("", *outcome_lines(task, judged))
    print_lines("")


def _share_lines(oracle: Mapping[str, Any]) -> list[str]:
    """What the model finds of what could be found, seen items included."""
    words = {
        "all": "all rows",
        "warm": "users with train rows",
        "cold": "users without train rows",
        "cold_frozen": "the same, by what is known of them at the cut",
    }
    parts = []
    for group, found in oracle["shares"].items():
        if (of := found.get("seen_included")) is not None:
            ends = "" if of["low"] is None else f" ({of['low']:.1%} to {of['high']:.1%})"
            parts.append(f"{words[group]} {of['share']:.1%}{ends}")
    return [f"share of the oracle's {oracle['metric']}: {'; '.join(parts)}"] if parts else []


def _of(rankers: Mapping[str, Mapping[str, Mapping[str, float]]], key: str) -> dict[str, list[float]]:
    """A figure of every ranker, seen items included and removed."""
    return {name: [found[variant][key] for variant in _VARIANTS] for name, found in rankers.items()}


class _Table:
    """Lines with a cell per ranker, once with seen items included and once with them removed.

    Args:
        names: Of the rankers.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.widths = {name: max(_LEAST_WIDTH, len(name) + 2) for name in names}

    def headings(self) -> list[str]:
        """Two lines."""
        half = sum(self.widths.values())
        names = "".join(name.rjust(width) for name, width in self.widths.items())
        above = "seen items included".rjust(half) + "seen items removed".rjust(half)
        return [" " * _NAME_WIDTH + above, " " * _NAME_WIDTH + names + names]

    def line(self, label: str, cells: Mapping[str, Sequence[float]]) -> str:
        """A line; cells of rankers that have none stay empty."""
        text = label.ljust(_NAME_WIDTH)
        for place in range(len(_VARIANTS)):
            for name, width in self.widths.items():
                text += (figure(cells[name][place]) if name in cells else "").rjust(width)
        return text.rstrip()

    def ends(self, key: str, intervals: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> list[str]:
        """The ends of a figure's intervals, in two lines; none where no interval was drawn."""
        drawn = {name: found for name, found in intervals.items() if all(key in found.get(v, {}) for v in _VARIANTS)}
        if not drawn:
            return []
        return [
            self.line(label, {name: [found[variant][key][end] for variant in _VARIANTS] for name, found in drawn.items()})
            for end, label in ((0, "  95% from"), (1, "  to"))
        ]
