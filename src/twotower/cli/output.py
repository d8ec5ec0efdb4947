"""Data on stdout, in tables that fit a terminal or a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["print_json", "print_lines", "print_table", "print_verdict"]


def print_json(value: object) -> None:
    """One line of JSON, at the end of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_lines(*lines: str) -> None:
    """Plain lines."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> None:
    """A table; the first ``left`` columns are text, the others numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=140, markup=False, emoji=False, highlight=False)
    console.print(table)


def print_verdict(summary: Mapping[str, Any]) -> None:
    """The model beside its baselines, seen items included and removed, with the interval of the last recall."""
    rankers = {"model": summary["metrics"]["test"], **summary["baselines"]}
    details = summary.get("details", {})
    rows = summary["rows"]
    print_lines(
        f"{summary['recipe']}: {rows['test']:,} test rows, each against the whole catalogue of "
        f"{summary['evaluation']['catalogue']:,} items"
    )
    for variant, title in (("seen_included", "seen items included"), ("seen_removed", "seen items removed")):
        keys = list(rankers["model"][variant])
        last = [key for key in keys if key.startswith("recall@")][-1]
        table = []
        for name, found in rankers.items():
            ends = details.get(name, {}).get("intervals", {}).get(variant, {}).get(last)
            interval = f"[{_figure(ends[0])}, {_figure(ends[1])}]" if ends else ""
            table.append([name, *(_figure(found[variant][key]) for key in keys), interval])
        print_table(title, ["", *keys, f"95% of {last}"], table)
    _print_groups(rankers, details, summary)


def _print_groups(rankers: Mapping[str, Any], details: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """What a split in time adds: warm and cold users, and histories frozen at the cut."""
    counts = summary["evaluation"]
    groups = [
        ("warm", f"users known from train ({counts['warm_rows']:,} rows)"),
        ("cold", f"users never seen in train ({counts['cold_rows']:,} rows)"),
        ("frozen", "history and seen items frozen at the cut"),
    ]
    for group, title in groups:
        found = {name: details[name][group] for name in rankers if group in details.get(name, {})}
        if not found:
            continue
        keys = [key for key in found["model"]["seen_removed"] if key.startswith("recall@")][-3:]
        header = ["", *(f"{key} incl." for key in keys), *(f"{key} removed" for key in keys)]
        table = [
            [name, *(_figure(f["seen_included"][key]) for key in keys), *(_figure(f["seen_removed"][key]) for key in keys)]
            for name, f in found.items()
        ]
        print_table(title, header, table)


def _figure(value: float) -> str:
    return f"{value:.4f}".replace("0.", ".", 1) if 0 <= value < 1 else f"{value:.4f}"
