"""What a run found: the model beside its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twotower.cli.outcome_lines import outcome_lines
from twotower.cli.output import print_lines

__all__ = ["print_verdict"]

_VARIANTS = ("seen_included", "seen_removed")
_NAME_WIDTH, _CELL_WIDTHS = 12, {"model": 9, "popularity": 12, "random": 9}


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
    keys = list(rankers["model"]["seen_included"])
    last = [key for key in keys if key.startswith("recall@")][-1]
    print_lines("", *_headings())
    for key in keys:
        print_lines(_line(key, {name: [found[variant][key] for variant in _VARIANTS] for name, found in rankers.items()}))
        intervals = {name: details[name]["intervals"] for name in rankers if name in details}
        drawn = intervals and all(last in found[variant] for found in intervals.values() for variant in _VARIANTS)
        if key == last and drawn:
            for end, label in ((0, "  95% from"), (1, "  to")):
                ends = {name: [found[variant][key][end] for variant in _VARIANTS] for name, found in intervals.items()}
                print_lines(_line(label, ends))
    groups = (
        ("warm", f"users with train rows ({counts['warm_rows']:,} rows)"),
        ("cold", f"users without train rows ({counts['cold_rows']:,} rows)"),
        ("frozen", "histories and seen items frozen at the cut"),
        ("per_user", f"per user ({counts['users']:,} users, one list each)"),
    )
    for group, title in groups:
        found = {name: details[name][group] for name in rankers if group in details.get(name, {})}
        if found:
            shown = [key for key in found["model"]["seen_included"] if key in (last, "ndcg@10")]
            print_lines("", title)
            print_lines(
                *(_line(key, {n: [f[variant][key] for variant in _VARIANTS] for n, f in found.items()}) for key in shown)
            )
    for task, judged in summary.get("outcomes", {}).items():
        print_lines("", *outcome_lines(task, judged))
    print_lines("")


def _headings() -> list[str]:
    half = sum(_CELL_WIDTHS.values())
    names = "".join(name.rjust(width) for name, width in _CELL_WIDTHS.items())
    above = "seen items included".rjust(half) + "seen items removed".rjust(half)
    return [" " * _NAME_WIDTH + above, " " * _NAME_WIDTH + names + names]


def _line(label: str, cells: Mapping[str, list[float]]) -> str:
    """One line: the rankers with seen items included, then with seen items removed."""
    text = label.ljust(_NAME_WIDTH)
    for place in range(len(_VARIANTS)):
        for name, width in _CELL_WIDTHS.items():
            text += (_figure(cells[name][place]) if name in cells else "").rjust(width)
    return text.rstrip()


def _figure(value: float) -> str:
    return f"{value:.4f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.4f}"
