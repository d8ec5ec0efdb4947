"""The tables and the drawing of ``docs/performance.md``, from what the benchmarks saw; its prose is written by hand.

    python benchmarks/performance_page.py build/benchmarks.jsonl
    python benchmarks/performance_page.py build/gpu.jsonl --keep          (of another machine: the rest stays as it is)

Every table stands between two markers, ``<!-- measured: NAME -->`` and ``<!-- end -->``. Quick measurements do not count;
what no line holds says "not measured", or stays with ``--keep``. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from asked import Results, Row, on_a_gpu, read_results, rows_of
from ratio_drawing import ratio_drawing
from run_engine import ON_A_DEVICE

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
DRAWING = ROOT / "docs" / "drawings" / "engine.svg"
NOT_MEASURED = "not measured"
BLOCK = re.compile(r"(<!-- measured: ([a-z_ ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Write both, and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what run_engine.py wrote")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--drawing", type=Path, default=DRAWING)
    parser.add_argument("--keep", action="store_true", help="what the results do not hold stays as the page has it")
    options = parser.parse_args()
    results, before = read_results(options.results), options.page.read_text(encoding="utf-8")
    rows = rows_with(before, results) if options.keep else rows_of(results)
    page = filled(before, results, keep=options.keep)
    options.page.write_text(page, encoding="utf-8")
    options.drawing.write_text(ratio_drawing(rows), encoding="utf-8")
    missing = [found[2] for found in BLOCK.finditer(page) if found[0] == f"{found[1]}{NOT_MEASURED}\n{found[3]}"]
    missing += [row.key for row in rows if row.seen is None]
    print(f"{options.page} and {options.drawing}; not measured: {', '.join(missing) or 'nothing'}")
    print(json.dumps({"benchmark": "performance_page", "not_measured": missing}))


def filled(page: str, results: Results, *, keep: bool = False) -> str:
    """The page, with a table between each pair of markers.

    Args:
        page: As it is.
        results: What was measured.
        keep: Whether tables and rows of what was not measured stay as they are.

    Raises:
        SystemExit: If a marker names no table, or a table has no marker.
    """
    named = [name for _, name, _ in BLOCK.findall(page)]
    if sorted(named) != sorted(TABLES):
        raise SystemExit(f"the page must have a pair of markers for each of {sorted(TABLES)}; came {sorted(named)}")

    def block(found: re.Match[str]) -> str:
        made = _asked(rows_with(page, results)) if keep and found[2] == "asked" else TABLES[found[2]](results)
        return found[0] if made is None and keep else f"{found[1]}{made or NOT_MEASURED}\n{found[3]}"

    return BLOCK.sub(block, page)


def rows_with(page: str, results: Results) -> list[Row]:
    """The rows of what was asked; those that the results lack as the page has them, with as many digits as it shows."""
    (table,) = [found[0] for found in BLOCK.finditer(page) if found[2] == "asked"]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    shown = {line[0]: line[2:] for line in cells if len(line) == 4}
    rows = []
    for row in rows_of(results):
        seen, how = shown.get(_name(row), (NOT_MEASURED, ""))
        if row.seen is None and seen != NOT_MEASURED:
            row = replace(row, seen=float(seen.split(",")[0]), how=how)
        rows.append(row)
    return rows


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _name(row: Row) -> str:
    return f"({row.key[0]}) {row.what}" if row.key[1:2] in ("", " ") else row.what


def _shown(seen: float) -> float:
    """A figure with one digit, cut off: one that misses what was asked does not look as if it reached it, nor when kept."""
    return math.floor(10 * seen + 1e-9) / 10


def _asked(rows: Sequence[Row]) -> str:
    marks = {"goal": "goal reached", "pass": "reached", "FAIL": "**missed**"}
    return _markdown(
        ["", "asked / goal", "seen", "the two sides"],
        [
            [
                _name(row),
                f"{row.least:g} / {row.goal:g}",
                "not measured" if row.seen is None else f"{_shown(row.seen):.1f}, {marks[row.verdict]}",
                row.how,
            ]
            for row in rows
        ],
    )


def _machine(results: Results) -> str | None:
    results = {name: line for name, line in results.items() if not name.startswith(ON_A_DEVICE)}
    if not results:
        return None
    machines = [line["machine_of_run"] for line in results.values()]
    named = sorted(
        {
            f"{each['cpu']}, {each['cores']} cores, {each['system']}, Python {each['python']}, torch {each['torch']}"
            for each in machines
        }
    )
    loads = [each["load"] for each in machines if each["load"] is not None]
    threads = sorted({line["threads"] for line in results.values() if "threads" in line})
    said = [
        f"Measured on {' and '.join(named)}",
        *([f"{' or '.join(map(str, threads))} thread{'s' if threads[-1] > 1 else ''}"] if threads else []),
        *([f"load before each program at most {max(loads):.1f}"] if loads else []),
        " and ".join(sorted({line["at"][:10] for line in results.values()})),
        f"at commit {', '.join(sorted({each['commit'] for each in machines}))}",
    ]
    return f"\n{'; '.join(said)}.\n"


def _roofline(results: Results) -> str | None:
    found: list[tuple[str, dict[str, Any]]] = []
    if "movielens" in results:
        found.append(("(a) an epoch of steps, MovieLens reference", results["movielens"]["roofline"]))
    if "livestream" in results:
        found += [(f"(b) {name}, live-stream reference", each) for name, each in results["livestream"]["roofline"].items()]
    if "large_catalogue" in results:
        found.append(("(c) a step, 1 M items", results["large_catalogue"]["roofline"]))
    for size in results.get("loss", {}).get("sizes", ()):
        found += [(f"(d) loss, B = {size['batch']:,}, {side}", each) for side, each in size["roofline"].items()]
    if "feed" in results:
        found.append(("(e) an epoch of the feed", results["feed"]["roofline"]))
    for size in results.get("evaluation", {}).get("sizes", ()):
        found.append((f"(f) evaluating {size['rows']:,} rows over {size['items']:,} items", size["roofline"]))
    for row in _searches(results):
        if row["k"] == 100:
            limit = row["share_of_ceiling"] * row["seconds"]["ours"]
            counted = {"flops": row["flops"], "bytes": row["read_bytes"], "bound_by": row["bound_by"], "limit_s": limit}
            what = f"(g) {row['queries']} queries, {row['vectors']:,} x {row['dim']}"
            found.append((what, {**counted, "share": row["share_of_ceiling"]}))
    if not found:
        return None
    return _markdown(
        ["", "counted", "at the ceiling", "our share"],
        [
            [
                what,
                f"{each['flops'] / 1e9:,.2f} GFLOP, {each['bytes'] / 1e6:,.1f} MB",
                f"{_seconds(each['limit_s'])}, {each['bound_by']}",
                f"{each['share']:.0%}",
            ]
            for what, each in found
        ],
    )


def _movielens(results: Results) -> str | None:
    line = results.get("movielens")
    if line is None:
        return None
    ours = line["sides"]["ours"]["seconds"]
    rows = [
        [
            side,
            _seconds(each["epoch_seconds"]),
            _seconds(each["evaluation_seconds"]),
            f"{each['seconds']:,.0f} s",
            "" if side == "ours" else f"{each['seconds'] / ours:.1f} x",
            f"{each['recall@100']:.4f}",
        ]
        for side, each in line["sides"].items()
    ]
    head = ["side", "epoch", "evaluation", "300 and 60", "ours is", f"recall@100 after {line['epochs']} epochs"]
    return _markdown(head, rows) + _left_out(line["left_out"]) + f"\nTurns: {line['turns']}.\n"


def _livestream(results: Results) -> str | None:
    line = results.get("livestream")
    if line is None:
        return None
    ours, theirs = line["ours"], line.get("theirs", {})
    kinds: list[tuple[str, str, Callable[[float], str], str]] = [
        ("CSV to the sampled rows, ready to train", "prepare_seconds", _seconds, "preparation_ratio"),
        ("training, rows/s", "train_rows_per_s", lambda value: f"{value:,.0f}", "training_ratio"),
        ("evaluating 20,000 rows", "evaluate_seconds", _seconds, "evaluation_ratio"),
        ("peak memory", "peak_bytes", lambda value: f"{value / 1e9:.2f} GB", "memory_share"),
        ("recall@100", "recall@100", lambda value: f"{value:.4f}", ""),
    ]
    rows = []
    for what, key, form, ratio in kinds:
        value = line.get(ratio)
        shown = "" if value is None else f"1 / {1 / value:.1f}" if ratio == "memory_share" else f"{value:.1f} x"
        rows.append([what, form(theirs[key]) if key in theirs else NOT_MEASURED, form(ours[key]), shown])
        if key == "evaluate_seconds" and theirs:
            best = min(theirs["evaluate_seconds_by_catalogue_batch"].values())
            rows.append(["the same, TFRS at its best", _seconds(best), "", f"{line['evaluation_ratio_fastest_peer']:.1f} x"])
    return _markdown(["", "TFRS", "twotower", "ratio"], rows) + f"\nTurns: {line['turns']}.\n"


def _large_catalogue(results: Results) -> str | None:
    line = results.get("large_catalogue")
    if line is None:
        return None
    recalls = line.get("recall@100", {})
    rows = [
        [
            side,
            f"{rate:,.0f}",
            "" if side == "ours" else f"{line['ratios'][side]:.1f} x",
            f"{recalls[side]:.4f}" if side in recalls else NOT_MEASURED,
        ]
        for side, rate in line["rows_per_s"].items()
    ]
    if "popularity" in recalls:
        rows.append(["popularity", "", "", f"{recalls['popularity']:.4f}"])
    return _markdown(["side", "rows/s", "ours is", f"recall@100 after {line.get('recall_steps', 0)} steps"], rows)


def _loss(results: Results) -> str | None:
    line = results.get("loss")
    if line is None:
        return None
    sides = ("ours", "ours, bfloat16", "eager", "eager, bfloat16")
    rows = [
        [
            f"{size['batch']:,}",
            *(_seconds(size["seconds"][side]) if side in size["seconds"] else "does not fit" for side in sides),
            f"{size['bytes']['ours'] / 1e6:,.0f} MB",
            f"{size['memory_ratio'] * size['bytes']['ours'] / 1e9:,.1f} GB"
            + (", counted" if size["eager_bytes_are_counted"] else ""),
            f"1 / {size['memory_ratio']:,.0f}",
        ]
        for size in line["sizes"]
    ]
    return _markdown(["B", *sides, "memory, ours", "eager", "ratio"], rows)


def _feed(results: Results) -> str | None:
    line = results.get("feed")
    if line is None:
        return None
    rates = line["rows_per_s"]
    rows = [[side, f"{rate:,.0f}", "" if side == "ours" else f"{rates['ours'] / rate:.1f} x"] for side, rate in rates.items()]
    return _markdown(["feed", "rows/s", "ours is"], rows)


def _evaluation(results: Results) -> str | None:
    line = results.get("evaluation")
    if line is None:
        return None
    return _markdown(
        ["rows x items", "side", "time", "ours is", "recall@100"],
        [
            [
                f"{size['rows']:,} x {size['items']:,}",
                side,
                _seconds(seconds),
                "" if side == "ours" else f"{size['ratios'][side]:.1f} x",
                f"{size['recall@100'][side]:.4f}",
            ]
            for size in line["sizes"]
            for side, seconds in size["seconds"].items()
        ],
    )


def _searches(results: Results) -> list[dict[str, Any]]:
    return [row for job, line in results.items() if job.startswith("exact_search") for row in line["rows"]]


def _topk(results: Results) -> str | None:
    rows, sides = _searches(results), ("ours", "matmul + topk", "FAISS flat")
    if not rows:
        return None
    shown = [
        [
            f"{_search_of(row)}, k = {row['k']}",
            *(_seconds(row["seconds"][side]) if side in row["seconds"] else NOT_MEASURED for side in sides),
            *(f"{row['times_faster'][side]:.1f} x" if side in row["times_faster"] else "-" for side in sides[1:]),
            "yes" if all(row["same_ids"].values()) else "**no**",
        ]
        for row in rows
    ]
    head = ["", *sides, "to matmul", "to FAISS", "same ids"]
    settings = sorted({f"{_search_of(row)}: {text}" for row in rows for text in row["settings"].values() if "faiss" in text})
    return _markdown(head, shown) + (f"\nFAISS' best settings: {'; '.join(settings)}.\n" if settings else "")


def _search_of(row: dict[str, Any]) -> str:
    return f"{row['vectors']:,} x {row['dim']}, {'one query' if row['queries'] == 1 else 'batch'}"


def _whole_job(results: Results) -> str | None:
    line = results.get("whole_job")
    if line is None:
        return None
    return _markdown(
        ["side", "time", "ours is", "peak memory", "recall@100", "runs"],
        [
            [
                side,
                _seconds(each["seconds"]),
                f"{line['ratios'][side]:.1f} x" if side in line["ratios"] else "",
                f"{each['peak_bytes'] / 1e9:.2f} GB",
                f"{each['recall@100']:.4f}",
                f"{each['runs']:.0f}",
            ]
            for side, each in line["sides"].items()
        ],
    )


def _gpu(results: Results) -> str | None:
    """What ran on a GPU: which, the same tables as of the processor, and how near they came to its limit."""
    lines = on_a_gpu(results)
    if not lines:
        return None
    named = sorted({_device(line["machine_of_run"]) for line in lines.values()})
    dates = " and ".join(sorted({line["at"][:10] for line in lines.values()}))
    said = f"\nMeasured on {' and '.join(named)}; {dates}.\n"
    left_out: dict[str, str] = {}
    for line in lines.values():
        left_out |= line.get("left_out", {})
    tables = (_large_catalogue(lines), _trials(lines), _loss(lines), _topk(lines), _left_out(left_out), _roofline(lines))
    return said + "".join(each for each in tables if each)


def _device(machine: dict[str, Any]) -> str:
    facts = machine["device"]
    known = {"driver": facts.get("driver"), "CUDA": facts.get("cuda"), "products in float32": facts["float32_products"]}
    said = [f"{name} {value}" for name, value in known.items() if value is not None]
    return f"{facts['name']}, {', '.join(said)}, torch {facts['torch']}, Python {machine['python']}, commit {machine['commit']}"


def _trials(lines: Results) -> str:
    """Whether our step was captured, and where plain PyTorch's rows come from; the quickest is what the table has."""
    line = lines.get("large_catalogue", {})
    said = "; ".join(f"{name}: {rate:,.0f} rows/s" for name, rate in line.get("peer_feeds", {}).items())
    text = f"\nAdam in a trial of where its rows come from: {said}.\n" if said else ""
    why = line.get("not_captured")
    return text + (f"\nOur step could not be captured: {why}.\n" if why else "")


def _left_out(left_out: dict[str, str]) -> str:
    return "".join(f"\n{name} was left out: {why}.\n" for name, why in left_out.items())


def _seconds(value: float) -> str:
    if value < 0.1:
        return f"{1e3 * value:.3g} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:,.0f} s"


TABLES: dict[str, Callable[[Results], str | None]] = {
    "asked": lambda results: _asked(rows_of(results)),
    "machine": _machine,
    "roofline": _roofline,
    "movielens": _movielens,
    "livestream": _livestream,
    "large_catalogue": _large_catalogue,
    "loss": _loss,
    "feed": _feed,
    "evaluation": _evaluation,
    "topk": _topk,
    "whole_job": _whole_job,
    "gpu": _gpu,
}


if __name__ == "__main__":
    main()
