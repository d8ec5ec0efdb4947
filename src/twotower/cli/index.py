"""``twotower index``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, cast

from twotower.cli.output import print_json, print_lines, print_table
from twotower.errors import ConfigError
from twotower.index import TuningCurve
from twotower.recommender import IndexKind, build_index, remove_index
from twotower.recommender import IndexOptions as Asked

__all__ = ["IndexOptions", "index_command"]


class IndexOptions(NamedTuple):
    """The options, as the command has them."""

    kind: str
    recall: float
    k: int
    latency_ms: float | None
    queries: int
    seed: int


def index_command(run: Path, options: IndexOptions, *, as_json: bool) -> None:
    """Build an index, and print what every setting finds and costs; or remove the one that is there."""
    if options.kind == "exact":
        there = remove_index(run)
        if as_json:
            print_json({"kind": "exact", "removed": there})
        else:
            print_lines(f"{run} is searched exactly{'; the index is removed' if there else ', as it was'}")
        return
    if options.kind not in ("hnsw", "ivf-pq"):
        raise ConfigError(f"--kind must be hnsw, ivf-pq or exact; came {options.kind!r}")

    def tell(line: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"{line}\n")

    asked = Asked(cast(IndexKind, options.kind), options.recall, options.k, options.latency_ms, options.queries, options.seed)
    curve, folder = build_index(run, asked, tell=tell)
    if as_json:
        print_json({"kind": options.kind, "folder": str(folder), **asdict(curve)})
        return
    _print_curve(options, curve)
    print_lines(f"index:  {folder}", f"next:   twotower serve {run}")


def _print_curve(options: IndexOptions, curve: TuningCurve) -> None:
    rows = []
    for point in curve.points:
        setting = " ".join(f"{name}={value}" for name, value in point.setting.items())
        rows.append(
            [
                setting + (" *" if point is curve.chosen else ""),
                f"{point.recall.mean:.4f} ({point.recall.low:.4f} to {point.recall.high:.4f})",
                f"{point.latency_ms:.3f}",
                f"{point.queries_per_s:,.0f}",
                f"{point.times_exact_alone:.1f}",
                f"{point.times_exact:.1f}",
            ]
        )
    header = ["search with", f"recall@{curve.k}", "ms alone", "queries/s", "x exact, alone", "x exact, many"]
    print_table(f"{options.kind}: what each setting finds and costs (* chosen)", header, rows, left=header[:1])
    assert curve.judged is not None
    found = curve.judged
    print_lines(
        f"of {found.num_queries:,} users that did not choose it, it finds {found.mean:.4f} ({found.low:.4f} to "
        f"{found.high:.4f}) of the {curve.k} best; {curve.wanted_recall:g} was asked for"
    )
