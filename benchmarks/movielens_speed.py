"""The MovieLens notebook, 300 epochs and 60 evaluations: here and on TensorFlow Recommenders, in turn.

The same rows train and are judged, the towers are [64, 32], batches have 2,048 rows. Each turn is a process of either side that
trains 10 epochs and evaluates twice; medians over all turns of an epoch and of an evaluation, without each process's first, are
scaled to 300 and 60. Ours evaluates with all metrics, seen items included and removed; the peer with top-1 to top-100 accuracy.

The peer needs an environment of 2 GB, which is built when ``--peer`` asks for it. The last line of stdout is one JSON object.

    python benchmarks/movielens_speed.py --peer
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from measured import run_program, table
from tfrs.environment import PeerUnavailableError, peer_environment, peer_python

BENCHMARKS = Path(__file__).resolve().parent
STEPS = BENCHMARKS / "steps" / "movielens.py"
NOTEBOOK = BENCHMARKS / "tfrs" / "movielens.py"
EPOCHS, EVALUATIONS = 300, 60


def main() -> None:
    """Measure both sides in turn, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="store_true", help="measure TensorFlow Recommenders beside us")
    parser.add_argument("--peer-folder", type=Path, help="where its environment is kept; left out, in twotower's cache")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10, help="of a turn; evaluated after every fifth")
    parser.add_argument("--catalogue-batch", type=int, default=2_048, help="of the peer's evaluation; its best of 128 to 2,048")
    options = parser.parse_args()
    peer, left_out = None, "not asked for (--peer)"
    if options.peer:
        try:
            folder = Path(os.environ.get("TWOTOWER_CACHE") or Path.home() / ".cache" / "twotower") / "peers" / "tfrs-0.7.7"
            peer = peer_python(options.peer_folder or folder)
        except PeerUnavailableError as fault:
            left_out = str(fault)
            print(f"the peer is left out: {left_out}", file=sys.stderr, flush=True)
    turns: dict[str, list[dict[str, Any]]] = {"ours": [], "TFRS": []}
    with tempfile.TemporaryDirectory() as work:
        for _ in range(options.turns):
            turns["ours"].append(run_program([sys.executable, STEPS, work, "--epochs", options.epochs]))
            if peer is not None:
                command: list[object] = [peer, "-W", "ignore", NOTEBOOK, work, "--epochs", options.epochs]
                command += ["--catalogue-batch", options.catalogue_batch]
                turns["TFRS"].append(run_program(command, environment=peer_environment()))
    found = {side: _scaled(each) for side, each in turns.items() if each}
    rows = [
        [
            side,
            f"{each['epoch_seconds']:.3f} s",
            f"{each['evaluation_seconds']:.3f} s",
            f"{each['seconds']:.0f} s",
            f"{each['recall@100']:.4f}",
        ]
        for side, each in found.items()
    ]
    print(table(["side", "epoch", "evaluation", f"{EPOCHS} and {EVALUATIONS}", f"recall@100 at {options.epochs}"], rows))
    line: dict[str, Any] = {"benchmark": "movielens_speed", "turns": options.turns, **found}
    if "TFRS" in found:
        line["ratio"] = found["TFRS"]["seconds"] / found["ours"]["seconds"]
    else:
        line["peer_left_out"] = left_out
    print(json.dumps(line))


def _scaled(turns: list[dict[str, Any]]) -> dict[str, float]:
    # the first of a process compiles, reads ahead and fills caches
    epoch = statistics.median(seconds for turn in turns for seconds in turn["epoch_seconds"][1:])
    evaluation = statistics.median(seconds for turn in turns for seconds in turn["evaluation_seconds"][1:])
    return {
        "epoch_seconds": epoch,
        "evaluation_seconds": evaluation,
        "seconds": EPOCHS * epoch + EVALUATIONS * evaluation,
        "recall@100": statistics.median(turn["recall@100"][-1] for turn in turns),
    }


if __name__ == "__main__":
    main()
