"""Quality by published protocols: what others found, what was asked of ours, what is seen.

python acceptance/quality.py                  reads build/quality/results.jsonl, which benchmarks/quality/run_quality.py writes
python acceptance/quality.py --results FILE   another file
python acceptance/quality.py --data FOLDER    besides, popularity is held to its known answers, on the files of the folder

A figure that was not measured says so, and is no pass. Nothing is trained here.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checks import Checks, last_json

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks" / "quality"))

from quality_protocols import PROTOCOLS, Protocol  # noqa: E402 - found by the line above
from quality_tables import DATA_VARIABLE, data_folder  # noqa: E402

Line = Mapping[str, Any]


def main() -> None:
    """Make all checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "quality" / "results.jsonl")
    parser.add_argument("--data", type=Path, help=f"the folder of the files; left out, as {DATA_VARIABLE} says")
    options = parser.parse_args()
    checks = Checks("quality")
    if (data := data_folder(options.data)) is not None:
        popularity(checks, data)
    else:
        print(f"{'-':4} {'popularity: no folder of the files was given':58} {'':>22} {'not measured':>22}", flush=True)
    found = newest(options.results)
    missing = sum(figures(checks, protocol, found) for protocol in PROTOCOLS.values())
    print(f"{missing} not measured", flush=True)
    checks.finish()


def popularity(checks: Checks, data: Path) -> None:
    """The known answers: whoever gets these wrong can trust no other figure."""
    os.environ[DATA_VARIABLE] = str(data.absolute())
    for row in last_json("benchmarks/quality/known_popularity.py")["rows"]:
        what = f"{row['protocol']}: popularity, {row['metric']}, ties: {row['ties']}"
        checks.check(what, f"{row['known']:.4f}", f"{row['seen']:.5f}", row["agrees"])


def newest(results: Path) -> dict[str, Line]:
    """The newest line of every recipe as it is, by its name; empty where there is no file.

    Raises:
        SystemExit: If a line is not of the runner's form.
    """
    found: dict[str, Line] = {}
    if not results.exists():
        return found
    for number, text in enumerate(results.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            if line["benchmark"] == "quality" and not line["set"]:
                found[line["recipe"]] = line
        except (ValueError, KeyError, TypeError):
            raise SystemExit(f"{results}, line {number}: not a line of run_quality.py: {text[:60]}") from None
    return found


def figures(checks: Checks, protocol: Protocol, found: Mapping[str, Line]) -> int:
    """The rows of a protocol: published ones, and each recipe of ours; the first of ours is held to what was asked.

    Returns:
        How many figures were not measured.
    """
    print(f"{'':4} {protocol.title}", flush=True)
    for row in protocol.published:
        shown = "  ".join(f"{row.figures[metric]:.4f}" for metric in protocol.metrics)
        print(f"{'':4} {f'{row.model} ({row.source})':58} {'published':>22} {shown:>22}", flush=True)
    missing = 0
    for place, recipe in enumerate(protocol.recipes):
        for key in protocol.keys:
            asked = (protocol.asked or {}).get(key.removesuffix(" removed")) if place == 0 else None
            wanted = "" if asked is None else f">= {asked:g}"
            figure = found.get(recipe, {"figures": {}})["figures"].get(key)
            if figure is None:
                missing += 1
                print(f"{'-':4} {f'{recipe}.toml: {key}':58} {wanted:>22} {'not measured':>22}", flush=True)
                continue
            shown = f"{figure['mean']:.4f} ({figure['low']:.4f} to {figure['high']:.4f})"
            what = f"{recipe}.toml: {key}, {len(figure['seeds'])} seeds"
            if asked is None:
                print(f"{'':4} {what:58} {'':>22} {shown:>22}", flush=True)
            else:
                checks.check(what, wanted, shown, figure["mean"] >= asked)
    return missing


if __name__ == "__main__":
    main()
