"""What each ingredient of the live-stream recipe is worth: from ids alone to the whole of it, one more at a time.

python benchmarks/livestream_ingredients.py --log log.csv [--seeds 1] [--epochs 2] [--folder runs/ingredients]

The log is one of ``twotower synth livestream``. Every step is the shipped recipe with something left out; they are compared by
`twotower.compare`, over the same test rows. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from twotower import compare, parse_recipe

ROOT = Path(__file__).resolve().parent.parent
HISTORIES = ("history", "recent")


def steps(recipe: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The recipe, taken apart: by label, each with what the one before it has and one ingredient more."""
    found: dict[str, dict[str, Any]] = {}
    without = copy.deepcopy(recipe)
    found["+ id dropout"] = copy.deepcopy(without)
    for side in ("query", "candidate"):
        for feature in without[side]["features"]:
            if feature["kind"] == "id":
                feature["embedding"]["id_dropout"] = 0.0
    found["+ weights"] = copy.deepcopy(without)
    for key in ("weight", "weight_transform", "weight_cap", "weight_base"):
        without["data"]["columns"].pop(key, None)
    found["+ log-Q"] = copy.deepcopy(without)
    without["loss"]["log_q"] = False
    found["+ history"] = copy.deepcopy(without)
    query = without["query"]
    query["features"] = [feature for feature in query["features"] if feature.get("name") not in HISTORIES]
    query.pop("skip", None)
    found["+ attributes"] = copy.deepcopy(without)
    for side in ("query", "candidate"):
        without[side]["features"] = [feature for feature in without[side]["features"] if feature["kind"] == "id"]
    without["data"].pop("catalogue", None)
    found["ids only"] = without
    return dict(reversed(found.items()))


def main() -> None:
    """Train every step and print what it finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="by default 300,000 rows are made")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep the runs here, and go on with those that are there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = options.folder or Path(temporary) / "runs"
        log: Path | None = options.log
        if log is None:
            from twotower.datasets import synthesize_livestream

            log = Path(temporary) / "log.csv"
            synthesize_livestream(log, rows=300_000, seed=0)
        recipe = tomllib.loads((ROOT / "recipes" / "livestream.toml").read_text(encoding="utf-8"))
        recipe["data"]["interactions"]["path"] = str(log.resolve())
        recipe["training"]["epochs"] = options.epochs
        recipe["baselines"] = {"train": ["popularity"], "segments": recipe["baselines"]["segments"]}
        recipes = {label: parse_recipe(values) for label, values in steps(recipe).items()}
        seeds = tuple(range(1, options.seeds + 1))
        found = compare(recipes, folder, seeds=seeds, metric="recall@100", removed=False, baselines=(), jobs=1).summary
        lines = table(found, list(recipes))
    print(f"{'recall@100':<14} {'all':>7} {'warm':>7} {'cold':>7}   against the step before (95% interval)")
    for line in lines:
        said = "" if line["gain"] is None else f"{line['gain']:+.4f} ({line['low']:+.4f} to {line['high']:+.4f})"
        print(f"{line['step']:<14} {line['all']:7.4f} {line['warm']:7.4f} {line['cold']:7.4f}   {said}")
    print(json.dumps({"log": log.name, "epochs": options.epochs, "seeds": options.seeds, "steps": lines}))


def table(summary: dict[str, Any], labels: list[str]) -> list[dict[str, Any]]:
    """A line for every step: means over its seeds, and the paired difference from the step before."""
    compared = summary["groups"][0]["views"]["all"]["seen_included"]["comparisons"]
    lines: list[dict[str, Any]] = []
    for before, label in zip([None, *labels], labels, strict=False):
        runs = [
            json.loads((Path(place) / "result.json").read_text(encoding="utf-8"))
            for place in summary["settings"][label]["folders"]
        ]
        line: dict[str, Any] = {"step": label, "gain": None, "low": None, "high": None}
        line["all"] = sum(run["metrics"]["test"]["seen_included"]["recall@100"] for run in runs) / len(runs)
        for group in ("warm", "cold"):
            of = [run["details"]["model"][group]["seen_included"]["recall@100"] for run in runs]
            line[group] = sum(of) / len(of)
        for each in compared:
            if before is not None and {each["first"], each["second"]} == {before, label}:
                sign = 1 if each["first"] == label else -1
                ends = sorted((sign * each["low"], sign * each["high"]))
                line |= {"gain": sign * each["difference"], "low": ends[0], "high": ends[1]}
        lines.append(line)
    return lines


if __name__ == "__main__":
    main()
