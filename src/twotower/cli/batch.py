"""``twotower recommend --input`` and ``--all-users``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from twotower.cli.ids import id_of
from twotower.cli.output import print_json, print_lines
from twotower.errors import ConfigError
from twotower.recommender import BatchOptions, PartDone, Recommender, all_users, recommend_batch, request_table

__all__ = ["batch_command"]


def batch_command(
    run: Path,
    *,
    source: str | None,
    output: Path | None,
    history_column: str | None,
    skip_unknown: bool,
    k: int,
    include_seen: bool,
    exclude: Sequence[str],
    only: Sequence[str] | None,
    as_json: bool,
) -> None:
    """Answer every row of a table, or every known user, and write a file."""
    if output is None:
        raise ConfigError("say where the recommendations go: --output recs.parquet (or .csv)")
    recommender = Recommender.load(run)
    items = recommender.catalogue.ids
    requests = all_users(run, recommender) if source is None else request_table(source, run, recommender)
    if output.resolve() in [path.resolve() for path in requests.paths]:
        raise ConfigError(f"--output: {output} is what is read, and would be lost; choose another name")
    options = BatchOptions(
        k=k,
        exclude_seen=not include_seen,
        exclude=tuple(id_of(item, items, "--exclude") for item in exclude),
        only=None if only is None else tuple(id_of(item, items, "--only") for item in only),
        history_column=history_column,
        on_unknown="skip" if skip_unknown else "error",
    )
    started = time.monotonic()
    with _Bar(requests.size) as bar:
        report = recommend_batch(recommender, requests.frames, output, options, fingerprint=requests.fingerprint, listener=bar)
    seconds = time.monotonic() - started
    if as_json:
        print_json(
            {
                "path": str(output),
                "requests": report.requests,
                "answered_earlier": report.earlier,
                "recommendations": report.recommendations,
                "skipped": report.skipped,
                "ignored_columns": report.ignored_columns,
                "seconds": round(seconds, 3),
            }
        )
        return
    print_lines(f"{output}: {report.recommendations:,} recommendations for {report.requests:,} requests in {seconds:.1f} s")
    if report.earlier:
        print_lines(f"{report.earlier:,} of them had been answered before")
    if report.skipped:
        print_lines(f"{report.skipped:,} have no answer: nothing is known of the user")
    if report.ignored_columns:
        print_lines(f"not read by the query: {', '.join(report.ignored_columns)}")


class _Bar:
    """Requests per second and time left; nothing where stderr is no terminal."""

    def __init__(self, size: int | None) -> None:
        console = Console(stderr=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.percentage:3.0f}%" if size else "recommending"),
            BarColumn(bar_width=12),
            TextColumn("{task.completed:,.0f} requests  {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task = self.progress.add_task("recommending", total=size, rate="")
        self.began = time.monotonic()

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def __call__(self, done: PartDone) -> None:
        elapsed = time.monotonic() - self.began
        rate = f"{(done.requests - done.earlier) / elapsed:,.0f} requests/s" if elapsed > 0 else ""
        self.progress.update(self.task, completed=done.requests, rate=rate)
