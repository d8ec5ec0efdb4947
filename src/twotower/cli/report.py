"""``twotower report``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from twotower.cli.output import print_json, print_lines
from twotower.reports import verdict_sentences
from twotower.runs import report_runs

__all__ = ["report_command"]


def report_command(
    runs: Sequence[Path],
    output: Path | None,
    *,
    labels: Sequence[str] | None,
    baselines: bool,
    diagnosis: bool,
    users: int,
    as_json: bool,
) -> None:
    """Write a report of runs, and print its verdict and where it is."""
    with _telling() as tell:
        found = report_runs(runs, output, labels=labels, baselines=baselines, diagnosis=diagnosis, users=users, tell=tell)
    verdict = verdict_sentences(found.report)
    if as_json:
        folder = found.page.parent
        figures = sorted(str(path) for path in (folder / "figures").iterdir())
        places = {"page": str(found.page), "figures": str(folder / "report.json"), "charts": figures}
        print_json({**places, "page_bytes": found.page.stat().st_size, "verdict": verdict})
        return
    notes = [f"note: {run.label}: {note}" for run in found.report.runs for note in run.notes]
    print_lines(*notes, *verdict, f"report: {found.page}")


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """What is being done, on one line of stderr that goes away; nothing where stderr is no terminal."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("reading") as status:
        yield lambda sentence: status.update(sentence.replace("[", "\\["))
