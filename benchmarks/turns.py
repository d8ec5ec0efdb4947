"""Turns of slow contestants, kept in a file as they are made, so that a benchmark that was stopped goes on where it was."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["Turns"]


class Turns:
    """What each turn gave, at most so many of them, for as long as there is time.

    Args:
        wanted: Turns.
        settings: What the turns are made with; turns of other settings are not gone on with.
        keep: A file of JSON lines, the settings first; None keeps them in memory only.
        minutes: After which no turn is begun that would end later, if it took as long as the longest so far; the first of
            a call is always made. None: no limit.

    Raises:
        SystemExit: If the file holds turns of other settings.
    """

    def __init__(self, wanted: int, *, settings: Mapping[str, Any], keep: Path | None, minutes: float | None) -> None:
        self.wanted, self._keep = wanted, keep
        self._until = None if minutes is None else time.monotonic() + 60 * minutes
        self.found: list[dict[str, Any]] = []
        stated = json.loads(json.dumps(dict(settings), default=str))
        if keep is not None and keep.exists():
            first, *rest = (json.loads(line) for line in keep.read_text(encoding="utf-8").splitlines())
            if first != stated:
                raise SystemExit(f"{keep} holds turns of other settings: remove it, or name another file\n{first}\n{stated}")
            self.found = rest
        elif keep is not None:
            keep.parent.mkdir(parents=True, exist_ok=True)
            keep.write_text(json.dumps(stated) + "\n", encoding="utf-8")

    @property
    def complete(self) -> bool:
        """Whether all turns were made."""
        return len(self.found) >= self.wanted

    def __iter__(self) -> Iterator[int]:
        """Numbers of the turns to be made now, each to be handed to `add` before the next."""
        made = 0
        while not self.complete:
            longest = max((turn["turn_seconds"] for turn in self.found), default=0.0)
            if made and self._until is not None and time.monotonic() + longest > self._until:
                print(f"{len(self.found)} of {self.wanted} turns: go on with another call", file=sys.stderr, flush=True)
                return
            self._began = time.monotonic()
            yield len(self.found)
            made += 1

    def add(self, turn: Mapping[str, Any]) -> None:
        """Keep what a turn gave, as JSON."""
        self.found.append({**turn, "turn_seconds": time.monotonic() - self._began})
        print(f"turn {len(self.found)} of {self.wanted}: {self.found[-1]['turn_seconds']:.0f} s", file=sys.stderr, flush=True)
        if self._keep is not None:
            with self._keep.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.found[-1]) + "\n")
