"""The live-stream notebook on TensorFlow Recommenders against the same job here: seconds and peak memory, side by side.

The job is the notebook's: a CSV of 5.3 million rows and 18 columns, a random tenth of its rows, vocabulary and moments, 80,000
rows trained for 3 epochs, 20,000 rows evaluated over every broadcaster of the tenth. What is counted:

* preparing: from the CSV to what training reads. There: reading with pandas, filling, sampling, ``tf.data``, vocabulary,
  ``adapt``, building the model. Here: reading the columns that the recipe reads, sample, checks, split, fitting, encoding,
  building the model. Imports are counted on neither side. All rows are prepared besides, through an empty cache, as logs that
  are trained on whole are.
* evaluating: top-1 to top-100 accuracy of the 20,000 rows over the whole catalogue, all candidate vectors made anew. There:
  ``model.evaluate`` with ``FactorizedTopK``. Here: `judge`, which also counts with seen items removed.
* training: rows a second of an epoch's steps, without the first epoch of a process, which compiles and fills caches.
* memory: the largest resident set of the one process that does the whole job.

Both sides take turns, each with another training seed; figures are medians over the turns. The peer needs an environment of
2 GB, which is built when ``--peer`` asks for it; without it only our side is measured. The log is in the page cache for both
sides. The roofline counts the products and bytes of a training step (towers, three products of the loss over distinct
candidates, touched rows of tables) and of the evaluation (one product of all test rows with the catalogue). The last line of
stdout is one JSON object.

    python benchmarks/livestream_preparation.py --peer
    python benchmarks/livestream_preparation.py --log log.csv --peer --keep turns.jsonl --minutes 9    (again and again)
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measured import run_program, table
from peers import tfrs_or_why
from roofline import best_ceilings, roofline
from tfrs.environment import peer_environment
from turns import Turns

BENCHMARKS = Path(__file__).resolve().parent
RECIPE = BENCHMARKS.parent / "recipes" / "livestream-reference.toml"
STEPS = BENCHMARKS / "steps" / "livestream.py"
NOTEBOOK = BENCHMARKS / "tfrs" / "live_streams.py"
LAYER_SIZES = (64, 32)
BATCH = 16_384
QUERY_LAYERS, CANDIDATE_LAYERS, TOUCHED = 65 * 64 + 64 * 32, 64 * 64 + 64 * 32, 4 * 32 * 4
"""Weights of the dense layers of either tower; bytes of a row of a table read and written, with its accumulator."""
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
    parser.add_argument("--turns", type=int, default=5, help="of both sides; medians are compared")
    parser.add_argument("--keep", type=Path, help="a file of the turns that were made; another call goes on with it")
    parser.add_argument("--minutes", type=float, help="begin no turn that would end later")
    parser.add_argument(
        "--catalogue-batches", type=int, nargs="+", default=[128, 4096], help="of FactorizedTopK; first: compared"
    )
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="of our recipe")
    options = parser.parse_args()
    peer, left_out = tfrs_or_why(options.peer_folder, asked=options.peer)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        log = options.log or made_log(work / "log.csv", options.rows)
        rows = _counted(log)
        settings = {"benchmark": "livestream_preparation", "log": log.name, "rows": rows, "peer": peer is not None}
        settings |= {"catalogue_batches": options.catalogue_batches, "set": options.overrides}
        turns = Turns(options.turns, settings=settings, keep=options.keep, minutes=options.minutes)
        everything = (f"split.train={rows - 20_000}", "data.sample.fraction=1.0", "data.cache='always'", *options.overrides)
        for number in turns:
            turn = {
                "job": _ours(log, work, "evaluate", f"seed={number + 1}", *options.overrides),
                "whole": _ours(log, work, "prepare", *everything),
            }
            if peer is not None:
                turn["theirs"] = _theirs(peer, log, options.catalogue_batches, number + 1)
            turns.add({**turn, "ceilings": run_program([sys.executable, BENCHMARKS / "ceilings.py"])})
    found = _compared(rows, turns.found, best_ceilings([turn["ceilings"] for turn in turns.found]))
    print(_shown(found))
    if peer is None:
        found["peer_left_out"] = left_out
    print(json.dumps({"benchmark": "livestream_preparation", "turns": len(turns.found), "complete": turns.complete, **found}))


def made_log(path: Path, rows: int) -> Path:
    """A planted log of so many rows, made first."""
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


def _theirs(python: Path, log: Path, catalogue_batches: list[int], seed: int) -> dict[str, Any]:
    command: list[object] = [python, "-W", "ignore", NOTEBOOK, log, "--layer-sizes", *LAYER_SIZES]
    return run_program(
        [*command, "--model-seed", seed, "--catalogue-batches", *catalogue_batches], environment=peer_environment()
    )


def _seconds(found: dict[str, Any], *phases: str) -> float:
    return float(sum(found["phases"][phase]["seconds"] for phase in phases))


def _compared(rows: int, turns: list[dict[str, Any]], machine: dict[str, float]) -> dict[str, Any]:
    """Medians of both sides over the turns, the ratios that were asked for, and our share of the machine's limit."""
    jobs, whole = [turn["job"] for turn in turns], [turn["whole"] for turn in turns]
    peers = [turn["theirs"] for turn in turns if "theirs" in turn]
    ours = {
        "prepare_seconds": _middle(jobs, "read", "fit", "build"),
        "train_seconds": _middle(jobs, "train"),
        "train_rows_per_s": _rate(jobs, jobs[0]["counts"]["train"]),
        "evaluate_seconds": _middle(jobs, "evaluate"),
        "prepare_peak_bytes": statistics.median(each["phases"]["build"]["peak_bytes"] for each in jobs),
        "peak_bytes": statistics.median(each["peak_bytes"] for each in jobs),
        "prepare_all_rows_seconds": _middle(whole, "read", "fit"),
        "prepare_all_rows_peak_bytes": statistics.median(each["peak_bytes"] for each in whole),
        "recall@100": statistics.median(each["metrics"]["recall@100"] for each in jobs),
        "recall@100_of_each_turn": [each["metrics"]["recall@100"] for each in jobs],
        "candidates_per_batch": jobs[0]["candidates_per_batch"],
        "counts": jobs[0]["counts"],
        "seconds_of_each_turn": {
            "prepare": [round(_seconds(each, "read", "fit", "build"), 2) for each in jobs],
            "prepare all rows": [round(_seconds(each, "read", "fit"), 2) for each in whole],
            "evaluate": [round(_seconds(each, "evaluate"), 2) for each in jobs],
        },
    }
    found: dict[str, Any] = {"rows": rows, "ours": ours, "roofline": _limits(ours, machine), "machine": machine}
    if peers:
        names = [name for name in peers[0]["phases"] if name.startswith("evaluate")]
        evaluations = {name: _middle(peers, name) for name in names}
        there = {
            "read_seconds": _middle(peers, "read"),
            "prepare_seconds": _middle(peers, "read", "prepare"),
            "train_seconds": _middle(peers, "train"),
            "train_rows_per_s": _rate(peers, peers[0]["train_rows"]),
            "evaluate_seconds": evaluations["evaluate"],
            "evaluate_seconds_by_catalogue_batch": evaluations,
            "prepare_peak_bytes": statistics.median(each["phases"]["prepare"]["peak_bytes"] for each in peers),
            "peak_bytes": statistics.median(each["phases"]["evaluate"]["peak_bytes"] for each in peers),
            "recall@100": statistics.median(each["metrics"]["recall@100"] for each in peers),
            "recall@100_of_each_turn": [each["metrics"]["recall@100"] for each in peers],
            "counts": peers[0]["counts"],
        }
        all_rows = ours["prepare_all_rows_seconds"] / rows
        found |= {
            "theirs": there,
            "preparation_ratio": there["prepare_seconds"] / ours["prepare_seconds"],
            "preparation_ratio_per_row": there["prepare_seconds"] / there["counts"]["sample"] / all_rows,
            "training_ratio": ours["train_rows_per_s"] / there["train_rows_per_s"],
            "evaluation_ratio": there["evaluate_seconds"] / ours["evaluate_seconds"],
            "evaluation_ratio_fastest_peer": min(evaluations.values()) / ours["evaluate_seconds"],
            "memory_share": ours["peak_bytes"] / there["peak_bytes"],
        }
    return found


def _middle(runs: list[dict[str, Any]], *phases: str) -> float:
    return statistics.median(_seconds(each, *phases) for each in runs)


def _rate(runs: list[dict[str, Any]], rows: int) -> float:
    """Rows a second: the median epoch of all runs, without each one's first."""
    seconds: list[float] = [taken for each in runs for taken in each["epoch_seconds"][1:]]
    return rows / statistics.median(seconds)


def _limits(ours: dict[str, Any], machine: dict[str, float]) -> dict[str, Any]:
    """Shares of the ceilings: of an epoch's steps and of the evaluation."""
    rows, test, catalogue = (ours["counts"][name] for name in ("train", "test", "catalogue"))
    steps = -(-rows // BATCH)
    candidates = ours["candidates_per_batch"]
    flops = 6 * (rows * QUERY_LAYERS + steps * candidates * CANDIDATE_LAYERS + rows * candidates * LAYER_SIZES[-1])
    trained = roofline(
        rows / ours["train_rows_per_s"], flops=flops, num_bytes=TOUCHED * (rows + steps * candidates), machine=machine
    )
    flops, read = 2 * test * catalogue * LAYER_SIZES[-1], 4 * catalogue * LAYER_SIZES[-1]
    return {"training": trained, "evaluation": roofline(ours["evaluate_seconds"], flops=flops, num_bytes=read, machine=machine)}


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
            line("  rows a second", "train_rows_per_s", lambda value: f"{value:,.0f}", times("training_ratio")),
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
