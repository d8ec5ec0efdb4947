"""The engine's benchmarks one after another, each in a process of its own, their JSON lines in one file.

Another call goes on where the last one stopped: a job whose line is in the file and complete is not run again, and slow ones
keep their turns beside the file. What is run is printed on stderr, with each program's table.

    python benchmarks/run_engine.py --peer                       (all of it: an hour and a half)
    python benchmarks/run_engine.py --peer --minutes 9           (again and again, until it says that all is measured)
    python benchmarks/run_engine.py --quick                      (without peers of their own environment: minutes)
    python benchmarks/run_engine.py --only loss feed             (these jobs)
    python benchmarks/run_engine.py --device cuda                (what is asked for on a GPU, there: minutes)

The last line of stdout is one JSON object: which jobs are done. Exit code 3: some are not; 1: a program failed; 2: there is
no such device.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parent
OUT = BENCHMARKS.parent / "build" / "benchmarks.jsonl"


@dataclass(frozen=True)
class Job:
    """One program and what it is run with.

    Attributes:
        name: Of its line in the results.
        program: File in this folder.
        full: Arguments of the full measurement.
        quick: Arguments of the quick one: the sizes that were asked for, fewer repeats; None: not run then.
        minutes: About how long the full measurement, or its longest turn, takes on 2 cores.
        turns: Whether it keeps turns, and goes on with them.
        folders: Options of the runner that are handed on.
    """

    name: str
    program: str
    full: tuple[str, ...]
    quick: tuple[str, ...] | None
    minutes: float
    turns: bool = False
    folders: tuple[str, ...] = ()


ON_A_DEVICE = "cuda "
"""What the names of jobs on an accelerator begin with: their lines stand beside the processor's in one file."""


def _search(size: str, minutes: float, *, quick: bool) -> Job:
    few = ("--sizes", size, "--ks", "100", "--repeats", "3")
    return Job(
        f"exact_search {size}",
        "exact_search",
        ("--sizes", size),
        few if quick else None,
        minutes,
        folders=("peer", "faiss_folder"),
    )


JOBS: tuple[Job, ...] = (
    Job("ceilings", "ceilings", (), (), 0.3),
    _search("100000x32", 2, quick=True),
    _search("1000000x64", 5, quick=True),
    Job("loss", "loss", (), ("--batches", "16384,65536", "--repeats", "1"), 5),
    Job("feed", "feed", ("--rows", "400000"), ("--rows", "200000", "--repeats", "3", "--workers", "1"), 5),
    Job("whole_job", "whole_job", (), None, 4.5, turns=True, folders=("peer", "peer_folder", "log")),
    Job(
        "movielens", "movielens_speed", (), ("--turns", "1"), 3, turns=True, folders=("peer", "peer_folder", "rectools_folder")
    ),
    Job("livestream", "livestream_preparation", (), None, 5, turns=True, folders=("peer", "peer_folder", "log")),
    Job(
        "large_catalogue",
        "large_catalogue",
        ("--recall", "--recall-steps", "120"),
        ("--repeats", "3", "--steps", "2"),
        5,
        turns=True,
    ),
    Job("evaluation", "evaluation", (), ("--repeats", "1"), 4),
    _search("1700000x32", 5, quick=False),
)

DEVICE_JOBS: tuple[Job, ...] = (
    Job(
        f"{ON_A_DEVICE}large_catalogue",
        "large_catalogue",
        ("--steps", "50", "--recall", "--recall-steps", "120"),
        ("--steps", "20", "--repeats", "3"),
        2,
        turns=True,
    ),
    Job(f"{ON_A_DEVICE}loss", "loss", (), ("--batches", "16384,65536", "--repeats", "3"), 2),
    *(
        Job(
            f"{ON_A_DEVICE}exact_search {size}",
            "exact_search",
            ("--sizes", size),
            ("--sizes", size, "--ks", "100", "--repeats", "3"),
            1,
        )
        for size in ("100000x32", "1000000x64", "1700000x32")
    ),
)


def main() -> None:
    """Run what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="a file of JSON lines, gone on with")
    parser.add_argument("--only", nargs="+", choices=[job.name for job in (*JOBS, *DEVICE_JOBS)], help="these jobs")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: what is asked for on a GPU, there")
    parser.add_argument("--quick", action="store_true", help="what takes minutes, with fewer repeats")
    parser.add_argument("--peer", action="store_true", help="build and measure the peers that need environments of their own")
    parser.add_argument("--peer-folder", type=Path, help="TensorFlow Recommenders' environment; left out, in twotower's cache")
    parser.add_argument("--rectools-folder", type=Path, help="RecTools' environment")
    parser.add_argument("--faiss-folder", type=Path, help="FAISS")
    parser.add_argument("--log", type=Path, help="a live-stream log of 5.3 million rows; left out, it is made")
    parser.add_argument("--minutes", type=float, help="begin no job that would end later")
    parser.add_argument("--again", action="store_true", help="run jobs that are done, too")
    options = parser.parse_args()
    facts = {"device": "cpu"} if options.device == "cpu" else _facts(options.device)
    options.facts = {} if facts["device"] == "cpu" else {"device": facts}
    jobs = DEVICE_JOBS if options.facts else JOBS
    others = [name for name in options.only or () if name not in {job.name for job in jobs}]
    if others:
        parser.error(
            f"--only: no jobs of --device {options.device}: {', '.join(others)}; it has {', '.join(j.name for j in jobs)}"
        )
    until = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    options.out.parent.mkdir(parents=True, exist_ok=True)
    chosen = {job.name for job in jobs} if options.only is None else options.only
    wanted = [job for job in jobs if job.name in chosen and (not options.quick or job.quick is not None)]
    done = {} if options.again else _done(options.out, options)
    ran, failed = 0, list[str]()
    for job in wanted:
        while done.get(job.name) is not True:
            left = None if until is None else (until - time.monotonic()) / 60
            if ran and left is not None and left < job.minutes:
                break
            ran += 1
            line = _run(job, options, left)
            if line is None:
                failed.append(job.name)
                break
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            done[job.name] = bool(line["result"].get("complete", True))
    missing = [job.name for job in wanted if done.get(job.name) is not True]
    said = f"not done yet: {', '.join(missing)}; call again" if missing else "all is measured"
    print(f"failed: {', '.join(failed)}" if failed else said, file=sys.stderr, flush=True)
    finished = [job.name for job in wanted if job.name not in missing]
    print(json.dumps({"results": str(options.out), "done": finished, "missing": missing, "failed": failed}))
    sys.exit(1 if failed else 3 if missing else 0)


def _done(out: Path, options: argparse.Namespace) -> dict[str, bool]:
    """Jobs of the file that were run as they would be now, and whether their turns are complete."""
    found: dict[str, bool] = {}
    if out.exists():
        for text in out.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            of_line, of_run = (each.get("device", {}).get("name") for each in (line.get("machine", {}), options.facts))
            if (line["quick"], line["peer"], of_line) == (options.quick, options.peer, of_run):
                found[line["job"]] = bool(line["result"].get("complete", True))
    return found


def _run(job: Job, options: argparse.Namespace, left: float | None) -> dict[str, Any] | None:
    """The line of a job; None if its program failed, which said why."""
    arguments = [*((job.quick or ()) if options.quick else job.full), *_handed_on(job, options)]
    if job.turns:
        size = f"{'quick' if options.quick else 'full'}{'-peer' if options.peer else ''}"
        keep = options.out.parent / f"{options.out.stem}-{job.name.replace(' ', '-')}-{size}.turns.jsonl"
        if options.again:
            keep.unlink(missing_ok=True)
        arguments += ["--keep", str(keep), *(() if left is None else ("--minutes", f"{max(0.1, left):.2f}"))]
    if options.facts:
        arguments += ["--device", options.device]
    command = [sys.executable, str(BENCHMARKS / f"{job.program}.py"), *arguments]
    print(f"== {job.name}: {job.program}.py {' '.join(arguments)}", file=sys.stderr, flush=True)
    machine, began = _machine(), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(f"{job.name} failed ({done.returncode})", file=sys.stderr, flush=True)
        return None
    *shown, last = done.stdout.splitlines()
    print("\n".join(shown), file=sys.stderr, flush=True)
    return {
        "job": job.name,
        "quick": options.quick,
        "peer": options.peer,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began, 1),
        "machine": {**machine, **options.facts},
        "result": json.loads(last),
    }


def _handed_on(job: Job, options: argparse.Namespace) -> Iterator[str]:
    for name in job.folders:
        value = getattr(options, name)
        if value:
            yield f"--{name.replace('_', '-')}"
            if value is not True:
                yield str(value)


def _facts(name: str) -> dict[str, Any]:
    """What the device is; ends the program where it is not there."""
    from device import device_facts, device_option  # torch, which would make this process, and so its children, look large

    parser = argparse.ArgumentParser()
    device_option(parser)
    return device_facts(parser.parse_args(["--device", name]).device)


def _machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    listed = Path("/proc/cpuinfo")
    if listed.exists():
        names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=BENCHMARKS, capture_output=True, text=True, check=False
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": version("torch"),
        "commit": commit.stdout.strip(),
    }


if __name__ == "__main__":
    main()
