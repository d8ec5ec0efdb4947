"""The whole job, from the raw log to a model that can be used: here, and the live-stream notebook on TensorFlow Recommenders.

Both start as a process on the CSV of 5.3 million rows and end when the process ends; imports are counted on both sides. The job
is the notebook's: a random tenth of the rows, 80,000 rows trained for 3 epochs with towers [64, 32], 20,000 rows evaluated.

* ours: ``twotower train recipes/livestream-reference.toml``, which also fits and judges popularity, gives intervals and
  leaves a verified bundle to recommend from;
* TFRS: the notebook as a program, which keeps nothing; its evaluation makes the catalogue's vectors in batches of 128,
  as tutorials do, and in a second run at its best, of 4,096.

The peer runs once for each setting, ours in every turn (medians). The peer needs an environment of 2 GB, which is built
when ``--peer`` asks for it. The last line of stdout is one JSON object.

    python benchmarks/whole_job.py --log log.csv --peer
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from livestream_preparation import LAYER_SIZES, NOTEBOOK, RECIPE, made_log
from measured import run_program, table, timed_process
from peers import tfrs_or_why
from tfrs.environment import peer_environment
from turns import Turns

TFRS = {128: "TFRS, the notebook", 4096: "TFRS, catalogue by 4,096"}


def main() -> None:
    """Measure both sides, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="a CSV in the 18 columns; left out, one of --rows is made first")
    parser.add_argument("--rows", type=int, default=5_300_000, help="of the log that is made")
    parser.add_argument("--peer", action="store_true", help="measure TensorFlow Recommenders beside us")
    parser.add_argument("--peer-folder", type=Path, help="where its environment is kept; left out, in twotower's cache")
    parser.add_argument("--turns", type=int, default=5, help="of ours; the peer runs in the first two")
    parser.add_argument("--keep", type=Path, help="a file of the turns that were made; another call goes on with it")
    parser.add_argument("--minutes", type=float, help="begin no turn that would end later")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="of our recipe")
    options = parser.parse_args()
    peer, left_out = tfrs_or_why(options.peer_folder, asked=options.peer)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        log = options.log or made_log(work / "log.csv", options.rows)
        with log.open("rb") as file:  # into the page cache, for both sides
            while file.read(2**24):
                pass
        settings = {"benchmark": "whole_job", "log": log.name, "peer": peer is not None, "set": options.overrides}
        turns = Turns(options.turns, settings=settings, keep=options.keep, minutes=options.minutes)
        for number in turns:
            turn: dict[str, Any] = {"ours": _ours(log, work / f"run-{number}", options.overrides)}
            if peer is not None and number < len(TFRS):
                size = list(TFRS)[number]
                turn[TFRS[size]] = _theirs(peer, log, size)
            turns.add(turn)
    sides = {}
    for side in ("ours", *TFRS.values()):
        runs = [turn[side] for turn in turns.found if side in turn]
        if runs:
            sides[side] = {name: statistics.median(run[name] for run in runs) for name in runs[0]} | {"runs": len(runs)}
    ratios = {side: each["seconds"] / sides["ours"]["seconds"] for side, each in sides.items() if side != "ours"}
    print(_shown(sides, ratios))
    line: dict[str, Any] = {"benchmark": "whole_job", "turns": len(turns.found), "complete": turns.complete}
    line |= {"sides": sides, "ratios": ratios}
    if peer is None:
        line["peer_left_out"] = left_out
    print(json.dumps(line))


def _ours(log: Path, run: Path, overrides: list[str]) -> dict[str, float]:
    chosen = [f"data.interactions.path={log.resolve()}", f"model.layer_sizes={list(LAYER_SIZES)}", *overrides]
    command: list[object] = [sys.executable, "-m", "twotower", "train", RECIPE, "--run-dir", run]
    seconds, peak = timed_process([*command, *(part for each in chosen for part in ("--set", each))])
    if not (run / "bundle" / "manifest.json").exists():
        raise SystemExit(f"{run} has no bundle")
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    recall = result["metrics"]["test"]["seen_included"]["recall@100"]
    return {"seconds": seconds, "peak_bytes": peak, "recall@100": recall}


def _theirs(python: Path, log: Path, size: int) -> dict[str, float]:
    command: list[object] = [python, "-W", "ignore", NOTEBOOK, log, "--layer-sizes", *LAYER_SIZES, "--catalogue-batches", size]
    found = run_program(command, environment=peer_environment())
    peak = max(phase["peak_bytes"] for phase in found["phases"].values())
    return {"seconds": found["wall_seconds"], "peak_bytes": peak, "recall@100": found["metrics"]["recall@100"]}


def _shown(sides: dict[str, dict[str, float]], ratios: dict[str, float]) -> str:
    head = ["raw file to bundle", "seconds", "ours is", "peak memory", "recall@100", "runs"]
    rows = [
        [
            side,
            f"{each['seconds']:.1f} s",
            f"{ratios[side]:.1f} x" if side in ratios else "",
            f"{each['peak_bytes'] / 1e9:.2f} GB",
            f"{each['recall@100']:.4f}",
            f"{each['runs']:.0f}",
        ]
        for side, each in sides.items()
    ]
    return table(head, rows)


if __name__ == "__main__":
    main()
