"""`examples/ray_train.py` with a Ray of two workers on this machine."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from twotower.runs import read_recipe, run

pytest.importorskip("ray", reason="needs the extra ray")

ROOT = Path(__file__).resolve().parents[2]

RECIPE = """
name = "toy"
seed = 3
device = "cpu"
[data]
interactions = { path = "interactions.csv" }
[data.columns]
user = "user"
item = "item"
time = "when"
[split]
kind = "time"
test = 0.2
validation = 0.2
[[query.features]]
kind = "history"
embedding = { dim = 8, table = "item", id_dropout = 0.0 }
[[candidate.features]]
kind = "id"
column = "item"
embedding = { dim = 8, table = "item", id_dropout = 0.0 }
[loss]
kind = "in_batch"
[training]
epochs = 4
batch_size = 64
optimizer = { kind = "adamw", learning_rate = 0.01, epsilon = 0.01 }
early_stopping = { metric = "recall@5" }
checkpoint_every_s = 0
[evaluation]
ks = [5]
draws = 0
[baselines]
train = ["popularity"]
"""

# a cluster of this machine alone, and a rank that can be told to die once, as soon as it finds a checkpoint
PROGRAM = """
import os, sys, time
from pathlib import Path
from threading import Thread
import ray
import ray_train
from twotower.distributed import Ranks

train_rank = ray_train.train_rank

def die(job):
    while not (Path(job["folder"]) / "metrics.jsonl").exists():
        time.sleep(0.01)
    Path(job["folder"] + ".died").touch()
    os._exit(7)

def dies_once(job):
    began = Path(job["folder"] + ".began")
    first = not began.exists()
    ranks = Ranks.of()
    ranks.wait()
    if ranks.first:
        began.touch()
    elif first:
        Thread(target=die, args=(job,), daemon=True).start()
    return train_rank(job)

if __name__ == "__main__":
    scratch, dies, *arguments = sys.argv[1:]
    if dies == "dies":
        ray_train.train_rank = dies_once
    for last in (False, False, True):  # Ray waits 30 s for its own processes, and no setting says longer
        try:
            ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, _temp_dir=scratch)
            break
        except Exception as error:
            if last or "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    ray_train.main(arguments)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    users = draw.integers(30, size=900)
    frame = pl.DataFrame({"user": users, "item": users % 3 * 8 + draw.integers(8, size=900), "when": np.arange(900)})
    frame.write_csv(tmp_path / "interactions.csv")
    (tmp_path / "toy.toml").write_text(RECIPE)
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where Ray has its sockets, whose paths must be short."""
    path = Path(tempfile.mkdtemp(prefix="ray"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def trained(folder: Path, scratch: Path, *, dies: bool, settings: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    overrides = [part for setting in settings for part in ("--set", setting)]
    arguments = [str(scratch), "dies" if dies else "lives", "toy.toml", "--run-dir", "run2", "--restarts", "1", *overrides]
    return subprocess.run(
        [sys.executable, "program.py", *arguments],
        cwd=folder,  # the workers are elsewhere: what they are told are whole paths
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "examples")]),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else one is written into the home folder
            "GLOO_SOCKET_IFNAME": "lo",
        },
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
    )


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("dies", [False, True])
def test_two_workers_train_what_one_process_does(folder: Path, scratch: Path, dies: bool) -> None:
    settings = ("training.epochs=12", "training.early_stopping=false", "refit=none") if dies else ("refit=all",)
    one = run(read_recipe(folder / "toy.toml", overrides=settings), folder / "run1").summary
    done = trained(folder, scratch, dies=dies, settings=settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "run2.died").exists() == dies
    two = json.loads((folder / "run2" / "result.json").read_text())
    (figure,) = one["metrics"]["test"]["seen_included"].keys() & {"recall@5"}
    assert two["metrics"]["test"]["seen_included"][figure] == pytest.approx(
        one["metrics"]["test"]["seen_included"][figure], abs=1e-3
    )
    assert f"{figure}: {two['metrics']['test']['seen_included'][figure]:.4f}" in done.stdout
    assert two["baselines"] == one["baselines"]
    found = [[(record["phase"], record["epoch"]) for record in records(folder / name)] for name in ("run1", "run2")]
    assert found[1] == found[0]
    losses = [[record["loss"] for record in records(folder / name)] for name in ("run1", "run2")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert (folder / "run2" / "bundle" / "manifest.json").exists()
