"""A small world on disk, a finished run of it, and a way to call the command in process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest

from twotower.cli import main

RECIPE = """
name = "small"
device = "cpu"
[data.interactions]
path = "interactions.csv"
[data.items]
path = "items.csv"
[data.columns]
user = "user"
item = "film"
time = "time"
[split]
kind = "time"
test = 16
validation = 8
[[query.features]]
kind = "id"
column = "user"
embedding = { dim = 4 }
[[query.features]]
kind = "number"
column = "age"
[[query.features]]
kind = "timestamp"
column = "time"
standardise = true
[[query.features]]
kind = "history"
embedding = { dim = 4 }
[[candidate.features]]
kind = "id"
column = "film"
embedding = { dim = 4 }
[model]
layer_sizes = [4]
[training]
epochs = 2
batch_size = 16
[training.early_stopping]
metric = "recall@3"
[evaluation]
ks = [1, 3]
draws = 20
"""


class Answer(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


Call = Callable[..., Answer]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run ``twotower`` in this process."""

    def run(*arguments: str | Path) -> Answer:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(part) for part in arguments])
        captured = capsys.readouterr()
        return Answer(int(caught.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe and its tables: ten users, eight films, 80 rows."""
    folder = tmp_path_factory.mktemp("world")
    rows = [(u, (3 * u + 5 * s) % 8, s) for s in range(8) for u in range(10)]
    pl.DataFrame(
        {
            "user": [f"u{u}" for u, _, _ in rows],
            "film": [f"film {f}" for _, f, _ in rows],
            "time": [1_600_000_000 + 1000 * place for place in range(len(rows))],
            "age": [20 + u for u, _, _ in rows],
        }
    ).write_csv(folder / "interactions.csv")
    titles = [f"film {f}" for f in range(8)]
    pl.DataFrame(
        {"film": titles, "genres": ["Drama, long, and very sad indeed" if f % 2 else "Comedy" for f in range(8)]}
    ).write_csv(folder / "items.csv")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="session")
def finished(world: Path) -> Path:
    """A finished run; for reading only."""
    with pytest.raises(SystemExit) as caught:
        main(["train", str(world / "recipe.toml"), "--run-dir", str(world / "run"), "--json"])
    assert not caught.value.code
    return world / "run"
