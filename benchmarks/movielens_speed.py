"""The MovieLens notebook, 300 epochs and 60 evaluations: here, on TensorFlow Recommenders and in plain PyTorch, in turn.

The same rows train and are judged, the towers are [64, 32], batches have 2,048 rows. Each turn is a process of every side that
trains 10 epochs and evaluates twice, with another seed than the last; medians over all turns of an epoch and of an evaluation,
without each process's first, are scaled to 300 and 60. Ours evaluates with all metrics, seen items included and removed; peers
with top-100 accuracy or more.

* TFRS: the notebook, whose evaluation makes the catalogue's vectors in batches of 128, and at its best, batches of 2,048;
* plain PyTorch: ``steps/movielens_plain.py``, its ``DataLoader`` asked row by row, as one writes it, and by batches, its best;
* RecTools' DSSM, another model (user histories, triplet loss), for as many rows: what a library of PyTorch makes of the job.

TFRS and RecTools need environments of their own (3 GB), which are built when ``--peer`` asks for them. The roofline counts the
products and bytes of a training step: towers over rows and distinct titles, three products of the loss, rows of tables that are
read and written. The last line of stdout is one JSON object.

    python benchmarks/movielens_speed.py --peer
    python benchmarks/movielens_speed.py --peer --keep turns.jsonl --minutes 9      (again and again, until all turns are made)
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from measured import run_program, table
from peers import PeerUnavailableError, rectools_python, tfrs_python
from roofline import best_ceilings, roofline
from tfrs.environment import peer_environment
from turns import Turns

Builder: TypeAlias = Callable[[], Path]
Run: TypeAlias = Callable[..., dict[str, Any]]

BENCHMARKS = Path(__file__).resolve().parent
EPOCHS, EVALUATIONS = 300, 60
NOTEBOOKS, BEST = 128, 2_048
TFRS = {NOTEBOOKS: "TFRS, the notebook", BEST: "TFRS, catalogue by 2,048"}
PLAIN = {"rows": "plain PyTorch", "batches": "plain PyTorch, whole batches"}
QUERY_LAYERS, CANDIDATE_LAYERS, TOUCHED = 65 * 64 + 64 * 32, 64 * 64 + 64 * 32, 4 * 32 * 4
"""Weights of the dense layers of either tower; bytes of a row of a table read and written, with its accumulator."""


def main() -> None:
    """Measure all sides in turn, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="store_true", help="measure TensorFlow Recommenders and RecTools beside us")
    parser.add_argument("--peer-folder", type=Path, help="TFRS' environment; left out, in twotower's cache")
    parser.add_argument("--rectools-folder", type=Path, help="RecTools' environment; left out, in twotower's cache")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="of a turn; evaluated after every fifth")
    parser.add_argument("--keep", type=Path, help="a file of the turns that were made; another call goes on with it")
    parser.add_argument("--minutes", type=float, help="begin no turn that would end later")
    options = parser.parse_args()
    sides: dict[str, Run] = {"ours": partial(_ours, epochs=options.epochs)}
    for loader, side in PLAIN.items():
        sides[side] = partial(_plain, loader, epochs=options.epochs)
    left_out: dict[str, str] = {}
    if options.peer:
        builders: dict[str, tuple[Builder, Run]] = {
            "TFRS": (lambda: tfrs_python(options.peer_folder), _tfrs),
            "RecTools DSSM": (lambda: rectools_python(options.rectools_folder), _rectools),
        }
        for name, (build, run) in builders.items():
            try:
                sides[name] = partial(run, build(), epochs=options.epochs)
            except PeerUnavailableError as fault:
                left_out[name] = str(fault)
                print(f"{name} is left out: {fault}", file=sys.stderr, flush=True)
    else:
        left_out = dict.fromkeys(("TFRS", "RecTools DSSM"), "not asked for (--peer)")
    settings = {"benchmark": "movielens_speed", "epochs": options.epochs, "sides": list(sides)}
    turns = Turns(options.turns, settings=settings, keep=options.keep, minutes=options.minutes)
    with tempfile.TemporaryDirectory() as work:
        for number in turns:
            turn = {side: run(Path(work), seed=number + 1) for side, run in sides.items()}
            turns.add({**turn, "ceilings": run_program([sys.executable, BENCHMARKS / "ceilings.py"])})
    found = _scaled(turns.found)
    print(_shown(found, options.epochs))
    line: dict[str, Any] = {
        "benchmark": "movielens_speed",
        "turns": len(turns.found),
        "complete": turns.complete,
        "epochs": options.epochs,
        "sides": found,
        "ratios": {side: each["seconds"] / found["ours"]["seconds"] for side, each in found.items() if side != "ours"},
        "roofline": _limit(turns.found[0]["ours"], found["ours"]["epoch_seconds"], turns.found),
        "left_out": left_out,
    }
    print(json.dumps(line))


def _ours(work: Path, *, epochs: int, seed: int) -> dict[str, Any]:
    return run_program([sys.executable, BENCHMARKS / "steps" / "movielens.py", work, "--epochs", epochs, "--seed", seed])


def _plain(loader: str, work: Path, *, epochs: int, seed: int) -> dict[str, Any]:
    program = BENCHMARKS / "steps" / "movielens_plain.py"
    return run_program([sys.executable, program, work, "--epochs", epochs, "--loader", loader, "--seed", seed])


def _tfrs(python: Path, work: Path, *, epochs: int, seed: int) -> dict[str, Any]:
    command: list[object] = [python, "-W", "ignore", BENCHMARKS / "tfrs" / "movielens.py", work, "--epochs", epochs]
    return run_program([*command, "--seed", seed, "--catalogue-batches", *TFRS], environment=peer_environment())


def _rectools(python: Path, work: Path, *, epochs: int, seed: int) -> dict[str, Any]:
    program = BENCHMARKS / "rectools_peer" / "movielens.py"
    return run_program([python, "-W", "ignore", program, work, "--epochs", epochs, "--seed", seed])


def _scaled(turns: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By side, medians over the turns; TFRS counts as two, one for each size of its catalogue batches."""
    found: dict[str, dict[str, Any]] = {}
    for side in turns[0]:
        if side in ("turn_seconds", "ceilings"):
            continue
        runs = [turn[side] for turn in turns]
        if side == "TFRS":
            for size, name in TFRS.items():
                each = [{**run, "evaluation_seconds": run["evaluation_seconds"][str(size)]} for run in runs]
                found[name] = _medians(each)
        else:
            found[side] = _medians(runs)
    return found


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    # the first of a process compiles, reads ahead and fills caches
    epoch = statistics.median(seconds for run in runs for seconds in run["epoch_seconds"][1:])
    evaluation = statistics.median(seconds for run in runs for seconds in run["evaluation_seconds"][1:])
    return {
        "epoch_seconds": epoch,
        "evaluation_seconds": evaluation,
        "seconds": EPOCHS * epoch + EVALUATIONS * evaluation,
        "recall@100": statistics.median(run["recall@100"][-1] for run in runs),
    }


def _limit(run: dict[str, Any], epoch_seconds: float, turns: list[dict[str, Any]]) -> dict[str, Any]:
    """Products and bytes of an epoch's steps beside the ceilings (the best of all turns); a batch's candidates count once."""
    rows, distinct = run["rows"], run["candidates_per_batch"] * run["rows"] / run["batch"]
    flops = 6 * (rows * QUERY_LAYERS + distinct * CANDIDATE_LAYERS + rows * run["candidates_per_batch"] * 32)
    moved = TOUCHED * (2 * rows + 2 * distinct)
    machine = best_ceilings([turn["ceilings"] for turn in turns])
    return {**roofline(epoch_seconds, flops=flops, num_bytes=moved, machine=machine), "machine": machine}


def _shown(found: dict[str, dict[str, Any]], epochs: int) -> str:
    ours = found["ours"]["seconds"]
    rows = [
        [
            side,
            f"{each['epoch_seconds']:.3f} s",
            f"{each['evaluation_seconds']:.3f} s",
            f"{each['seconds']:.0f} s",
            f"{each['seconds'] / ours:.1f} x",
            f"{each['recall@100']:.4f}",
        ]
        for side, each in found.items()
    ]
    head = ["side", "epoch", "evaluation", f"{EPOCHS} and {EVALUATIONS}", "ours is", f"recall@100 at {epochs}"]
    return table(head, rows)


if __name__ == "__main__":
    main()
