"""What ``twotower plan`` says a rank needs, beside what it took: a figure for each world and number of ranks, within 15%.

Worlds are planted: users and items drawn alike, tables from small to hundreds of megabytes.

    python acceptance/plan_memory.py --ranks 1
    python acceptance/plan_memory.py --ranks 2 --sharding row_wise --worlds huge   # 20 M x 64: minutes, 40 GB of disk

In ``--command``, ``RECIPE``, ``FOLDER`` and ``RANKS`` are put in. Prints asked, seen, pass or fail; ends with 1 if one failed.
The last line of stdout before the count is one JSON object with all figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from checks import Checks
from watched_memory import peaks_of_ranks, watch

WORLDS = {
    "small": {"rows": 50_000, "users": 5_000, "items": 5_000, "dim": 64, "batch_size": 1024},
    "users and items": {"rows": 250_000, "users": 120_000, "items": 120_000, "dim": 256, "batch_size": 2048},
    "many items": {"rows": 500_000, "users": 20_000, "items": 450_000, "dim": 128, "batch_size": 4096},
    "huge": {"rows": 20_002_000, "users": 20_000_000, "items": 2_000, "dim": 64, "batch_size": 65_536},
}
TOLERANCE = 0.15
RECIPE = """
name = "planned"
seed = 1
device = "cpu"
refit = "none"
[data]
cache = "never"
[data.interactions]
path = "log.parquet"
[data.columns]
user = "user"
item = "item"
time = "time"
[split]
kind = "time"
test = 200
validation = 200
[[query.features]]
kind = "id"
column = "user"
embedding = { dim = DIM, update = "rows" }
[[query.features]]
kind = "history"
max_length = 20
own_item = "allow"
embedding = { dim = DIM, table = "items", update = "rows" }
[[candidate.features]]
kind = "id"
column = "item"
embedding = { dim = DIM, table = "items", update = "rows" }
[model]
layer_sizes = [128, 64]
[loss]
kind = "in_batch"
[training]
epochs = 1
batch_size = BATCH
early_stopping = false
optimizer = { kind = "rowwise_adagrad", learning_rate = 0.1 }
[evaluation]
draws = 0
per_user = false
[baselines]
train = ["random"]
"""


def main() -> None:
    """Plan, run and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2, 4])
    parser.add_argument(
        "--worlds",
        type=lambda text: text.split(","),
        default=[name for name in WORLDS if name != "huge"],
        help="by name, with commas between",
    )
    parser.add_argument("--command", help="trains RECIPE into FOLDER on RANKS; by default this Python's `twotower train`")
    parser.add_argument(
        "--sharding", type=lambda text: text.split(","), default=["local", "row_wise"], help="of tables; with commas between"
    )
    parser.add_argument("--constants", type=Path, help="a device that was measured here; by default the one named cpu")
    options = parser.parse_args()
    checks = Checks("what a plan says a rank needs, and what it took")
    figures = []
    for name in options.worlds:
        with tempfile.TemporaryDirectory() as folder:
            recipe = make_world(Path(folder), **WORLDS[name])
            for sharding, ranks in itertools.product(options.sharding, options.ranks):
                if ranks == 1 and sharding != options.sharding[0]:
                    continue  # one rank has all tables
                figure = _figure(recipe, name, ranks, sharding, options)
                figures.append(figure)
                seen = figure["measured_bytes"] / figure["planned_bytes"]
                asked = f"{1 - TOLERANCE:g} to {1 + TOLERANCE:g} of the plan"
                of = f"{ranks} rank{'' if ranks == 1 else 's'}" + ("" if ranks == 1 else f", {sharding}")
                what = f"{name}, {of}: {figure['planned_bytes'] / 1e6:,.0f} MB planned"
                checks.check(what, asked, f"{seen:.3f}", abs(seen - 1) <= TOLERANCE)
    print(json.dumps({"acceptance": "plan_memory", "tolerance": TOLERANCE, "figures": figures}), flush=True)
    checks.finish()


def make_world(folder: Path, *, rows: int, users: int, items: int, dim: int, batch_size: int) -> Path:
    """A log in which every user and every item occurs, and its recipe."""
    rng = np.random.default_rng(0)

    def drawn(size: int) -> Any:
        return rng.permutation(np.concatenate([np.arange(size), rng.integers(0, size, max(0, rows - size))])[:rows])

    times = 1_600_000_000 + np.arange(rows)
    pl.DataFrame({"user": drawn(users), "item": drawn(items), "time": times}).write_parquet(folder / "log.parquet")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.replace("BATCH", str(batch_size)).replace("DIM", str(dim)), encoding="utf-8")
    return recipe


def _figure(recipe: Path, world: str, ranks: int, sharding: str, options: argparse.Namespace) -> dict[str, Any]:
    twotower = [sys.executable, "-m", "twotower"]
    device = ["--device", "cpu"] if options.constants is None else ["--constants", str(options.constants)]
    asked = ["plan", str(recipe), "--ranks", str(ranks), "--sharding", sharding, *device, "--json"]
    done = subprocess.run([*twotower, *asked], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    memory = json.loads(done.stdout.splitlines()[-1])["memory"]
    folder = recipe.parent / f"run-{sharding}-{ranks}"
    given = (
        options.command
        or f"{shlex.join(twotower)} train RECIPE --run-dir FOLDER --set training.sharding={sharding} --ranks RANKS"
    )
    put = {"RECIPE": str(recipe), "FOLDER": str(folder), "RANKS": str(ranks)}
    command = [put.get(word, word) for word in shlex.split(given)]
    if command[0] == "twotower":
        command = [*twotower, *command[1:]]
    peaks = peaks_of_ranks(watch(command, environment=dict(os.environ)), ranks)
    return {
        "world": world,
        "ranks": ranks,
        "sharding": sharding,
        "planned_bytes": memory["host"]["peak_bytes"],
        "planned_moment": memory["host"]["peak_moment"],
        "measured_bytes": max(peaks),
        "of_each_rank_bytes": peaks,
    }


if __name__ == "__main__":
    main()
