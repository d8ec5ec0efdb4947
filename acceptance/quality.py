"""Quality by published protocols: what others found, what was asked of ours, what is seen.

python acceptance/quality.py                  reads build/quality/results.jsonl, which benchmarks/quality/run_quality.py writes;
                                              where there is none, the one that is kept in benchmarks/quality
python acceptance/quality.py --results FILE   another file
python acceptance/quality.py --data FOLDER    besides, popularity is held to its known answers, on the files of the folder
python acceptance/quality.py --livestream RUN  besides, the run of recipes/livestream.toml on a planted log of 5.3 M rows

A figure that was not measured says so, and is no pass. Nothing is trained here but what tests train.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checks import Checks, check_parts, last_json

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks" / "quality"))

from quality_protocols import PROTOCOLS, Protocol  # noqa: E402 - found by the line above
from quality_tables import DATA_VARIABLE, data_folder  # noqa: E402

Line = Mapping[str, Any]

PARTS = {
    "sequence towers: encoders, times, prefixes": (
        "tests/nn",
        "tests/data/test_sequences.py",
        "tests/runs/test_sequence_run.py",
    ),
    "losses beside their slow oracles, log-Q": ("tests/losses",),
    "losses, propagation, growth, tuning in whole runs": ("tests/runs",),
    "protocols and known answers": ("tests/benchmarks/test_quality.py",),
}
OWN_RESULTS = ROOT / "build" / "quality" / "results.jsonl"
KEPT_RESULTS = ROOT / "benchmarks" / "quality" / "results.jsonl"


def main() -> None:
    """Make all checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="what run_quality.py wrote")
    parser.add_argument("--data", type=Path, help=f"the folder of the files; left out, as {DATA_VARIABLE} says")
    parser.add_argument("--livestream", type=Path, help="a run folder")
    parser.add_argument("--no-tests", action="store_true", help="figures only")
    options = parser.parse_args()
    checks = Checks("quality")
    if (data := data_folder(options.data)) is not None:
        popularity(checks, data)
    else:
        print(f"{'-':4} {'popularity: no folder of the files was given':58} {'':>22} {'not measured':>22}", flush=True)
    found = newest(options.results or (OWN_RESULTS if OWN_RESULTS.exists() else KEPT_RESULTS))
    missing = sum(figures(checks, protocol, found) for protocol in PROTOCOLS.values())
    missing += livestream(checks, options.livestream)
    if not options.no_tests:
        check_parts(checks, PARTS)
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
        shown = "  ".join(f"{row.figures[key]:.4f}" if key in row.figures else "-" for key in protocol.keys)
        print(f"{'':4} {f'{row.model} ({row.source})':58} {'published':>22} {shown:>22}", flush=True)
    missing = 0
    for place, recipe in enumerate(protocol.recipes):
        for key in protocol.keys:
            asked, goal = (protocol.asked.get(key), protocol.goal.get(key)) if place == 0 else (None, None)
            wanted = "" if asked is None else f">= {asked:g}" + ("" if goal is None else f" (goal {goal:g})")
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


def livestream(checks: Checks, run: Path | None) -> int:
    """The planted log: warm viewers beside the oracle, cold ones (attributes only) beside popularity of their segment.

    Returns:
        How many figures were not measured.
    """
    print(f"{'':4} Live streams, planted log of 5.3 M rows, last 1% by time, seen broadcasters compete", flush=True)
    warm, cold = "warm viewers, share of the oracle's recall@100", "cold viewers, times their segment's popularity"
    if run is None:
        for what, wanted in ((warm, ">= 0.75 (goal 0.85)"), (cold, ">= 1.25 (goal 1.3)")):
            print(f"{'-':4} {what:58} {wanted:>22} {'not measured':>22}", flush=True)
        return 2
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    share = result["oracle"]["shares"]["warm"]["seen_included"]
    shown = f"{share['share']:.3f} ({share['low']:.3f} to {share['high']:.3f})"
    checks.check(warm, ">= 0.75 (goal 0.85)", shown, share["share"] >= 0.75)
    model, segment = (
        result["details"][name]["cold"]["seen_included"]["recall@100"] for name in ("model", "segment_popularity")
    )
    checks.check(cold, ">= 1.25 (goal 1.3)", f"{model / segment:.3f}", model >= 1.25 * segment)
    return 0


if __name__ == "__main__":
    main()
