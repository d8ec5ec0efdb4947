"""Live streams, a million rows and more: seconds and peak memory of preparing and of one epoch, against the number of rows.

Every size is a Parquet folder of the planted world, made first (not counted), then converted into an empty cache, prepared and
trained for one epoch of the shipped recipe, in a process of its own. Prints a table, draws both curves, and ends in one line of
JSON.

    python benchmarks/livestream_scale.py --rows 1000000,5000000,25000000,50000000 --work logs --out drawings   (about an hour)
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measured import run_program, table
from scale_drawing import scale_drawing

BENCHMARKS = Path(__file__).resolve().parent
RECIPE = BENCHMARKS.parent / "recipes" / "livestream.toml"
STEPS = BENCHMARKS / "steps" / "livestream.py"
SIZES = (1_000_000, 5_000_000)


def main() -> None:
    """Measure each size, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=_sizes, default=SIZES, help="sizes, separated by commas")
    parser.add_argument(
        "--work", type=Path, help="keep the logs here, and use those that are there; left out, a temporary folder"
    )
    parser.add_argument("--out", type=Path, help="write livestream_scale.svg into this folder")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        sizes = []
        for rows in options.rows:
            sizes.append(_measured(rows, _made(work, rows), work / "cache", options.recipe, options.overrides))
            if options.work is None:
                shutil.rmtree(work / f"log-{rows}")
    print(_shown(sizes))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "livestream_scale.svg").write_text(scale_drawing(sizes), encoding="utf-8")
    print(json.dumps({"benchmark": "livestream_scale", "sizes": sizes}))


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(part) for part in text.split(",")))


def _made(work: Path, rows: int) -> Path:
    path = work / f"log-{rows}"
    if not path.exists():
        print(f"making a log of {rows:,} rows (not counted)", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "twotower", "synth", "livestream", "--rows", str(rows), "--seed", "0"]
        subprocess.run([*command, "--format", "parquet", "--out", str(path)], check=True, stdout=subprocess.DEVNULL)
    return path


def _measured(rows: int, log: Path, cache: Path, recipe: Path, overrides: list[str]) -> dict[str, Any]:
    """One process: the log into an empty cache, tables, features, one epoch over all rows but the test's."""
    print(f"{rows:,} rows", file=sys.stderr, flush=True)
    shutil.rmtree(cache, ignore_errors=True)
    settings = ["data.cache='always'", "training.epochs=1", "training.early_stopping=false", "split.validation=0"]
    chosen = [f"data.interactions.path={log.resolve()}", *settings, *overrides]
    command: list[object] = [sys.executable, STEPS, recipe, "--until", "train", "--cache", cache]
    found = run_program([*command, *(part for each in chosen for part in ("--set", each))])
    shutil.rmtree(cache, ignore_errors=True)
    phases = found["phases"]
    prepare = sum(phases[name]["seconds"] for name in ("read", "fit", "build"))
    return {
        "rows": rows,
        "seconds": prepare + phases["train"]["seconds"],
        "peak_memory_bytes": found["peak_bytes"],
        "prepare_seconds": prepare,
        "read_seconds": phases["read"]["seconds"],
        "train_seconds": phases["train"]["seconds"],
        "train_rows_per_s": found["train_rows_per_s"],
        "prepare_peak_bytes": phases["build"]["peak_bytes"],
        "read_peak_bytes": phases["read"]["peak_bytes"],
        "counts": found["counts"],
    }


def _shown(sizes: list[dict[str, Any]]) -> str:
    return table(
        ["rows", "viewers", "broadcasters", "prepare", "one epoch", "rows/s", "in all", "us a row", "peak, prepared", "peak"],
        [
            [
                f"{size['rows']:,}",
                f"{size['counts']['users']:,}",
                f"{size['counts']['catalogue']:,}",
                f"{size['prepare_seconds']:.1f} s",
                f"{size['train_seconds']:.1f} s",
                f"{size['train_rows_per_s']:,.0f}",
                f"{size['seconds']:.1f} s",
                f"{1e6 * size['seconds'] / size['rows']:.1f}",
                f"{size['prepare_peak_bytes'] / 1e9:.2f} GB",
                f"{size['peak_memory_bytes'] / 1e9:.2f} GB",
            ]
            for size in sizes
        ],
    )


if __name__ == "__main__":
    main()
