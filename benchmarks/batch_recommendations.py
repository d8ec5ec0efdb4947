"""Recommendations for every known user of a run, as a file: here, and in the loops that people write.

* ours: ``recommend_batch``, which streams, filters what was seen, and writes Parquet;
* one by one: ``Recommender.recommend`` for one user after the other;
* a loop of torch: query vectors made beforehand, then for each user the product with all items, what was seen set to minus
  infinity, and ``topk``; it writes nothing, and knows the rows of users and items already.

Loops answer the first users only, and are compared by requests a second. Sides take turns in one process; medians. The last
line of stdout is one JSON object.

    python benchmarks/batch_recommendations.py runs/movielens
    python benchmarks/batch_recommendations.py runs/livestream --users 50000 --loop-users 500
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch
from alternating import medians
from measured import table

from twotower.recommender import BatchOptions, Recommender, recommend_batch

OURS, ONE, LOOP = "ours, a file", "one by one", "a loop of torch"


def main() -> None:
    """Measure, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder, or a bundle")
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--users", type=int, default=2**16, help="that ours answers; at most all")
    parser.add_argument("--loop-users", type=int, default=500, help="that the loops answer")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    recommender = Recommender.load(options.run)
    users = recommender.users.table.ids[: options.users]
    few = users[: options.loop_users].to_list()
    with tempfile.TemporaryDirectory() as folder:
        works: dict[str, tuple[Callable[[], object], int]] = {
            OURS: (lambda: _ours(recommender, users, options.k, Path(folder) / "found.parquet"), len(users)),
            ONE: (lambda: [recommender.recommend([user], k=options.k) for user in few], len(few)),
            LOOP: (_loop(recommender, few, options.k), len(few)),
        }
        seconds = medians({side: work for side, (work, _) in works.items()}, options.repeats)
    rates = {side: count / seconds[side] for side, (_, count) in works.items()}
    ratios = {side: rates[OURS] / rate for side, rate in rates.items() if side != OURS}
    print(
        table(
            [f"{len(recommender.catalogue):,} items, k = {options.k}", "requests/s", "ours is"],
            [[side, f"{rate:,.0f}", f"{ratios[side]:.1f} x" if side in ratios else ""] for side, rate in rates.items()],
        )
    )
    line = {
        "benchmark": "batch_recommendations",
        "items": len(recommender.catalogue),
        "users": len(users),
        "k": options.k,
        "threads": torch.get_num_threads(),
        "requests_per_s": rates,
        "ratios": ratios,
    }
    print(json.dumps(line))


def _ours(recommender: Recommender, users: pl.Series, k: int, path: Path) -> None:
    recommend_batch(recommender, iter([users.to_frame()]), path, BatchOptions(k=k), fingerprint="benchmark")


def _loop(recommender: Recommender, users: list[str], k: int) -> Callable[[], None]:
    queries_BD = recommender.requests.encode(users).queries_BD
    seen, items_ND = recommender.users.histories(users), recommender.item_vectors_ND

    def work() -> None:
        for row, query_D in enumerate(queries_BD):
            scores_N = items_ND @ query_D
            scores_N[seen.values[seen.offsets[row] : seen.offsets[row + 1]].long()] = -torch.inf
            scores_N.topk(min(k, len(scores_N)))

    return work


if __name__ == "__main__":
    main()
