"""A whole run that is killed outright, at any moment, ends in the same bits as one that was left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_world
import torch

from twotower.bundle import read_tensors
from twotower.data import Batches
from twotower.training import Checkpoints

RECIPE = """
name = "crashes"
seed = 3

[data.interactions]
path = "ratings.csv"

[data.columns]
user = "user"
item = "item"
time = "time"

[split]
kind = "time"
test = 0.1
validation = 0.1

[[query.features]]
kind = "id"
column = "user"
embedding = { dim = 8, id_dropout = 0.1, update = "rows" }

[[query.features]]
kind = "history"
embedding = { dim = 8, table = "items", value_dropout = 0.2 }

[[candidate.features]]
kind = "id"
column = "item"
embedding = { dim = 8, table = "items" }

[model]
layer_sizes = [16, 8]
hidden_dropout = 0.2

[loss]
kind = "in_batch"
temperature = 0.5
learn_temperature = true
extra_negatives = 5

[training]
epochs = 6
batch_size = 40
checkpoint_every_s = 0
optimizer = { kind = "adamw", learning_rate = 0.01 }
schedule = { warmup_steps = 20, decay = "linear" }
early_stopping = { metric = "recall@5", patience = 3 }

[evaluation]
ks = [5, 10]
draws = 0
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    users, times = generator.integers(0, 25, 700), generator.integers(0, 10**6, 700)
    items = (2 * generator.integers(0, 15, 700) + users % 2) % 30
    lines = [f"u{user},i{item},{at}" for user, item, at in zip(users, items, times, strict=True)]
    (tmp_path / "ratings.csv").write_text("\n".join(["user,item,time", *lines]) + "\n", encoding="utf-8")
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def start(recipe: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "twotower", "train", str(recipe), "--run-dir", str(folder), "--resume", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)


def finish(recipe: Path, folder: Path) -> float:
    """Run to the end; the seconds that it took."""
    began = time.monotonic()
    process = start(recipe, folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return time.monotonic() - began


def kill(process: subprocess.Popen[bytes]) -> bool:
    """Whether it was still running."""
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors.decode()
    return process.returncode != 0


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: without_seconds(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if key not in ("seconds", "rows_per_s", "peak_memory_bytes", "run_dir")}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def outcome(folder: Path) -> tuple[dict[str, torch.Tensor], list[Any]]:
    """Every tensor of the bundle and of the last checkpoint, and every record and figure but those of time."""
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted([*(folder / "bundle").rglob("*.safetensors"), *(folder / "checkpoints").rglob("*.safetensors")]):
        found = read_tensors(path)[0]
        tensors |= {f"{path.relative_to(folder)}: {name}": value for name, value in found.items()}
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [without_seconds(json.loads(line)) for line in [*lines, (folder / "result.json").read_text(encoding="utf-8")]]
    return tensors, records


def assert_same(one: Path, other: Path) -> None:
    (tensors, records), (found_tensors, found_records) = outcome(one), outcome(other)
    names = " ".join(tensors)
    assert "bundle" in names
    assert "best.safetensors" in names
    assert list(found_tensors) == list(tensors)
    for name, value in tensors.items():
        assert torch.equal(value, found_tensors[name]), name
    assert len(records) >= 4
    assert found_records == records
    assert not list((other / "checkpoints").rglob("*.tmp"))


def test_killed_five_times_while_it_trains(recipe: Path, tmp_path: Path) -> None:
    finish(recipe, tmp_path / "whole")
    torn, generator = tmp_path / "torn", np.random.default_rng(5)
    last = torn / "checkpoints" / "select" / "last.safetensors"
    for _ in range(5):
        known = last.stat().st_mtime_ns if last.exists() else 0
        process = start(recipe, torn)
        while process.poll() is None and not (last.exists() and last.stat().st_mtime_ns != known):
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.1))
        assert kill(process)
    finish(recipe, torn)
    assert_same(tmp_path / "whole", torn)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_any_moment(recipe: Path, tmp_path: Path, seed: int) -> None:
    seconds = finish(recipe, tmp_path / "whole")
    torn, generator = tmp_path / "torn", np.random.default_rng(seed)
    for _ in range(5):
        process = start(recipe, torn)
        time.sleep(generator.uniform(0.2, 1.0) * seconds)
        kill(process)
    finish(recipe, torn)
    assert_same(tmp_path / "whole", torn)


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1], sys.argv[3]
from tiny_world import make_world
from test_crashes import train_computed_order
from twotower.training import StepDone

def listen(event):
    if isinstance(event, StepDone) and event.step == 8:
        os.kill(os.getpid(), signal.SIGKILL)

train_computed_order(make_world, sys.argv[2], listener=listen)
"""


def train_computed_order(
    world: Callable[..., Any], folder: str | Path, *, resume: bool = False, most_in_memory: int = 5, **options: Any
) -> None:
    """Four epochs of five batches; of more examples than ``most_in_memory`` the order of rows is computed, batch by batch."""
    made = world(dropout=0.2, update="rows")
    feed: dict[str, Any] = {"batch_size": 10, "catalogue_size": len(made.items["item"]), "seed": 0, "candidates": "in_batch"}
    made.batches = Batches(made.batches.examples, most_in_memory=most_in_memory, **feed)
    checkpoints = Checkpoints(Path(folder), "same", resume=resume)
    made.train({"epochs": 4, "checkpoint_every_s": 0.0}, checkpoints=checkpoints, **options)


def test_killed_where_the_order_of_rows_is_computed(tmp_path: Path, world: Callable[..., Any]) -> None:
    """Killed in the middle of the second epoch, before its eighth step was kept."""
    torn = tmp_path / "torn"
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(torn), str(Path(tiny_world.__file__).parent)]
    process = subprocess.run(command, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    kept = json.loads(read_tensors(torn / "last.safetensors")[1]["progress"])
    assert (kept["epoch"], kept["batch"]) == (1, 2)
    train_computed_order(world, torn, resume=True)
    train_computed_order(world, tmp_path / "whole")
    train_computed_order(world, tmp_path / "drawn", most_in_memory=1_000)
    whole, found, drawn = (read_tensors(tmp_path / name / "last.safetensors")[0] for name in ("whole", "torn", "drawn"))
    assert list(found) == list(whole)
    for name, value in whole.items():
        assert torch.equal(found[name], value), name
    assert any(not torch.equal(drawn[name], value) for name, value in whole.items())
