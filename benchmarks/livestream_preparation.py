"""The live-stream notebook on TensorFlow Recommenders against the same job here: seconds and peak memory, side by side.

The job is the notebook's: a CSV of 5.3 million rows and 18 columns, a random tenth of its rows, vocabulary and moments, 80,000
rows trained for 3 epochs, 20,000 rows evaluated over every broadcaster of the tenth. What is counted:

* preparing: from the CSV to what training reads. There: reading with pandas, filling, sampling, ``tf.data``, vocabulary,
  ``adapt``, building the model. Here: reading the columns that the recipe reads, sample, checks, split, fitting, encoding,
  building the model. Imports are counted on neither side. All rows are prepared besides, through an empty cache, as logs that
  are trained on whole are.
* evaluating: top-1 to top-100 accuracy of the 20,000 rows over the whole catalogue, all candidate vectors made anew. There:
  ``model.evaluate`` with ``FactorizedTopK``. Here: `judge`, which also counts with seen items removed.
* memory: the largest resident set of the one process that does the whole job.

The peer needs an environment of 2 GB, which is built when ``--peer`` asks for it; without it only our side is measured. The log
is in the page cache for both sides. The last line of stdout is one JSON object.

    python benchmarks/livestream_preparation.py --peer
    python benchmarks/livestream_preparation.py --log log.csv --peer --repeats 5
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measured import run_program, table
from tfrs.environment import PeerUnavailableError, peer_environment, peer_python

BENCHMARKS = Path(__file__).resolve().parent
RECIPE = BENCHMARKS.parent / "recipes" / "livestream-reference.toml"
STEPS = BENCHMARKS / "steps" / "livestream.py"
NOTEBOOK = BENCHMARKS / "tfrs" / "live_streams.py"
LAYER_SIZES = (64, 32)
SETTINGS = ("evaluation.draws=0",)


def main() -> None:
    """Measure both sides, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--log", type=Path, help="a CSV in the 18 columns, with a header; left out, one of --rows is made first"
    )
    parser.add_argument("--rows", type=int, default=5_300_000, help="of the log that is made")
    parser.add_argument(
        "--peer", action="store_true", help="measure TensorFlow Recommenders beside us (an environment of 2 GB)"
    )
    parser.add_argument("--peer-folder", type=Path, help="where its environment is kept; left out, in twotower's cache")
    parser.add_argument("--repeats", type=int, default=3, help="of our side; medians are compared. The peer runs once: minutes")
    parser.add_argument(
        "--catalogue-batches", type=int, nargs="+", default=[128, 4096], help="of FactorizedTopK; first: compared"
    )
    options = parser.parse_args()
    peer, left_out = None, "not asked for (--peer)"
    if options.peer:
        try:
            peer = peer_python(options.peer_folder or _cache_folder() / "peers" / "tfrs-0.7.7")
        except PeerUnavailableError as fault:
            left_out = str(fault)
            print(f"the peer is left out: {left_out}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        log = options.log or _made(work / "log.csv", options.rows)
        rows = _counted(log)
        jobs: list[dict[str, Any]] = []
        whole: list[dict[str, Any]] = []
        for _ in range(options.repeats):  # alternating, so that a busy minute of the machine falls on both
            jobs.append(_ours(log, work, "evaluate"))
            whole.append(
                _ours(log, work, "prepare", f"split.train={rows - 20_000}", "data.sample.fraction=1.0", "data.cache='always'")
            )
        theirs = None if peer is None else _theirs(peer, log, options.catalogue_batches)
    found = _compared(rows, jobs, whole, theirs)
    print(_shown(found))
    if theirs is None:
        found["peer_left_out"] = left_out
    print(json.dumps({"benchmark": "livestream_preparation", **found}))


def _cache_folder() -> Path:
    """As twotower has it; not asked of twotower, whose imports would make this process, and so its children, look large."""
    return Path(os.environ.get("TWOTOWER_CACHE") or Path.home() / ".cache" / "twotower")


def _made(path: Path, rows: int) -> Path:
    print(f"making a log of {rows:,} rows (not counted)", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "twotower", "synth", "livestream", "--rows", str(rows), "--seed", "0", "--out", str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def _counted(log: Path) -> int:
    """Data rows of a CSV without line breaks in its values; reading it once puts it into the page cache for both sides."""
    with log.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**24), b"")) - 1


def _ours(log: Path, work: Path, until: str, *overrides: str) -> dict[str, Any]:
    cache = work / "cache"
    shutil.rmtree(cache, ignore_errors=True)  # converting is part of preparing
    chosen = [f"data.interactions.path={log.resolve()}", f"model.layer_sizes={list(LAYER_SIZES)}", *SETTINGS, *overrides]
    command: list[object] = [sys.executable, STEPS, RECIPE, "--until", until, "--cache", cache]
    return run_program([*command, *(part for each in chosen for part in ("--set", each))])


def _theirs(python: Path, log: Path, catalogue_batches: list[int]) -> dict[str, Any]:
    command: list[object] = [python, "-W", "ignore", NOTEBOOK, log, "--layer-sizes", *LAYER_SIZES]
    return run_program([*command, "--catalogue-batches", *catalogue_batches], environment=peer_environment())


def _seconds(found: dict[str, Any], *phases: str) -> float:
    return float(sum(found["phases"][phase]["seconds"] for phase in phases))


def _compared(
    rows: int, jobs: list[dict[str, Any]], whole: list[dict[str, Any]], theirs: dict[str, Any] | None
) -> dict[str, Any]:
    """Medians of ours, the peer's one measurement, and the ratios that were asked for."""

    def middle(found: list[dict[str, Any]], *phases: str) -> float:
        return statistics.median(_seconds(each, *phases) for each in found)

    ours: dict[str, Any] = {
        "prepare_seconds": middle(jobs, "read", "fit", "build"),
        "train_seconds": middle(jobs, "train"),
        "evaluate_seconds": middle(jobs, "evaluate"),
        "prepare_peak_bytes": statistics.median(each["phases"]["build"]["peak_bytes"] for each in jobs),
        "peak_bytes": statistics.median(each["peak_bytes"] for each in jobs),
        "prepare_all_rows_seconds": middle(whole, "read", "fit"),
        "prepare_all_rows_peak_bytes": statistics.median(each["peak_bytes"] for each in whole),
        "recall@100": jobs[0]["metrics"]["recall@100"],
        "counts": jobs[0]["counts"],
        "repeats": len(jobs),
        "seconds_of_each_repeat": {
            "prepare": [round(_seconds(each, "read", "fit", "build"), 2) for each in jobs],
            "prepare all rows": [round(_seconds(each, "read", "fit"), 2) for each in whole],
            "evaluate": [round(_seconds(each, "evaluate"), 2) for each in jobs],
        },
    }
    found: dict[str, Any] = {"rows": rows, "ours": ours}
    if theirs is not None:
        evaluations = {name: each["seconds"] for name, each in theirs["phases"].items() if name.startswith("evaluate")}
        found["theirs"] = {
            "read_seconds": _seconds(theirs, "read"),
            "prepare_seconds": _seconds(theirs, "read", "prepare"),
            "train_seconds": _seconds(theirs, "train"),
            "evaluate_seconds": evaluations["evaluate"],
            "evaluate_seconds_by_catalogue_batch": evaluations,
            "prepare_peak_bytes": theirs["phases"]["prepare"]["peak_bytes"],
            "peak_bytes": theirs["phases"]["evaluate"]["peak_bytes"],
            "recall@100": theirs["metrics"]["recall@100"],
            "counts": theirs["counts"],
        }
        there = found["theirs"]
        found["preparation_ratio"] = there["prepare_seconds"] / ours["prepare_seconds"]
        found["preparation_ratio_per_row"] = (there["prepare_seconds"] / there["counts"]["sample"]) / (
            ours["prepare_all_rows_seconds"] / rows
        )
        found["evaluation_ratio"] = there["evaluate_seconds"] / ours["evaluate_seconds"]
        found["evaluation_ratio_fastest_peer"] = min(evaluations.values()) / ours["evaluate_seconds"]
        found["memory_share"] = ours["peak_bytes"] / there["peak_bytes"]
    return found


def _shown(found: dict[str, Any]) -> str:
    ours, theirs = found["ours"], found.get("theirs")

    def line(what: str, key: str, form: Callable[[float], str], ratio: str = "") -> list[str]:
        return [what, form(theirs[key]) if theirs and key in theirs else "", form(ours[key]) if key in ours else "", ratio]

    def seconds(value: float) -> str:
        return f"{value:.1f} s"

    def gigabytes(value: float) -> str:
        return f"{value / 1e9:.2f} GB"

    def times(key: str) -> str:
        return f"{found[key]:.1f} x" if key in found else ""

    sample = ours["counts"]["rows"]
    return table(
        [f"{found['rows']:,} rows", "TFRS", "twotower", "ratio"],
        [
            line(f"prepare, CSV to {sample:,} sampled rows", "prepare_seconds", seconds, times("preparation_ratio")),
            line("  of it reading the CSV", "read_seconds", seconds),
            line(f"prepare, CSV to all {found['rows']:,} rows", "prepare_all_rows_seconds", seconds),
            ["  seconds per prepared row", "", "", times("preparation_ratio_per_row")],
            line("train 80,000 rows, 3 epochs", "train_seconds", seconds),
            line("evaluate 20,000 rows", "evaluate_seconds", seconds, times("evaluation_ratio")),
            ["  the peer's fastest catalogue batch", "", "", times("evaluation_ratio_fastest_peer")],
            line("peak memory, prepared", "prepare_peak_bytes", gigabytes),
            line("peak memory, all rows prepared", "prepare_all_rows_peak_bytes", gigabytes),
            line("peak memory, the whole job", "peak_bytes", gigabytes, f"{found['memory_share']:.2f}" if theirs else ""),
            line("recall@100", "recall@100", lambda value: f"{value:.4f}"),
        ],
    )


if __name__ == "__main__":
    main()
