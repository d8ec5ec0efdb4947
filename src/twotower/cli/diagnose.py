"""``twotower diagnose``."""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap

import typer

from twotower.cli.output import print_json, print_lines
from twotower.diagnosis import Diagnosis, Finding
from twotower.runs.diagnose import diagnose

__all__ = ["diagnose_command"]

_WIDEST = 100
_NOWHERE = 80


def diagnose_command(run: Path, *, strict: bool, as_json: bool) -> None:
    """Check a run and print what was found; with ``strict``, exit 1 if there was anything."""
    found = diagnose(run)
    if as_json:
        print_json({"run_dir": str(run), **found.to_json()})
    else:
        print_lines(*_text(found, _width()))
    if strict and found.findings:
        raise typer.Exit(1)


def _width() -> int:
    return min(_WIDEST, get_terminal_size().columns) if sys.stdout.isatty() else _NOWHERE


def _text(found: Diagnosis, width: int) -> list[str]:
    lines: list[str] = []
    for finding in found.findings:
        lines += [*_finding(finding, width), ""]
    made = len(found.made)
    checks = f"{made} check" if made == 1 else f"{made} checks"
    if found.findings:
        count = len(found.findings)
        lines.append(f"{count} finding{'' if count == 1 else 's'} in {checks}")
    else:
        lines.append(f"nothing found in {checks}")
    for code, reason in found.not_made.items():
        lines += _paragraph(f"not checked: {code}: ", reason, width)
    return lines


def _finding(finding: Finding, width: int) -> list[str]:
    lines = _paragraph(f"{finding.severity}: ", f"{finding.title} [{finding.code}]", width)
    for sentence in finding.evidence:
        lines += _paragraph("  - ", sentence, width)
    lines += _paragraph("  why: ", finding.why, width)
    for sentence in finding.fix:
        lines += _paragraph("  fix: ", sentence, width)
    return lines


def _paragraph(start: str, text: str, width: int) -> list[str]:
    """The text beside its start, folded at blanks, never within a key or a path."""
    indent = " " * min(len(start), 7)
    return wrap(text, width, initial_indent=start, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
