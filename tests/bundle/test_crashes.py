"""A writer that is killed at any moment leaves a bundle that opens: the last one that it finished, or the one before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# The parent never writes, so that the forked writers start from a process without threads at work.
PROGRAM = """
import json, os, random, signal, sys, time
from pathlib import Path

import torch

from twotower.bundle import atomic, open_bundle, remove_leftovers, write_bundle

path, way, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if way == "two renames":
    atomic._exchange = lambda first, second: False
torch.set_num_threads(1)
chance = random.Random(7)

def write(number):
    with write_bundle(path, card={"number": number}) as writer:
        for part in range(3):
            writer.tensors(f"tensors_{part}", {"x": torch.full((500,), number)})
        writer.json("number", number)

def read():
    bundle = open_bundle(path)
    number = bundle.card["number"]
    assert bundle.json("number") == number
    for part in range(3):
        assert (bundle.tensors(f"tensors_{part}")["x"] == number).all()
    return number

seen, pace = [], None
for kill in range(kills):
    start = read() if kill else 0
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        number = start
        while True:
            number += 1
            write(number)
    try:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        if pace is None:  # how long a write takes, on a busy machine too
            pace = min(max(0.005, time.monotonic() - began), 1.0)
        time.sleep(chance.uniform(0.0, 12 * pace))
        while_writing = open_bundle(path).card["number"] if way == "exchange" else None
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    number = read()
    assert number >= (while_writing or start), (number, while_writing, start)
    seen.append(number)
left = sorted(entry.name for entry in path.parent.iterdir())
removed = remove_leftovers(path.parent)
print(json.dumps({"seen": seen, "left": left, "removed": removed, "after": sorted(e.name for e in path.parent.iterdir())}))
"""


@pytest.mark.parametrize("way", ["exchange", "two renames"])
def test_a_writer_that_is_killed(tmp_path: Path, way: str) -> None:
    (tmp_path / "here").mkdir()
    arguments = [sys.executable, "-c", PROGRAM, str(tmp_path / "here" / "bundle"), way, "25"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["seen"]) == 25
    assert told["seen"] == sorted(told["seen"])
    assert told["seen"][-1] > 5, "the writers got somewhere"
    assert any(name.endswith((".tmp", ".previous")) for name in told["left"]), "some were killed in the middle"
    assert told["after"] == ["bundle"]
    assert set(told["removed"]) <= set(told["left"])
