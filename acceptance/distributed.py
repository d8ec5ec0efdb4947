"""Training over ranks: asked, seen, pass or fail.

    python acceptance/distributed.py                 # tests, MovieLens on 1, 2 and 4 ranks, plans, rows/s on 1 and 2 ranks
    python acceptance/distributed.py --no-tests
    python acceptance/distributed.py --huge          # in addition a table of 20 M x 64 over two ranks: 15 GB, 45 GB of disk

Ends with 1 if one failed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import plan_memory
from checks import ROOT, Checks, check_parts, last_json
from watched_memory import peaks_of_ranks, watch

TESTS = {
    "one step of 2 and 4 ranks: loss, gradients; every loss": ["tests/training/test_over_ranks.py"],
    "split tables on 2 and 4 ranks; a planted W-times gradient": ["tests/training/test_split_tables.py"],
    "2 -> 1 -> 4 -> 2 ranks with kills; damaged checkpoints": ["tests/training/test_elastic.py"],
    "whole runs, their figures and bundles": ["tests/runs/test_run_over_ranks.py"],
    "--ranks, torchrun, a killed rank and its restart": ["tests/cli/test_train_ranks.py"],
    "ranks, tables, checkpoints": ["tests/distributed"],
    "evaluation and exact search over ranks": ["tests/evaluation/test_over_ranks.py", "tests/evaluation/test_sharded_index.py"],
    "plans": ["tests/planning"],
}
TWOTOWER = [sys.executable, "-m", "twotower"]
# what is compared is one epoch, so nothing may be drawn: the dropout of ranks is another than that of one process
MOVIES: dict[str, Any] = {
    "refit": "none",
    "training.epochs": 1,
    "training.early_stopping": "false",
    "training.batch_size": 512,
    "training.optimizer.epsilon": 0.01,
    "loss.kind": "in_batch",
    "model.input_dropout": 0,
    **{f"query.features.{number}.embedding.id_dropout": 0 for number in (0, 1, 2, 4)},
    **{f"candidate.features.{number}.embedding.id_dropout": 0 for number in (0, 1)},
    "training.optimizer.sparse_learning_rate": 0.02,
}


def main() -> None:
    """All checks that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-tests", action="store_true", help="leave the tests out")
    parser.add_argument("--huge", action="store_true", help="also train a table of 20 M x 64")
    options = parser.parse_args()
    checks = Checks("training over ranks")
    if not options.no_tests:
        check_parts(checks, TESTS)
    _movies(checks)
    _rows_per_s(checks)
    _plans(checks)
    if not options.no_tests:
        _ray(checks)
    if options.huge:
        _huge(checks)
    checks.finish()


def _movies(checks: Checks) -> None:
    """MovieLens, one epoch of in-batch softmax with log-Q: the recall of one process, whatever the ranks and the tables."""
    with tempfile.TemporaryDirectory() as folder:
        for sharding in ("local", "row_wise"):
            found = {}
            for ranks in (1, 2, 4):
                settings = {**MOVIES, "training.sharding": sharding}
                given = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
                run = Path(folder) / f"{sharding}-{ranks}"
                command = [*TWOTOWER, "train", str(ROOT / "recipes" / "movielens.toml"), *given]
                found[ranks] = _json_of([*command, "--run-dir", str(run), "--ranks", str(ranks), "--json"])
            for ranks in (2, 4):
                for variant in ("seen_included", "seen_removed"):
                    one, its = (_recall(found[each], variant) for each in (1, ranks))
                    what = f"MovieLens, {sharding} tables, {ranks} ranks: recall@100 {variant.replace('_', ' ')}"
                    checks.near(what, its, round(one, 5), 1e-3)


def _json_of(command: list[str]) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _recall(found: dict[str, Any], variant: str) -> float:
    return float(found["metrics"]["test"][variant]["recall@100"])


def _rows_per_s(checks: Checks) -> None:
    """One and two ranks beside each other. What is asked is that two are quicker; how much is what a reader wants to see."""
    found = last_json("benchmarks/ranks.py", "--pairs", 3)
    for way in found["figures"]:
        two = way["ranks"]["2"]
        seen = f"{two['ratio']:.2f} x, {two['share_of_communication']:.0%}"
        checks.check(f"{way['sharding']} tables: rows/s of 2 ranks to 1, in communication", "> 1 x", seen, two["ratio"] > 1)


def _plans(checks: Checks) -> None:
    """Memory that was planned and that was taken; the program prints its own checks."""
    command = [sys.executable, str(ROOT / "acceptance" / "plan_memory.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    for line in done.stdout.splitlines()[2:-2]:
        print(line)
    checks.check("memory of a rank within 15% of its plan", "all", done.stdout.splitlines()[-1], done.returncode == 0)


def _ray(checks: Checks) -> None:
    """Ray Train in place of torchrun: two workers, and one of them that dies and is started again."""
    what = "tests: Ray Train, two workers; one that dies, and its restart"
    if importlib.util.find_spec("ray") is None:
        print(f"     {what}: not run, the extra ray is not installed", flush=True)
        return
    check_parts(checks, {what.removeprefix("tests: "): ["tests/examples/test_ray_train.py"]}, slow=True)


def _huge(checks: Checks) -> None:
    """A table of 20 M x 64 over two ranks: trained within the plan's memory, shipped and served."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = plan_memory.make_world(folder, **plan_memory.WORLDS["huge"])
        asked = ["--ranks", "2", "--set", "training.sharding=row_wise"]
        plan = _json_of([*TWOTOWER, "plan", str(recipe), *asked, "--device", "cpu", "--json"])
        planned = plan["memory"]["host"]["peak_bytes"]
        # every checkpoint is 5 GB
        command = [*TWOTOWER, "train", str(recipe), "--run-dir", str(folder / "run"), *asked]
        peaks = peaks_of_ranks(watch([*command, "--set", "training.checkpoint_every_s=600"], environment=dict(os.environ)), 2)
        what = f"20 M x 64 over 2 ranks: {planned / 1e9:.2f} GB of a rank planned"
        checks.check(what, "within the plan", f"{max(peaks) / planned:.3f}", max(peaks) <= planned)
        answers = _served(folder / "run", [1, 19_999_999])
        lengths = [len(answer) for answer in answers]
        checks.check("its bundle answers over HTTP", "2 lists of 10", str(lengths), lengths == [10, 10])


def _served(run: Path, users: list[int]) -> list[list[Any]]:
    """What the service recommends to some users."""
    service = subprocess.Popen([*TWOTOWER, "serve", str(run), "--port", "18765"], stdout=subprocess.DEVNULL)
    try:
        found = []
        for user in users:
            body = json.dumps({"queries": [{"user": user}], "k": 10}).encode()
            request = urllib.request.Request(
                "http://127.0.0.1:18765/v1/recommend", data=body, headers={"content-type": "application/json"}
            )
            found.append(_answer(request)["results"][0]["items"])
        return found
    finally:
        service.terminate()
        service.wait()


def _answer(request: urllib.request.Request) -> Any:
    until = time.monotonic() + 600
    while True:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) or time.monotonic() > until:
                raise
            time.sleep(1)


if __name__ == "__main__":
    main()
