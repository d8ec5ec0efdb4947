"""A log that grows: the daily update of a model against training it anew, on five windows of a stream.

    python benchmarks/quality/warm_start.py [--rows 200000] [--log log.csv] [--only full stale update replay] [--folder FOLDER]

The log is one of ``twotower synth livestream`` (made where none is given): new viewers and broadcasters come all the time. The
first 40% of it train the first model; the rest is six windows. At the end of each of the first five, every way makes its model
from what has happened so far, and is judged on the next window, histories growing to just before each row:

    full     trained anew on every row so far
    stale    the model of one window ago (``full``'s)
    update   ``twotower train --from`` the update of one window ago: learns from the rows of the window alone
    replay   the same, and from as many old rows as new ones
    all      the same from every row so far, in half of the epochs

``--way NAME=KEY=VALUE,...`` adds a way of one's own: an update under other keys of the recipe. The figures are recall@100, seen
items included, over all rows of the five windows, and apart for viewers that the rows before the window have and do not have;
95% intervals, viewers drawn. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from twotower import parse_recipe
from twotower.evaluation import JudgedRows
from twotower.metrics import bootstrap_interval
from twotower.recommender import Recommender
from twotower.runs import Recipe, load_tables, run
from twotower.runs.hardware import hardware
from twotower.runs.judge import judge, model_ranker
from twotower.runs.phase import encode_phase
from twotower.runs.read_recipe import put_key
from twotower.runs.sources import read_sources

ROOT = Path(__file__).resolve().parent.parent.parent
FIRST, WINDOWS, METRIC = 0.4, 5, "recall@100"
UPDATES: dict[str, dict[str, Any]] = {
    "update": {},
    "replay": {"warm_start.replay": 1.0},
    "all": {"warm_start.rows": "all", "training.epochs": 1},
}


def cuts(rows: int) -> list[int]:
    """Where the windows begin, and the end.

    Example:
        >>> cuts(1000)
        [400, 500, 600, 700, 800, 900, 1000]
    """
    first = round(FIRST * rows)
    return [first + round(i * (rows - first) / (WINDOWS + 1)) for i in range(WINDOWS + 2)]


def recipe_for(values: dict[str, Any], window: int, changes: Mapping[str, Any]) -> Recipe:
    """The shipped recipe, tested on the last rows of its table, under some other keys."""
    values = json.loads(json.dumps(values))
    values["split"] = {"kind": "time", "test": window, "validation": 0}
    values["baselines"] = {"train": ["popularity"]}
    for key, value in changes.items():
        put_key(values, key, value, said=key)
    return parse_recipe(values)


class Stream:
    """The log, and a model of every way at every cut.

    Args:
        log: In the order in which it happened.
        values: The recipe, plain.
        folder: Of the runs.
    """

    def __init__(self, log: pl.DataFrame, values: dict[str, Any], folder: Path) -> None:
        self.log = log
        self.values = values
        self.folder = folder
        self.cuts = cuts(log.height)

    def until(self, at: int) -> tuple[pl.DataFrame, int]:
        """The rows up to the end of the window that a model of a cut is judged on, and how many rows that has."""
        end = self.cuts[at + 1]
        return self.log.head(end), end - self.cuts[at]

    def train(self, way: str, at: int, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The model of a way at a cut, judged on the window after it."""
        table, window = self.until(at)
        began = time.perf_counter()
        before = None if way == "full" else self.place("full" if at == 1 else way, at - 1)
        recipe = recipe_for(self.values, window, changes)
        summary = run(recipe, self.place(way, at), interactions=table, from_run=before, overwrite=True).summary
        learned = summary["warm_start"]["rows"]["learned"] if before else summary["rows"]["train"]
        return {
            "seconds": summary["training"]["seconds"],
            "whole_seconds": time.perf_counter() - began,
            "rows_learned": learned * recipe.training.epochs,
            **self._judged(JudgedRows.read(self.place(way, at) / "judged" / "test.parquet")),
        }

    def stale(self, at: int) -> dict[str, Any]:
        """The full model of the cut before, judged on the window after this one."""
        table, window = self.until(at)
        recipe = recipe_for(self.values, window, {})
        found = Recommender.load(self.place("full", at - 1))
        tables = load_tables(recipe, interactions=table)
        phase = encode_phase(recipe, tables, np.arange(self.cuts[at - 1]), found.preprocessor, found.catalogue)
        ranker = model_ranker(found.model.eval(), phase, device=torch.device("cpu"))
        judged = judge(recipe, phase, tables.split.test, {"model": ranker}).rows
        return {"seconds": 0.0, "whole_seconds": 0.0, "rows_learned": 0, **self._judged(judged)}

    def place(self, way: str, at: int) -> Path:
        """The run of a way at a cut."""
        return self.folder / f"{way}-{at}"

    def _judged(self, judged: JudgedRows) -> dict[str, Any]:
        return {"rows": judged.rows, "hits": judged.values("model", METRIC, removed=False)}


def summary_of(windows: list[dict[str, Any]], users: pl.Series, is_cold: NDArray[np.bool_]) -> dict[str, Any]:
    """Recall over the rows of all windows, of known viewers and of new ones, with intervals; and what it cost."""
    rows = np.concatenate([window["rows"] for window in windows])
    hits = np.concatenate([window["hits"] for window in windows])
    codes = users.gather(rows).rank("dense").to_numpy().astype(np.int64)
    found: dict[str, Any] = {}
    for name, mask in (("all", np.ones(len(rows), bool)), ("warm", ~is_cold[rows]), ("cold", is_cold[rows])):
        drawn = bootstrap_interval(hits[mask, None], codes[mask], draws=1000, seed=0)
        found[name] = [float(hits[mask].mean()), float(drawn.low[0]), float(drawn.high[0])]
    found["windows"] = [float(window["hits"].mean()) for window in windows]
    for cost in ("seconds", "whole_seconds", "rows_learned"):
        found[cost] = float(sum(window[cost] for window in windows))
    return found


def main() -> None:
    """Go along the stream and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="of the log that is made")
    parser.add_argument("--log", type=Path, help="a log that is there")
    parser.add_argument("--only", nargs="+", default=["full", "stale", *UPDATES], help="ways")
    parser.add_argument("--way", action="append", default=[], metavar="NAME=KEY=VALUE,...", help="an update of one's own")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe, for every way")
    parser.add_argument("--folder", type=Path, help="keep the runs here; without it they are deleted")
    options = parser.parse_args()
    ways = {name: changes for name, changes in UPDATES.items() if name in options.only}
    for given in options.way:
        name, _, changes = given.partition("=")
        ways[name] = dict(_pair(change) for change in changes.split(","))
    with tempfile.TemporaryDirectory() as temporary:
        log: Path | None = options.log
        if log is None:
            from twotower.datasets import synthesize_livestream

            log = Path(temporary) / "log.csv"
            synthesize_livestream(log, rows=options.rows, seed=0)
        values = tomllib.loads((ROOT / "recipes" / "livestream.toml").read_text(encoding="utf-8"))
        values["data"]["interactions"]["path"] = str(log.resolve())
        for change in options.set:
            put_key(values, *_pair(change), said=f"--set {change}")
        frame = read_sources(parse_recipe(values), ["interactions"], cache_dir=None, listener=None).interactions
        assert frame is not None
        del values["data"]["interactions"]
        stream = Stream(frame, values, options.folder or Path(temporary) / "runs")
        found: dict[str, list[dict[str, Any]]] = {}
        stream.train("full", 0, {})
        for at in range(1, WINDOWS + 1):
            for way in ("full", "stale", *ways):
                if way == "full":
                    window = stream.train("full", at, {})
                elif way == "stale":
                    window = stream.stale(at)
                else:
                    window = stream.train(way, at, ways[way])
                found.setdefault(way, []).append(window)
                print(f"window {at} {way:<10} {window['hits'].mean():.4f}  {window['seconds']:6.1f} s", flush=True)
            if options.folder is None:
                for way in ("full", *ways):
                    shutil.rmtree(stream.place(way, at - 1), ignore_errors=True)
    users = frame["viewer"]
    firsts = np.full(frame.height, False)
    is_cold = firsts.copy()
    for start, end in zip(stream.cuts[1:], stream.cuts[2:], strict=False):
        is_cold[start:end] = ~users.slice(start, end - start).is_in(users.head(start).unique().implode()).to_numpy()
    lines = {way: summary_of(windows, users, is_cold) for way, windows in found.items()}
    full = lines["full"]
    print(f"{METRIC:<10} {'all':>24} {'warm':>24} {'cold':>24} {'seconds':>9} {'of full':>8} {'rows':>12}")
    for way, line in lines.items():
        shown = "  ".join(f"{line[name][0]:.4f} ({line[name][1]:.4f}-{line[name][2]:.4f})" for name in ("all", "warm", "cold"))
        share = line["seconds"] / full["seconds"]
        print(f"{way:<10} {shown} {line['seconds']:9.1f} {share:8.0%} {line['rows_learned']:12,.0f}")
    print(
        json.dumps(
            {"benchmark": "warm_start", "rows": frame.height, "windows": WINDOWS, "set": options.set, "metric": METRIC}
            | {"ways": lines, "machine": hardware(torch.device("cpu"))}
        )
    )


def _pair(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


if __name__ == "__main__":
    main()
