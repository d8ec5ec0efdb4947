"""Build an approximate index over a run's items, tuned and judged on its users, and put it beside the bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from twotower.bundle import JSON
from twotower.errors import ConfigError
from twotower.index import ExactIndex, HNSWIndex, IVFPQIndex, TuningCurve, tune
from twotower.index.tuning import TunableIndex
from twotower.recommender.recommender import Recommender
from twotower.recommender.stored_index import index_folder, write_index

__all__ = ["IndexKind", "IndexOptions", "build_index", "sample_queries"]

IndexKind: TypeAlias = Literal["hnsw", "ivf-pq"]

_FEWEST_QUERIES = 20


class IndexOptions(NamedTuple):
    """What an index is to be.

    Attributes:
        kind: A graph (HNSW), or inverted lists of compressed vectors whose shortlist is scored exactly (IVF-PQ).
        recall: Which part of the exact search's k best must be found, on average.
        k: How many are looked for.
        latency_ms: How long a query alone may take, median, on this machine; None: any time.
        queries: Users whose query vectors it is tuned and judged with.
        seed: Of the index, and of the choice of users.
    """

    kind: IndexKind = "hnsw"
    recall: float = 0.97
    k: int = 100
    latency_ms: float | None = None
    queries: int = 2000
    seed: int = 0


def build_index(run: Path, options: IndexOptions, *, tell: Callable[[str], None] = lambda _: None) -> tuple[TuningCurve, Path]:
    """Build an index over a bundle's items, find the cheapest way to search it that finds enough, and put it beside the bundle.

    One half of the queries chooses the setting, the other half judges it. An index that is there stays where the new one misses
    its target.

    Args:
        run: A run folder.
        options: What is asked for.
        tell: What is being done.

    Returns:
        What every setting finds and costs, and where the index is.

    Raises:
        ConfigError: If the target is missed, or is none.
        BundleError: If the run has no bundle, or the index can't be written.
        MissingExtraError: If FAISS is not installed.
    """
    if not 0 < options.recall <= 1:
        raise ConfigError(f"recall must be above 0, and at most 1; came {options.recall}")
    if options.kind not in ("hnsw", "ivf-pq"):
        raise ConfigError(f"kind must be hnsw or ivf-pq; came {options.kind!r}")
    folder = index_folder(run)
    recommender = Recommender.load(run, index="exact")
    vectors_ND = recommender.item_vectors_ND
    tell(f"building: {options.kind} over {len(vectors_ND):,} items")
    exact = ExactIndex.build(vectors_ND)
    built = (
        HNSWIndex.build(exact, seed=options.seed, num_threads=torch.get_num_threads())
        if options.kind == "hnsw"
        else IVFPQIndex.build(exact, seed=options.seed)
    )
    tell(f"tuning: recall@{options.k} of {options.recall:g} on {options.queries:,} users")
    queries_BD = sample_queries(recommender, options.queries, seed=options.seed)
    if len(queries_BD) < _FEWEST_QUERIES:
        raise ConfigError(f"an index is tuned on at least {_FEWEST_QUERIES} users; the model knows {len(queries_BD)}")
    curve = tune(
        cast(TunableIndex, built), exact, queries_BD, k=options.k, recall=options.recall, latency_ms=options.latency_ms
    )
    chosen = built.with_search(**curve.setting())
    assert curve.judged is not None
    if curve.judged.mean < options.recall:
        raise ConfigError(
            f"of users that did not choose the setting, it finds {curve.judged.mean:.4f} of the {options.k} best, and "
            f"{options.recall:g} was asked for: take more queries, ask for less, or search exactly"
        )
    write_index(folder, chosen.state(), cast("Mapping[str, JSON]", {"options": options._asdict(), "curve": asdict(curve)}))
    return curve, folder


def sample_queries(recommender: Recommender, size: int, *, seed: int) -> Tensor:
    """Query vectors of known users, chosen at random, float32 ``[at most size, D]``."""
    ids = recommender.users.table.ids
    rows = np.sort(np.random.default_rng(seed).permutation(len(ids))[:size])
    return recommender.requests.encode(ids.gather(rows).to_list()).queries_BD
