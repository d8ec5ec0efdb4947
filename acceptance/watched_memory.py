"""How much memory each process of a command took at most, with all that it started."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Watched", "peaks_of_ranks", "watch"]

_PROC = Path("/proc")
_EVERY_S = 0.05


@dataclass
class Watched:
    """A process that was seen.

    Attributes:
        name: The last words of its command.
        rank: Its variable ``RANK``; None: it has none.
        peak_bytes: Its largest resident set.
    """

    name: str
    rank: int | None
    peak_bytes: int


def watch(command: Sequence[str], *, environment: dict[str, str] | None = None, folder: Path | None = None) -> list[Watched]:
    """Run a command to its end, and look at it and at what it started, twenty times a second (Linux).

    A process keeps its own largest resident set, so that nothing between two looks is missed but the end of a process.

    Raises:
        SystemExit: If the command fails; with the end of what it said.
    """
    seen: dict[int, Watched] = {}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, cwd=folder)
        while process.poll() is None:
            for pid in _family(process.pid):
                _look(pid, seen)
            time.sleep(_EVERY_S)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{' '.join(command)} failed ({process.returncode}):\n" + "\n".join(said.read().splitlines()[-15:]))
    return list(seen.values())


def peaks_of_ranks(seen: Sequence[Watched], ranks: int) -> list[int]:
    """The largest resident set of each rank, the greatest first: of those that say they are one, else of the largest."""
    told: dict[int, int] = {}
    for each in seen:
        if each.rank is not None:
            told[each.rank] = max(told.get(each.rank, 0), each.peak_bytes)
    found = list(told.values()) if len(told) == ranks else [each.peak_bytes for each in seen]
    return sorted(found, reverse=True)[:ranks]


def _family(pid: int) -> list[int]:
    """A process and all that came from it."""
    parents: dict[int, list[int]] = {}
    for path in _PROC.iterdir():
        if path.name.isdigit():
            try:
                stat = (path / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(path.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def _look(pid: int, seen: dict[int, Watched]) -> None:
    try:
        status = (_PROC / str(pid) / "status").read_text()
        if pid not in seen:
            words = (_PROC / str(pid) / "cmdline").read_text().replace("\0", " ").split()
            variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
            rank = next((int(each[5:]) for each in variables if each.startswith(b"RANK=")), None)
            seen[pid] = Watched(" ".join(words[-4:]), rank, 0)
    except (OSError, ValueError):
        return
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            seen[pid].peak_bytes = max(seen[pid].peak_bytes, int(line.split()[1]) * 1024)
