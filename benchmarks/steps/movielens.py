"""Some epochs and evaluations of the MovieLens reference in one process, each timed, and its rows as files for a peer.

    python benchmarks/steps/movielens.py FOLDER --epochs 10

Writes ``train.csv``, ``test.csv`` and ``titles.csv`` into the folder where they are not there. The last line of stdout is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from twotower.runs import load_tables, read_recipe
from twotower.runs.fit_model import build_model, fit_model
from twotower.runs.phase import fit_phase
from twotower.runs.tables import Tables
from twotower.training import EpochDone, StepDone, TrainingEvent, resolve_device

RECIPE = Path(__file__).resolve().parent.parent.parent / "recipes" / "movielens-reference.toml"


def main() -> None:
    """Train a few epochs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--evaluate-every", type=int, default=5)
    parser.add_argument("--seed", type=int, default=2)
    arguments = parser.parse_args()
    settings = [f"seed={arguments.seed}", "model.layer_sizes=[64,32]", f"training.epochs={arguments.epochs}"]
    recipe = read_recipe(RECIPE, overrides=[*settings, f"training.validate_every={arguments.evaluate_every}"])
    tables = load_tables(recipe)
    _write(tables, arguments.folder)
    untrained = build_model(recipe, fit_phase(recipe, tables, tables.split.train))
    epochs: list[EpochDone] = []
    evaluations: list[float] = []
    last = time.perf_counter()

    def listen(event: TrainingEvent) -> None:
        nonlocal last
        if isinstance(event, StepDone):
            last = time.perf_counter()
        if isinstance(event, EpochDone):
            epochs.append(event)
            if event.metrics:  # from the last step on, the epoch was only evaluated
                evaluations.append(time.perf_counter() - last)

    fit_model(recipe, untrained, device=resolve_device("cpu"), validation_rows=tables.split.test, listener=listen)
    print(
        json.dumps(
            {
                "epoch_seconds": [epoch.seconds for epoch in epochs],
                "evaluation_seconds": evaluations,
                "recall@100": [epoch.metrics["recall@100"] for epoch in epochs if epoch.metrics],
                "rows": len(tables.split.train),
                "batch": recipe.training.batch_size,
                "candidates_per_batch": _distinct(tables, recipe.training.batch_size),
            }
        )
    )


def _distinct(tables: Tables, batch_size: int) -> float:
    """Distinct titles of a batch, in the mean of a shuffled epoch: what has to be encoded and scored at least."""
    rows = np.random.default_rng(0).permutation(tables.split.train)
    items = tables.interactions.frame["movie_title"].rank("dense").to_numpy()[rows]
    return float(np.mean([len(np.unique(items[at : at + batch_size])) for at in range(0, len(items), batch_size)]))


def _write(tables: Tables, folder: Path) -> None:
    assert tables.items is not None
    frame = tables.interactions.frame.select("user_id", "movie_title", "timestamp")
    for name, rows in (("train", tables.split.train), ("test", tables.split.test)):
        if not (folder / f"{name}.csv").exists():
            frame[rows].write_csv(folder / f"{name}.csv")
    tables.items.frame.select("movie_title").write_csv(folder / "titles.csv")


if __name__ == "__main__":
    main()
