"""Data on stdout, in tables that fit a terminal and read well in a file."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from shutil import get_terminal_size

from rich.console import Console
from rich.table import Table

__all__ = ["figure", "print_json", "print_lines", "print_table"]

_UNLIMITED = 100_000


def figure(value: float) -> str:
    """Four decimals, without the 0 before the point.

    Example:
        >>> figure(0.29612), figure(-0.0004), figure(1.0)
        ('.2961', '-.0004', '1.0000')
    """
    return f"{value:.4f}".replace("0.", ".", 1) if -1 < value < 1 else f"{value:.4f}"


def print_json(value: object) -> None:
    """One line of JSON, at the end of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_lines(*lines: str) -> None:
    """Plain lines."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str] = ()) -> None:
    """A table without rules: cells are folded to the width of a terminal, and never where stdout is none.

    Args:
        title: A line above it; empty for none.
        header: Names of the columns.
        rows: A cell per column.
        left: Names of the columns that are text; the others are numbers, and set to the right.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for name in header:
        table.add_column(name, justify="left" if name in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED
    buffer = io.StringIO()
    Console(file=buffer, width=width, markup=False, emoji=False, highlight=False, color_system=None).print(table)
    print_lines(*([title] if title else []), *(line.rstrip() for line in buffer.getvalue().splitlines()))
