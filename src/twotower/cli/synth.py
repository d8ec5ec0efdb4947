"""``twotower synth``."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from twotower.cli.output import print_json, print_lines
from twotower.datasets import LivestreamFormat, Synthesizing, synthesize_livestream
from twotower.errors import ConfigError, nearest

__all__ = ["synth_command"]

_WORLDS = ("livestream",)


def synth_command(world: str, out: Path, *, rows: int, seed: int, format: str | None, as_json: bool) -> None:
    """Write a planted log and the truth about it."""
    if world not in _WORLDS:
        raise ConfigError(f"there is no planted world {world!r}{nearest(world, _WORLDS)}")
    started = time.monotonic()
    with SynthProgress() as progress:
        truth = synthesize_livestream(
            out, rows=rows, seed=seed, format=cast("LivestreamFormat | None", format), listener=progress
        )
    seconds = time.monotonic() - started
    if as_json:
        print_json({"path": str(out), "truth": str(truth), "rows": rows, "seed": seed, "seconds": round(seconds, 3)})
    else:
        print_lines(f"{out}: {rows:,} rows in {seconds:.1f} s", f"{truth}: the truth about them")


class SynthProgress:
    """Shows the writing of a log: rows per second and time left; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.percentage:3.0f}%"),
            BarColumn(bar_width=12),
            TextColumn("{task.completed:,.0f} rows  {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("writing", total=None, rate="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def __call__(self, event: Synthesizing) -> None:
        rate = f"{event.rows / event.seconds:,.0f} rows/s" if event.seconds > 0 else ""
        self.progress.update(self.task, total=event.rows_total, completed=event.rows, rate=rate)
