"""``twotower export``."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from twotower.cli.output import print_json, print_lines, print_table
from twotower.errors import ConfigError, nearest
from twotower.export import LARGEST_ERROR, VectorLayout, VectorsDone, export_onnx, export_vectors

__all__ = ["export_command"]

_FORMATS = ("onnx", "vectors")
_LAYOUTS = ("parquet", "npy")


def export_command(
    run: Path,
    *,
    format_: str,
    out: Path | None,
    opset: int | None,
    check_rows: int | None,
    users: bool,
    layout: str | None,
    as_json: bool,
) -> None:
    """Write what other programs need to encode, or the vectors themselves."""
    faults = [] if format_ in _FORMATS else [f"--format: there is no {format_!r}{nearest(format_, _FORMATS)}"]
    if out is None:
        faults.append("say where the export goes: --out FOLDER")
    alone = {
        "onnx": {"--opset": opset is not None, "--check-rows": check_rows is not None},
        "vectors": {"--users": users, "--as": layout is not None},
    }
    for owner, options in alone.items():
        wrong = [name for name, given in options.items() if given and format_ in _FORMATS and format_ != owner]
        faults += [f"{', '.join(wrong)}: goes with --format {owner}"] if wrong else []
    if layout is not None and layout not in _LAYOUTS:
        faults.append(f"--as: there is no {layout!r}{nearest(layout, _LAYOUTS)}")
    if faults or out is None:
        raise ConfigError(faults)
    if format_ == "onnx":
        _onnx(run, out, opset=opset or 17, check_rows=check_rows or 1_000, as_json=as_json)
    else:
        _vectors(run, out, users=users, layout=cast(VectorLayout, layout or "parquet"), as_json=as_json)


def _onnx(run: Path, out: Path, *, opset: int, check_rows: int, as_json: bool) -> None:
    started = time.monotonic()
    with _Bar() as bar:
        done = export_onnx(run, out, opset=opset, check_rows=check_rows, listener=bar.doing)
    seconds, signature = time.monotonic() - started, done.signature
    if as_json:
        print_json(
            {
                "path": str(done.folder),
                "opset": opset,
                "size_bytes": done.size_bytes,
                "checked_rows": {"query": signature.query.checked_rows, "candidate": signature.candidate.checked_rows},
                "largest_error": {"query": signature.query.largest_error, "candidate": signature.candidate.largest_error},
                "may_differ_by": LARGEST_ERROR,
                "seconds": round(seconds, 3),
            }
        )
        return
    print_lines(f"{done.folder}: both towers, opset {opset}, {_size(done.size_bytes)}, in {seconds:.1f} s", "")
    print_table(
        "",
        ["tower", "inputs", "width", "rows compared", "largest error"],
        [
            [
                tower.file,
                str(len(tower.inputs)),
                str(tower.output.shape[1]),
                f"{tower.checked_rows:,}",
                f"{tower.largest_error:.1e}",
            ]
            for tower in (signature.query, signature.candidate)
        ],
        left=["tower"],
    )
    print_lines(
        "",
        f"largest error: of any number of a vector, beside the bundle's own; more than {LARGEST_ERROR:g} would be refused",
    )


def _vectors(run: Path, out: Path, *, users: bool, layout: VectorLayout, as_json: bool) -> None:
    started = time.monotonic()
    with _Bar() as bar:
        done = export_vectors(run, out, users=users, layout=layout, listener=bar.vectors)
    seconds = time.monotonic() - started
    if as_json:
        print_json(
            {
                "path": str(done.path),
                "items": done.items,
                "users": done.users,
                "width": done.width,
                "size_bytes": done.size_bytes,
                "seconds": round(seconds, 3),
            }
        )
        return
    written = f"{done.items:,} items" + ("" if done.users is None else f" and {done.users:,} users")
    print_lines(f"{done.path}: vectors of {written}, {done.width} wide, {_size(done.size_bytes)}, in {seconds:.1f} s")


def _size(size: int) -> str:
    """Megabytes, or less of it.

    Example:
        >>> _size(54_152_282), _size(900)
        ('54.2 MB', '900 bytes')
    """
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"


class _Bar:
    """What is done, and how far it is; nothing where stderr is no terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[rows]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task: TaskID = self.progress.add_task("loading", total=None, rows="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.progress.stop()

    def doing(self, sentence: str) -> None:
        """Say what is done next."""
        self.progress.update(self.task, description=sentence)

    def vectors(self, done: VectorsDone) -> None:
        """Say how many vectors are written."""
        rows = f"{done.rows:,} {done.noun}"
        self.progress.update(self.task, description="writing", total=done.total, completed=done.rows, rows=rows)
