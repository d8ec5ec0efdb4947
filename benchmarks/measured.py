"""What benchmarks share: a program in a process of its own, its last line of stdout, and tables of text."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["forget_peak", "peak_bytes", "run_program", "table", "timed_process"]


def peak_bytes() -> int:
    """The largest resident set of this process so far, without that of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> int:
    """What this process has in memory now; where the system can, its largest resident set is counted from here on.

    Returns:
        Bytes; elsewhere the largest so far.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_bytes()
    return peak_bytes()


def run_program(command: Sequence[object], *, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a program to its end, and read the JSON object in its last line of stdout.

    Args:
        command: The program and its arguments.
        environment: Variables of the process; None: those of this one.

    Returns:
        The object, with ``wall_seconds`` of the whole process besides.

    Raises:
        SystemExit: If the program fails; with the end of what it said.
    """
    began = time.perf_counter()
    done = subprocess.run([str(part) for part in command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join(done.stderr.splitlines()[-15:])
        raise SystemExit(f"{' '.join(Path(str(part)).name for part in command[:3])} failed ({done.returncode}):\n{said}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for line in done.stderr.splitlines():
        if " s, " in line and "at most so far" in line:
            print(f"  {line}", file=sys.stderr, flush=True)
    return {**found, "wall_seconds": time.perf_counter() - began}


def timed_process(command: Sequence[object]) -> tuple[float, int]:
    """Seconds of a process from its start to its end, and the largest resident set of it.

    Raises:
        SystemExit: If it fails; with the end of what it said.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        began = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            last = "\n".join(said.read().splitlines()[-15:])
            raise SystemExit(f"{' '.join(str(part) for part in command[:4])} failed ({process.returncode}):\n{last}")
    return seconds, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text in columns, the first flush left and the others flush right.

    Example:
        >>> print(table(["what", "s"], [["read", "1.0"], ["evaluate", "12.5"]]))
        what         s
        read       1.0
        evaluate  12.5
    """
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )
