"""One training of a live-stream recipe in one process, phase by phase, with the seconds and the peak memory of each.

``cpu_seconds`` add up those of all threads: they hardly depend on what else the machine does.

The benchmarks of live streams run this in a process of its own for every figure, so that no figure inherits another's memory.
Peak memory is the largest resident set, so that pages of memory-mapped columns count as long as they are in memory.

    python benchmarks/steps/livestream.py RECIPE --until prepare --cache FOLDER --set data.interactions.path=log.csv

The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BEGAN = time.perf_counter()

import numpy as np  # noqa: E402  (the seconds of these are a figure)
from numpy.typing import NDArray  # noqa: E402

from twotower.runs import load_tables, read_recipe  # noqa: E402
from twotower.runs.fit_model import build_model, fit_model  # noqa: E402
from twotower.runs.judge import judge, model_ranker  # noqa: E402
from twotower.runs.phase import fit_phase  # noqa: E402
from twotower.training import EpochDone, TrainingEvent, resolve_device  # noqa: E402

_IMPORTED = time.perf_counter() - _BEGAN
PHASES = ("prepare", "train", "evaluate")


def main() -> None:
    """Run the phases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--until", choices=PHASES, default="evaluate", help="the last phase")
    parser.add_argument("--cache", type=Path, required=True, help="where converted tables are kept")
    arguments = parser.parse_args()
    recipe = read_recipe(arguments.recipe, overrides=arguments.overrides)
    found: dict[str, Any] = {"import_seconds": _IMPORTED, "phases": {}}
    phases: dict[str, dict[str, float]] = found["phases"]
    with _timed("read", phases):
        tables = load_tables(recipe, cache_dir=arguments.cache)
    with _timed("fit", phases):
        phase = fit_phase(recipe, tables, tables.split.train)
    found["counts"] = {
        "rows": len(tables.interactions),
        "train": len(phase.train),
        "test": len(tables.split.test),
        "users": len(tables.user_ids),
        "catalogue": len(phase.catalogue),
    }
    if arguments.until != "prepare":
        with _timed("build", phases):
            untrained = build_model(recipe, phase)
        epochs: list[EpochDone] = []

        def listen(event: TrainingEvent) -> None:
            if isinstance(event, EpochDone):
                epochs.append(event)

        with _timed("train", phases):
            fitted = fit_model(recipe, untrained, device=resolve_device(recipe.device), listener=listen)
        found["losses"] = [event.loss for event in epochs]
        found["epoch_seconds"] = [event.seconds for event in epochs]
        found["train_rows_per_s"] = fitted.training.rows_per_s
    if arguments.until == "evaluate":
        with _timed("evaluate", phases):
            ranker = model_ranker(fitted.model, phase, device=fitted.device)
            judged = judge(recipe, phase, tables.split.test, {"model": ranker}).figures
        found["metrics"] = judged["rankers"]["model"]["seen_included"]
        found["evaluation"] = judged["counts"]
    found["peak_bytes"] = _peak()
    found["candidates_per_batch"] = _distinct(phase.item_rows[phase.fit_rows], recipe.training.batch_size)
    print(json.dumps(found))


def _distinct(item_rows: NDArray[np.int32], batch_size: int) -> float:
    """Distinct items of a batch, in the mean of a shuffled epoch: what has to be encoded and scored at least."""
    shuffled = np.random.default_rng(0).permutation(item_rows)
    starts = range(0, len(shuffled), batch_size)
    return float(np.mean([len(np.unique(shuffled[start : start + batch_size])) for start in starts]))


@contextmanager
def _timed(name: str, phases: dict[str, dict[str, float]]) -> Iterator[None]:
    began, busy = time.perf_counter(), time.process_time()
    yield
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - busy
    phases[name] = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": _peak()}
    print(f"{name}: {phases[name]['seconds']:.2f} s, {_peak() / 1e9:.2f} GB at most so far", file=sys.stderr, flush=True)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
