"""What acceptance programs share: a line per figure, with what was asked, what was seen, and pass or fail."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Checks", "check_parts", "last_json"]

ROOT = Path(__file__).resolve().parent.parent


class Checks:
    """Prints checks as they are made and ends the program with 1 if one failed."""

    def __init__(self, title: str) -> None:
        self.failed: list[str] = []
        self.made = 0
        print(f"{title}\n{'':4} {'what':58} {'asked':>22} {'seen':>22}", flush=True)

    def check(self, what: str, asked: str, seen: str, passed: bool) -> None:
        """Print one check.

        Args:
            what: The figure.
            asked: What it must be.
            seen: What it was.
            passed: Whether that will do.
        """
        self.made += 1
        if not passed:
            self.failed.append(what)
        print(f"{'pass' if passed else 'FAIL'} {what:58} {asked:>22} {seen:>22}", flush=True)

    def at_least(self, what: str, seen: float, asked: float) -> None:
        """``seen`` must be at least ``asked``."""
        self.check(what, f">= {asked:g}", f"{seen:.4f}", seen >= asked)

    def at_most(self, what: str, seen: float, asked: float, unit: str = "") -> None:
        """``seen`` must be at most ``asked``."""
        self.check(what, f"<= {asked:g}{unit}", f"{seen:.4g}{unit}", seen <= asked)

    def near(self, what: str, seen: float, asked: float, tolerance: float) -> None:
        """``seen`` must be within ``tolerance`` of ``asked``."""
        self.check(what, f"{asked:g} +- {tolerance:g}", f"{seen:.5f}", abs(seen - asked) <= tolerance)

    def finish(self) -> None:
        """Print the count, and exit."""
        print(f"{self.made - len(self.failed)} passed, {len(self.failed)} failed", flush=True)
        sys.exit(1 if self.failed else 0)


def check_parts(checks: Checks, parts: Mapping[str, Sequence[str]], *, slow: bool = False) -> None:
    """One check a part: its tests, without the slow ones unless they are asked for, all pass."""
    for what, paths in parts.items():
        marked = "slow or not slow" if slow else "not slow"
        command = [sys.executable, "-m", "pytest", "-q", "-m", marked, "-p", "no:cacheprovider", *paths]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-60:]
        counted = re.search(r"\d+ passed", last)
        checks.check(f"tests: {what}", "all pass", counted.group() if counted else last[:22], done.returncode == 0)
        for line in done.stdout.splitlines():
            if line.startswith(("FAILED", "ERROR")):
                print(f"     {line}", flush=True)


def last_json(program: str, *arguments: object) -> dict[str, Any]:
    """Run a program of this repository, and read the JSON object in its last line of stdout.

    Raises:
        SystemExit: If it fails; with what it said.
    """
    command = [sys.executable, str(ROOT / program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
