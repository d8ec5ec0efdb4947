"""Popularity by each protocol, through the evaluator that judges models, beside figures that were computed independently.

    python benchmarks/quality/known_popularity.py --data FOLDER --work build/quality

Whoever gets these wrong can trust no other figure: the runner makes the check before it trains. Ends with one line of JSON;
exit code 1 where a figure is another one to four digits.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality_protocols import KNOWN, PROTOCOLS, Known
from quality_tables import DATA_VARIABLE, data_folder, prepare
from torch import Tensor

from twotower.baselines import PopularityScorer
from twotower.evaluation import evaluate, evaluate_per_user
from twotower.runs import Recipe, load_tables, read_recipe
from twotower.runs.phase import fit_phase

__all__ = ["Line", "check_popularity", "in_strict_order", "popularity_figures", "read_protocol"]


@dataclass(frozen=True)
class Line:
    """One figure beside its known answer."""

    protocol: str
    metric: str
    removed: bool
    known: float
    seen: float
    ties: str

    @property
    def agrees(self) -> bool:
        """To four digits; at the edge between two of them, either is right."""
        return abs(self.seen - self.known) <= 5e-5 + 1e-9

    def __str__(self) -> str:
        what = f"{self.metric:11} {'removed' if self.removed else 'seen in'}"
        agrees = "as known" if self.agrees else "ANOTHER "
        return f"{what}  known {self.known:.4f}  seen {self.seen:.5f}  {agrees}  ties: {self.ties}"


def in_strict_order(counts_N: Tensor) -> Tensor:
    """Scores that order items as their counts do, and those of equal counts by the lowest row: no ties are left.

    Example:
        >>> in_strict_order(torch.tensor([2, 5, 2])).argsort(descending=True).tolist()
        [1, 0, 2]
    """
    size = len(counts_N)
    return counts_N * size + torch.arange(size - 1, -1, -1)


def popularity_figures(
    recipe: Recipe, *, unit: str, removed: bool, ks: tuple[int, ...], ties: str = "expected"
) -> dict[str, float]:
    """What popularity finds on the test rows, counted over all other rows.

    Args:
        recipe: Tables and split.
        unit: ``row`` or ``user``.
        removed: Whether seen items are left out.
        ks: Cut-offs of recall and NDCG.
        ties: ``expected``, ``lowest``, or an end: ``optimistic``, ``pessimistic`` (per row, recall alone).
    """
    tables = load_tables(recipe)
    phase = fit_phase(recipe, tables, np.concatenate([tables.split.train, tables.split.validation]))
    examples = phase.examples(tables.split.test, grow=phase.grows)
    counts_N = torch.from_numpy(phase.item_counts)
    scorer = PopularityScorer(in_strict_order(counts_N) if ties == "lowest" else counts_N)
    if unit == "user":
        found = evaluate_per_user(scorer, examples, ks=ks, draws=0)
    else:
        found = evaluate(scorer, examples, ks=ks, ndcg_ks=ks, draws=0)
    figures = found.seen_removed if removed else found.seen_included
    return dict(figures.values if ties in ("expected", "lowest") else getattr(figures, ties))


def read_protocol(
    name: str, data: Path | None, work: Path, overrides: tuple[str, ...] = (), *, of: str | None = None
) -> Recipe:
    """A recipe of a protocol, over tables that are prepared where that is needed.

    Args:
        name: One of `quality_protocols.PROTOCOLS`.
        data: The folder of the files.
        work: The folder of the tables.
        overrides: ``key=value`` each.
        of: The recipe's name; None: the first.
    """
    protocol = PROTOCOLS[name]
    file = protocol.recipes[next(iter(protocol.recipes)) if of is None else of]
    sets = list(overrides)
    if protocol.tables is not None:
        place = prepare(protocol.tables, data, work)
        sets += [f"data.{table}.path='{place / table}.parquet'" for table in ("interactions", "items")]
    return read_recipe(file, overrides=sets)


def check_popularity(name: str, data: Path | None, work: Path) -> list[Line]:
    """Every known answer of a protocol beside what we find."""
    recipe, unit = read_protocol(name, data, work), PROTOCOLS[name].unit
    lines = []
    for known in KNOWN[name]:
        ks = tuple(sorted({int(metric.partition("@")[2]) for metric in known.figures}))

        def found(ties: str, known: Known = known, ks: tuple[int, ...] = ks) -> dict[str, float]:
            return popularity_figures(recipe, unit=unit, removed=known.removed, ks=ks, ties=ties)

        middle = found(known.ties)
        lines += [
            Line(name, metric, known.removed, value, middle[metric], known.ties) for metric, value in known.figures.items()
        ]
        if known.ends:
            least, most = found("pessimistic"), found("optimistic")
            for metric, (low, high) in known.ends.items():
                lines.append(Line(name, metric, known.removed, low, least[metric], "all lost"))
                lines.append(Line(name, metric, known.removed, high, most[metric], "all won"))
    return lines


def main() -> None:
    """Check the protocols that can be checked, and print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help=f"the folder of the files; left out, as {DATA_VARIABLE} says")
    parser.add_argument("--work", type=Path, default=Path("build/quality"), help="gets the tables")
    parser.add_argument("--only", nargs="+", choices=list(PROTOCOLS), default=list(PROTOCOLS))
    arguments = parser.parse_args()
    found: list[Line] = []
    for name in arguments.only:
        for line in check_popularity(name, data_folder(arguments.data), arguments.work):
            found.append(line)
            agrees = "as known" if line.agrees else "ANOTHER"
            print(
                f"{name:15} {line.metric:11} known {line.known:.4f}  seen {line.seen:.5f}  {agrees}  ties: {line.ties}",
                flush=True,
            )
    rows: list[dict[str, Any]] = [{**vars(line), "agrees": line.agrees} for line in found]
    print(json.dumps({"benchmark": "known_popularity", "rows": rows}))
    sys.exit(0 if all(line.agrees for line in found) else 1)


if __name__ == "__main__":
    main()
