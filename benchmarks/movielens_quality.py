"""What the MovieLens recipes find: every figure of the README's table, measured in one run.

Each recipe is run with the training seeds asked for; popularity is judged beside it on the same rows. Ends with one line of
JSON.

    python benchmarks/movielens_quality.py --seeds 3 --recipes movielens movielens-by-time movielens-1m reference
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from twotower.runs import read_recipe, run

ROOT = Path(__file__).resolve().parent.parent
DEPTHS = ([32], [64, 32], [128, 64, 32])


def main() -> None:
    """Run the recipes and print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="training seeds of each recipe; the reference is run with one")
    names = ["movielens", "movielens-by-time", "movielens-1m", "reference"]
    parser.add_argument("--recipes", nargs="+", choices=names, default=names)
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.recipes:
            if name == "reference":
                for sizes in DEPTHS:
                    found[f"reference {sizes}"] = _run("movielens-reference", [1], Path(folder), [f"model.layer_sizes={sizes}"])
            else:
                found[name] = _run(name, list(range(1, arguments.seeds + 1)), Path(folder), [])
    print(json.dumps({"benchmark": "movielens_quality", "figures": found}))


def _run(name: str, seeds: list[int], folder: Path, overrides: list[str]) -> dict[str, Any]:
    runs = []
    for seed in seeds:
        recipe = read_recipe(ROOT / "recipes" / f"{name}.toml", overrides=[*overrides, f"seed={seed}", "evaluation.draws=0"])
        place = folder / f"{name}-{seed}-{len(overrides) and overrides[0]}"
        runs.append(run(recipe, place).summary)
        print(f"{name} {' '.join(overrides)} seed {seed} done", file=sys.stderr, flush=True)
    figures: dict[str, Any] = {"seeds": len(seeds), "epoch": [summary["selection"]["epoch"] for summary in runs]}
    print(f"{name} {' '.join(overrides)}")
    for variant in ("seen_included", "seen_removed"):
        for key in ("recall@10", "recall@100", "ndcg@10"):
            values = [summary["metrics"]["test"][variant][key] for summary in runs]
            popularity = runs[0]["baselines"]["popularity"][variant][key]
            figures[f"{variant} {key}"] = {
                "mean": float(np.mean(values)),
                "least": min(values),
                "most": max(values),
                "popularity": popularity,
            }
            spread = f"{np.mean(values):.4f} ({min(values):.4f} to {max(values):.4f})"
            print(f"  {variant:14} {key:11} {spread}  popularity {popularity:.4f}")
    figures["training_seconds"] = [round(summary["training"]["seconds"], 1) for summary in runs]
    return figures


if __name__ == "__main__":
    main()
