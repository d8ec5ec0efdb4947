"""What the engine is asked to show, beside what the benchmarks saw: one row a figure.

    python benchmarks/asked.py build/benchmarks.jsonl

Prints a table; the last line of stdout is one JSON object. A figure that no line of the file holds is not measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from measured import table
from run_engine import ON_A_DEVICE

__all__ = ["ASKED", "Asked", "Results", "Row", "on_a_gpu", "read_results", "rows_of"]

Results: TypeAlias = Mapping[str, Mapping[str, Any]]
"""The newest line of every job that the runner ran, by the job's name."""


@dataclass(frozen=True)
class Asked:
    """One figure that is asked for: a ratio, of which more is better.

    Attributes:
        key: Short name, for drawings and programs.
        what: In words.
        least: That it has to reach.
        goal: That it should reach.
        find: The figure in the results and a word on how it came about; None where it is not there.
        missing: Why it is not there then.
    """

    key: str
    what: str
    least: float
    goal: float
    find: Callable[[Results], tuple[float, str] | None]
    missing: str = "not run"


@dataclass(frozen=True)
class Row:
    """A figure that was asked for, and what was seen.

    Attributes:
        seen: None where it was not measured.
        how: How it came about, or why it is not there.
    """

    key: str
    what: str
    least: float
    goal: float
    seen: float | None
    how: str

    @property
    def verdict(self) -> str:
        """``goal``, ``pass``, ``FAIL`` or ``not measured``."""
        if self.seen is None:
            return "not measured"
        return "goal" if self.seen >= self.goal else "pass" if self.seen >= self.least else "FAIL"


def read_results(path: Path, *, quick: bool = False) -> dict[str, dict[str, Any]]:
    """The newest complete line of every job, in a file that ``run_engine.py`` wrote; empty where there is none.

    Args:
        path: The file.
        quick: Whether lines of quick measurements count too.

    Raises:
        SystemExit: If a line is not of the runner's form.
    """
    found: dict[str, dict[str, Any]] = {}
    if path.exists():
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                line = json.loads(text)
                if line["result"].get("complete", True) and (quick or not line["quick"]):
                    found[line["job"]] = {**line["result"], "machine_of_run": line["machine"], "at": line["at"]}
            except (ValueError, KeyError, TypeError):
                raise SystemExit(f"{path}, line {number}: not a line of run_engine.py: {text[:60]}") from None
    return found


def _movielens(results: Results) -> tuple[float, str] | None:
    line = results.get("movielens")
    side = "TFRS, the notebook"
    if line is None or side not in line["ratios"]:
        return None
    best = line["ratios"]["TFRS, catalogue by 2,048"]
    sides = line["sides"]
    how = f"{sides[side]['seconds']:.0f} s and {sides['ours']['seconds']:.0f} s; TFRS at its best: {best:.1f} x"
    return line["ratios"][side], f"{how}; {_recalls(sides[side], sides['ours'])}"


def _recalls(peer: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """What both found: a training figure is not judged by it, but means nothing without."""
    return f"recall@100 {peer['recall@100']:.4f} and {ours['recall@100']:.4f}"


def _livestream(key: str, more: Callable[[Mapping[str, Any]], str]) -> Callable[[Results], tuple[float, str] | None]:
    def find(results: Results) -> tuple[float, str] | None:
        line = results.get("livestream")
        if line is None or key not in line:
            return None
        value = line[key]
        return (1 / value if key == "memory_share" else value), more(line)

    return find


def _rates(line: Mapping[str, Any]) -> str:
    there, ours = line["theirs"]["train_rows_per_s"], line["ours"]["train_rows_per_s"]
    return f"{there:,.0f} and {ours:,.0f} rows/s; {_recalls(line['theirs'], line['ours'])}"


def _evaluations(line: Mapping[str, Any]) -> str:
    there, ours = line["theirs"]["evaluate_seconds"], line["ours"]["evaluate_seconds"]
    return f"{there:.0f} s and {ours:.1f} s; TFRS at its best: {line['evaluation_ratio_fastest_peer']:.1f} x"


def _memories(line: Mapping[str, Any]) -> str:
    return f"{line['theirs']['peak_bytes'] / 1e9:.2f} GB and {line['ours']['peak_bytes'] / 1e9:.2f} GB"


def _catalogue(results: Results) -> tuple[float, str] | None:
    line = results.get("large_catalogue")
    if line is None:
        return None
    rates = line["rows_per_s"]
    how = f"{rates['Adam']:,.0f} and {rates['ours']:,.0f} rows/s; SparseAdam: {line['ratios']['SparseAdam']:.1f} x"
    found = line.get("recall@100")
    if found:
        how += f"; recall@100 {found['Adam']:.4f} and {found['ours']:.4f}"
    return line["ratios"]["Adam"], how


def _loss_memory(results: Results) -> tuple[float, str] | None:
    size = _loss_size(results, 65_536)
    if size is None:
        return None
    counted = "counted" if size["eager_bytes_are_counted"] else "measured"
    ours = size["bytes"]["ours"]
    return size["memory_ratio"], f"{size['memory_ratio'] * ours / 1e9:.0f} GB ({counted}) and {ours / 1e6:.0f} MB"


def _loss_time(side: str) -> Callable[[Results], tuple[float, str] | None]:
    def find(results: Results) -> tuple[float, str] | None:
        size = _loss_size(results, 16_384)
        if size is None or "eager" not in size["seconds"]:
            return None
        seconds = size["seconds"]
        how = f"{seconds['eager']:.2f} s and {seconds[side]:.2f} s"
        if side.endswith("bfloat16"):
            how += f"; eager under autocast: {seconds['eager, bfloat16']:.2f} s"
        return seconds["eager"] / seconds[side], how

    return find


def _loss_size(results: Results, batch: int) -> Mapping[str, Any] | None:
    sizes = [size for size in results.get("loss", {}).get("sizes", ()) if size["batch"] == batch]
    return sizes[0] if sizes else None


def _feed(results: Results) -> tuple[float, str] | None:
    line = results.get("feed")
    if line is None:
        return None
    rates = line["rows_per_s"]
    best = line["ratios"]["DataLoader, whole batches"]
    how = f"{rates['DataLoader']:,.0f} and {rates['ours']:,.0f} rows/s; whole batches: {best:.1f} x"
    return line["ratios"]["DataLoader"], how


def _search(vectors: int, dim: int, k: int, *, single: bool) -> Callable[[Results], tuple[float, str] | None]:
    def find(results: Results) -> tuple[float, str] | None:
        rows = results.get(f"exact_search {vectors}x{dim}", {}).get("rows", ())
        for row in rows:
            if row["k"] == k and (row["queries"] == 1) == single and "FAISS flat" in row["seconds"]:
                taken, ours = 1e3 * row["seconds"]["FAISS flat"], 1e3 * row["seconds"]["ours"]
                same = "same ids" if all(row["same_ids"].values()) else "OTHER IDS"
                ratio = taken / ours if same == "same ids" else 0.0
                return ratio, f"{taken:.1f} ms and {ours:.1f} ms, {same}"
        return None

    return find


def _whole_job(results: Results) -> tuple[float, str] | None:
    line = results.get("whole_job")
    side = "TFRS, the notebook"
    if line is None or side not in line["ratios"]:
        return None
    sides = line["sides"]
    how = f"{sides[side]['seconds']:.0f} s and {sides['ours']['seconds']:.1f} s"
    best = line["ratios"].get("TFRS, catalogue by 4,096")
    how += "" if best is None else f"; TFRS at its best: {best:.1f} x"
    return line["ratios"][side], f"{how}; {_recalls(sides[side], sides['ours'])}"


def on_a_gpu(results: Results) -> dict[str, Mapping[str, Any]]:
    """The lines of jobs that ran on a GPU, by the name that the same job has on the processor."""
    return {
        name.removeprefix(ON_A_DEVICE): line
        for name, line in results.items()
        if name.startswith(ON_A_DEVICE) and line["machine_of_run"]["device"]["device"].startswith("cuda")
    }


def _there(job: str, find: Callable[[Results], tuple[float, str] | None]) -> Callable[[Results], tuple[float, str] | None]:
    """A job's figure on the GPU, and which that was."""

    def found(results: Results) -> tuple[float, str] | None:
        lines = on_a_gpu(results)
        seen = find(lines)
        return None if seen is None else (seen[0], f"{seen[1]}; {lines[job]['machine_of_run']['device']['name']}")

    return found


NO_GPU = "no GPU was there"
ASKED: tuple[Asked, ...] = (
    Asked("a", "MovieLens, 300 epochs, 60 evaluations, against TFRS", 8, 15, _movielens),
    Asked("b training", "live streams: training rows/s, against TFRS", 5, 10, _livestream("training_ratio", _rates)),
    Asked(
        "b evaluation",
        "live streams: evaluating 20,000 rows, against TFRS",
        40,
        80,
        _livestream("evaluation_ratio", _evaluations),
    ),
    Asked("b memory", "live streams: peak memory, TFRS' over ours", 4, 6, _livestream("memory_share", _memories)),
    Asked("c", "1 M items: training rows/s, against PyTorch, dense Adam", 5, 10, _catalogue),
    Asked("d memory", "loss, B = 64k: peak memory, eager's over ours", 50, 200, _loss_memory),
    Asked("d float32", "loss, B = 16k: time in float32, against eager", 1.5, 3, _loss_time("ours")),
    Asked("d bfloat16", "loss, B = 16k: time in bfloat16, against eager", 2.5, 5, _loss_time("ours, bfloat16")),
    Asked("e", "feed: rows/s, against DataLoader", 15, 50, _feed),
    Asked("g 100 k", "exact top-100, batch, 100 k x 32, against FAISS flat", 2, 4, _search(100_000, 32, 100, single=False)),
    Asked("g 1 M", "exact top-100, batch, 1 M x 64, against FAISS flat", 1.5, 3, _search(1_000_000, 64, 100, single=False)),
    Asked("g single", "exact top-100, one query, 1 M x 64, against FAISS flat", 2, 5, _search(1_000_000, 64, 100, single=True)),
    Asked("h", "live streams: raw file to bundle, against TFRS", 15, 30, _whole_job),
    Asked("GPU c", "on a GPU: (c) against plain PyTorch", 10, 10, _there("large_catalogue", _catalogue), NO_GPU),
    Asked("GPU d", "on a GPU: (d) memory, eager's over ours", 50, 50, _there("loss", _loss_memory), NO_GPU),
)


def rows_of(results: Results, asked: Sequence[Asked] = ASKED) -> list[Row]:
    """Every figure that is asked for, with what the results say of it."""
    rows = []
    for each in asked:
        found = each.find(results)
        seen, how = (None, each.missing) if found is None else found
        rows.append(Row(each.key, each.what, each.least, each.goal, seen, how))
    return rows


def main() -> None:
    """Print the table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what run_engine.py wrote")
    parser.add_argument("--quick", action="store_true", help="count quick measurements too")
    options = parser.parse_args()
    rows = rows_of(read_results(options.results, quick=options.quick))
    shown = [
        [
            row.what,
            f"{row.least:g} x",
            f"{row.goal:g} x",
            "-" if row.seen is None else f"{row.seen:.2f} x",
            row.verdict,
            row.how,
        ]
        for row in rows
    ]
    print(table(["what", "asked", "goal", "seen", "", "how"], shown))
    print(json.dumps({"benchmark": "asked", "rows": [{**vars(row), "verdict": row.verdict} for row in rows]}))


if __name__ == "__main__":
    main()
