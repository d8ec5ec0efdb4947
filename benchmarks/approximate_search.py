"""HNSW and IVF-PQ against our own exact search, over the vectors of a trained two-tower model: recall and throughput.

The vectors are learned: a planted log of live streams is written (24 rows for every vector asked for), the shipped recipe is
trained on it for an epoch with 64 numbers a vector, and its items are the vectors; the queries are users drawn at random, as
the trained model encodes them. All of it is kept in ``--work``, so that another call begins with searching; ``--bundle`` takes
a bundle that is there. Random numbers would be no substitute: they are nearer to nothing, and have no common mean.

Each index is tuned on queries that it is not judged by (`twotower.index.tune`), to a recall@k of ``--recall``. Then the three
take turns, in batches and one query after the other; figures are medians. Filters let through rows drawn at random. The last
line of stdout is one JSON object.

    python benchmarks/approximate_search.py                                  (an hour, of which half is training and building)
    python benchmarks/approximate_search.py --vectors 20000 --queries 400    (minutes)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alternating import medians
from measured import table
from safetensors.torch import load_file, save_file
from torch import Tensor

from twotower.index import ExactIndex, HNSWIndex, IVFPQIndex, SearchResult, VectorIndex, measure_recall, tune
from twotower.recommender import Recommender
from twotower.types import Ragged

ROOT = Path(__file__).resolve().parent.parent
ROWS_A_VECTOR = 24
FRACTIONS = (0.01, 0.1)


def main() -> None:
    """Make the vectors, build, tune, measure; print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=4_096, help="half of them tune, the others judge")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--alone", type=int, default=64, help="queries one after the other")
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--recall", type=float, default=0.97, help="that indexes are tuned to")
    parser.add_argument("--repeats", type=int, default=5, help="turns")
    parser.add_argument("--neighbours", type=int, default=32, help="of HNSW")
    parser.add_argument("--ef-construction", type=int, default=100, help="of HNSW")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of building and of searching")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "approximate_search", help="what is kept")
    parser.add_argument("--bundle", type=Path, help="a trained bundle; left out, one is trained")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    vectors_ND, queries_BD = _vectors(options)
    exact, exact_s = _timed(lambda: ExactIndex.build(vectors_ND))
    hnsw, hnsw_s = _kept(options, exact)
    ivf_pq, ivf_pq_s = _timed(lambda: IVFPQIndex.build(exact, num_threads=options.threads))
    tuned_by, judged_by = queries_BD[::2], queries_BD[1::2]
    contestants: dict[str, VectorIndex] = {"exact": exact}
    curves = {}
    for name, index in (("HNSW", hnsw), ("IVF-PQ", ivf_pq)):
        curve = tune(index, exact, tuned_by, k=options.k, recall=options.recall)
        curves[name] = [
            {**point.setting, "recall": point.recall.mean, "batch_times_exact": point.times_exact, "ms": point.latency_ms}
            for point in curve.points
        ]
        # where the target is out of reach, what finds most
        best = curve.chosen or max(curve.points, key=lambda point: point.recall.mean)
        contestants[name] = index.with_search(**best.setting)
        print(f"  {name}: {best.setting} finds {best.recall.mean:.4f}", file=sys.stderr, flush=True)
    found = {
        "benchmark": "approximate_search",
        "threads": options.threads,
        "repeats": options.repeats,
        "vectors": len(vectors_ND),
        "dim": vectors_ND.shape[1],
        "k": options.k,
        "first_pass": exact.first_pass,
        "norms": _spread(vectors_ND),
        "norms_from_the_mean": _spread(vectors_ND - vectors_ND.mean(dim=0)),
        "build_s": {"exact": exact_s, "HNSW": hnsw_s, "IVF-PQ": ivf_pq_s},
        "state_bytes": {
            name: sum(each.nbytes for each in index.state().tensors.values()) for name, index in _approximate(hnsw, ivf_pq)
        },
        "settings": {
            "HNSW": {"ef_search": getattr(contestants["HNSW"], "ef_search", 0), "neighbours": options.neighbours},
            "IVF-PQ": {name: getattr(contestants["IVF-PQ"], name) for name in ("num_lists", "num_probes", "shortlist")},
        },
        "curves": curves,
        "filters": {
            f"{fraction:g}": _measured(contestants, exact, judged_by, options, fraction) for fraction in (1.0, *FRACTIONS)
        },
    }
    plain = found["filters"]["1"]
    found["goals"] = {
        "HNSW recall@k >= .97": plain["HNSW"]["recall"] >= 0.97,
        "HNSW >= 5 x exact, a query alone": plain["HNSW"]["times_exact_alone"] >= 5,
        "HNSW >= 5 x exact, a batch": plain["HNSW"]["times_exact_batch"] >= 5,
        "filtered recall@k >= .97": all(
            min(rows["HNSW"][name] for name in ("recall", "recall_alone")) >= 0.97 for rows in found["filters"].values()
        ),
    }
    print(_shown(found))
    print(json.dumps(found))


def _approximate(hnsw: HNSWIndex, ivf_pq: IVFPQIndex) -> list[tuple[str, HNSWIndex | IVFPQIndex]]:
    return [("HNSW", hnsw), ("IVF-PQ", ivf_pq)]


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def _spread(vectors_ND: Tensor) -> dict[str, float]:
    norms = vectors_ND.norm(dim=1).numpy()
    return {f"{100 * part:g}%": float(np.quantile(norms, part)) for part in (0, 0.01, 0.5, 0.99, 1)}


class _Listening:
    """Stands for a recommender's index, to hear what the queries are."""

    def __init__(self, index: VectorIndex) -> None:
        self._index = index
        self.queries: list[Tensor] = []
        self.num_vectors, self.embedding_dim = index.num_vectors, index.embedding_dim

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        self.queries.append(queries_BD)
        return self._index.search(queries_BD, k, excluded=excluded, allowed=allowed)


def _vectors(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Of items and of users, from the file of an earlier call or from a trained model."""
    path = options.work / f"vectors-{options.vectors}-{options.queries}.safetensors"
    if not path.exists():
        recommender: Any = Recommender.load(options.bundle or _trained(options))
        generator = np.random.default_rng(0)
        items_ND = recommender.item_vectors_ND
        if len(items_ND) < options.vectors:
            raise SystemExit(f"the model has {len(items_ND):,} items, fewer than --vectors {options.vectors:,}")
        chosen = np.sort(generator.choice(len(items_ND), options.vectors, replace=False))
        users = recommender.users.table.frame[recommender.users.table.id_column]
        asked = users.gather(generator.choice(len(users), options.queries, replace=False)).to_list()
        listening = _Listening(recommender.index)
        recommender.index = listening
        recommender.search(asked, k=1)
        save_file({"vectors": items_ND[torch.from_numpy(chosen)].contiguous(), "queries": torch.cat(listening.queries)}, path)
    tensors = load_file(path)
    return tensors["vectors"], tensors["queries"]


def _trained(options: argparse.Namespace) -> Path:
    """A run of the live-stream recipe with 64 numbers a vector, over a planted log."""
    rows = ROWS_A_VECTOR * options.vectors
    log, run, recipe = (options.work / name for name in (f"log-{rows}", f"run-{rows}", "livestream-64.toml"))
    twotower = [sys.executable, "-m", "twotower"]
    if not log.exists():
        print(f"  writing a log of {rows:,} rows", file=sys.stderr, flush=True)
        command = [*twotower, "synth", "livestream", "--rows", str(rows), "--format", "parquet", "--out", str(log)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    shipped = (ROOT / "recipes" / "livestream.toml").read_text(encoding="utf-8")
    for wide, narrow in (("dim = 128", "dim = 64"), ("layer_sizes = [128, 128]", "layer_sizes = [128, 64]")):
        if wide not in shipped:
            raise SystemExit(f"recipes/livestream.toml has no longer {wide!r}")
        shipped = shipped.replace(wide, narrow)
    recipe.write_text(shipped, encoding="utf-8")
    if not (run / "bundle").exists():
        print("  training an epoch", file=sys.stderr, flush=True)
        chosen = [f"data.interactions.path={log.resolve()}", "training.epochs=1", "training.batch_size=8192"]
        chosen += ['baselines.train=["popularity"]', "evaluation.max_validation_rows=2000"]
        sets = [part for each in chosen for part in ("--set", each)]
        command = [*twotower, "train", str(recipe), *sets, "--run-dir", str(run), "--overwrite"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Path(run / "bundle")


def _kept(options: argparse.Namespace, exact: ExactIndex) -> tuple[HNSWIndex, float]:
    """The graph of an earlier call with how long it took, or a new one."""
    name = f"hnsw-{exact.num_vectors}-{options.neighbours}-{options.ef_construction}"
    path, about = options.work / f"{name}.safetensors", options.work / f"{name}.json"
    if about.exists():
        known = json.loads(about.read_text(encoding="utf-8"))
        return HNSWIndex.from_state(exact, load_file(path), known["config"]), known["seconds"]
    print("  building HNSW", file=sys.stderr, flush=True)
    chosen = {"neighbours": options.neighbours, "ef_construction": options.ef_construction}
    index, seconds = _timed(lambda: HNSWIndex.build(exact, num_threads=options.threads, **chosen))
    tensors, config = index.state()
    save_file(tensors, path)
    about.write_text(json.dumps({"config": config, "seconds": seconds}), encoding="utf-8")
    return index, seconds


class _Filtered:
    """An index that is always asked with one mask."""

    def __init__(self, index: VectorIndex, allowed: Tensor | None) -> None:
        self._index, self._allowed = index, allowed
        self.num_vectors, self.embedding_dim = index.num_vectors, index.embedding_dim

    def search(self, queries_BD: Tensor, k: int, **_: Any) -> SearchResult:
        return self._index.search(queries_BD, k, allowed=self._allowed)


def _measured(
    contestants: dict[str, VectorIndex], exact: ExactIndex, queries_BD: Tensor, options: argparse.Namespace, fraction: float
) -> dict[str, dict[str, float]]:
    """Recall, queries per second of batches and milliseconds of a query alone, of each, in turn."""
    allowed = None
    if fraction < 1:
        allowed = torch.rand(exact.num_vectors, generator=torch.Generator().manual_seed(0)) < fraction
    filtered = {name: _Filtered(index, allowed) for name, index in contestants.items()}
    batch_BD, alone = queries_BD[: options.batch], torch.split(queries_BD[: options.alone], 1)

    def one_by_one(index: VectorIndex) -> None:
        for query_1D in alone:
            index.search(query_1D, options.k)

    kth_B1 = filtered["exact"].search(queries_BD, options.k).scores_BK[:, -1:]

    def share(scores_BK: Tensor) -> float:
        return float((scores_BK >= kth_B1[: len(scores_BK)]).double().mean())

    batch_s = medians({name: partial(index.search, batch_BD, options.k) for name, index in filtered.items()}, options.repeats)
    alone_s = medians({name: partial(one_by_one, index) for name, index in filtered.items()}, options.repeats)
    rows = {}
    for name, index in filtered.items():
        if allowed is None:
            recall = measure_recall(index, exact, queries_BD, options.k)
            shown = {"recall": recall.mean, "recall_from": recall.low, "recall_to": recall.high}
        else:
            shown = {"recall": share(index.search(queries_BD, options.k).scores_BK)}
        # few queries may be searched otherwise than many where there is a filter
        shown["recall_alone"] = share(torch.cat([index.search(query_1D, options.k).scores_BK for query_1D in alone]))
        rows[name] = {
            **shown,
            "batch_queries_per_s": len(batch_BD) / batch_s[name],
            "alone_ms": 1e3 * alone_s[name] / len(alone),
            "times_exact_batch": batch_s["exact"] / batch_s[name],
            "times_exact_alone": alone_s["exact"] / alone_s[name],
        }
        print(f"  {fraction:g} allowed, {name}: {rows[name]}", file=sys.stderr, flush=True)
    return rows


def _shown(found: dict[str, Any]) -> str:
    lines = [
        [
            f"{name}, {'all' if fraction == '1' else f'{100 * float(fraction):g}%'} allowed",
            f"{row['recall']:.4f}",
            f"{row['batch_queries_per_s']:,.0f}",
            f"{row['times_exact_batch']:.1f} x",
            f"{row['alone_ms']:.2f} ms",
            f"{row['times_exact_alone']:.1f} x",
        ]
        for fraction, rows in found["filters"].items()
        for name, row in rows.items()
    ]
    head = ["index", f"recall@{found['k']}", "queries/s", "to exact", "one query", "to exact"]
    built = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in found["build_s"].items())
    return f"{table(head, lines)}\nbuilt in: {built}\nsettings: {found['settings']}\ngoals: {found['goals']}"


if __name__ == "__main__":
    main()
