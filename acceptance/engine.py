"""The engine: as fast as the machine allows, proved side by side; what was asked of it beside what is seen now.

python acceptance/engine.py                      minutes: the sizes that were asked for, few repeats
python acceptance/engine.py --full               every benchmark with all repeats, and the recall of the shipped recipe: an hour
python acceptance/engine.py --peer               besides, the peers that need environments of their own (3 GB are built)
python acceptance/engine.py --results FILE       no benchmark: what `make bench` wrote

Where a CUDA device is there, what is asked for on it is measured too, and its tests are run. A figure that was not measured
says so, and is no pass.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import tempfile
from pathlib import Path

from checks import Checks, check_parts, last_json

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
PARTS = {
    "the loss and its gradients": ("tests/losses",),
    "row updates equal dense ones": ("tests/optim",),
    "towers and lookups": ("tests/nn", "tests/models"),
    "the feed": ("tests/data",),
    "exact ranks": ("tests/evaluation",),
    "exact top-k": ("tests/index",),
    "kernels in C": ("tests/native",),
}
ON_A_GPU = {"on a GPU": ("tests/gpu",)}
RECALL, NOISE = {"seen_included": 0.6154, "seen_removed": 0.7581}, 0.006
"""Means of three seeds of movielens.toml before the engine was made fast, and what three seeds can't tell apart."""


def main() -> None:
    """Make all checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--full", "--peer"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--results", type=Path, help="a file of results: nothing is measured")
    parser.add_argument("--goals", action="store_true", help="say whether goals are reached, too")
    for folder in ("--peer-folder", "--rectools-folder", "--faiss-folder", "--log"):
        parser.add_argument(folder, type=Path, help="as of benchmarks/run_engine.py")
    options = parser.parse_args()
    checks = Checks("engine")
    with tempfile.TemporaryDirectory() as work:
        results = options.results or _measured(Path(work) / "benchmarks.jsonl", options)
        not_measured = figures(checks, results, quick=not (options.full or options.results), goals=options.goals)
    if options.results is None:
        check_parts(checks, {**PARTS, **(ON_A_GPU if _has_gpu() else {})})
    if options.full:
        recall(checks)
    print(f"{not_measured} not measured", flush=True)
    checks.finish()


def figures(checks: Checks, results: Path, *, quick: bool, goals: bool) -> int:
    """A line for each figure that was asked for; those that the results lack are counted, not checked.

    Returns:
        How many were not measured.
    """
    missing = 0
    for row in last_json("benchmarks/asked.py", results, *(["--quick"] if quick else []))["rows"]:
        what, asked, seen = row["what"], f">= {row['least']:g} x", row["seen"]
        if seen is None:
            print(f"{'-':4} {what:58} {asked:>22} {'not measured':>22}", flush=True)
            missing += 1
            continue
        shown = f"{seen:.2f} x" + (f" (goal {row['goal']:g})" if goals else "")
        checks.check(what, asked, shown, seen >= row["least"])
        print(f"     {row['how']}", flush=True)
    return missing


def recall(checks: Checks) -> None:
    """No accuracy is lost: the shipped recipe, three seeds."""
    found = last_json("benchmarks/movielens_quality.py", "--recipes", "movielens", "--seeds", "3")["figures"]["movielens"]
    for variant, before in RECALL.items():
        seen = found[f"{variant} recall@100"]["mean"]
        what = f"movielens.toml, 3 seeds, {variant.replace('_', ' ')}: recall@100"
        checks.check(what, f">= {before - NOISE:.4f}", f"{seen:.4f}", seen >= before - NOISE)


def _measured(out: Path, options: argparse.Namespace) -> Path:
    """Run the benchmarks; what they print goes to stderr."""
    command = [sys.executable, str(BENCHMARKS / "run_engine.py"), "--out", str(out)]
    command += [flag for flag, given in (("--quick", not options.full), ("--peer", options.peer)) if given]
    for name in ("peer_folder", "rectools_folder", "faiss_folder", "log"):
        if getattr(options, name):
            command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    for more in ((), ("--device", "cuda")) if _has_gpu() else ((),):
        if subprocess.run([*command, *more], stdout=subprocess.DEVNULL, check=False).returncode:
            print("some benchmarks failed: what they were to show is not measured", file=sys.stderr, flush=True)
    return out


@functools.cache
def _has_gpu() -> bool:
    asked = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


if __name__ == "__main__":
    main()
