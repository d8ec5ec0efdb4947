"""Training steps of one rank and of two beside each other, one core each, and what part of the time ranks speak to each other.

    python benchmarks/ranks.py --pairs 5
    python benchmarks/ranks.py --users 1000000 --items 1000000 --batch 16384 --sharding row_wise

A planted log, two towers of an id each and a hidden layer, in-batch softmax. Numbers of ranks alternate, so that what else the
machine does hits all alike; ratios are medians over the pairs. The share of communication is what the process group's
operations took of a profiled stretch of steps, waiting for slower ranks included. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import distributed as dist
from torch.profiler import ProfilerActivity, profile

from twotower.distributed import ALONE, Ranks
from twotower.runs import Recipe
from twotower.runs.fit_model import UntrainedModel, untrained_model
from twotower.runs.tables import load_tables
from twotower.training import StepDone, TrainingEvent, train


def recipe(options: argparse.Namespace) -> Recipe:
    """Two towers, their tables updated by row-wise Adagrad whether they are split or not."""

    def tower(column: str) -> dict[str, Any]:
        return {"features": [{"kind": "id", "column": column, "embedding": {"dim": options.dim, "update": "rows"}}]}

    return Recipe.model_validate(
        {
            "name": "ranks",
            "data": {"interactions": {"path": "none.csv"}, "columns": {"user": "user", "item": "item", "time": "time"}},
            "split": {"kind": "time", "test": 10},
            "query": tower("user"),
            "candidate": tower("item"),
            "model": {"layer_sizes": [128, options.dim]},
            "training": {
                "epochs": 1,
                "batch_size": options.batch,
                "early_stopping": False,
                "sharding": options.sharding,
                "optimizer": {"kind": "rowwise_adagrad"},
            },
        }
    )


def log(options: argparse.Namespace) -> pl.DataFrame:
    """Every user and item is there, the rest is drawn alike."""
    draw = np.random.default_rng(0)
    rows = max(options.users, options.items, options.batch * (options.steps + 2)) + 10

    def drawn(size: int) -> Any:
        return draw.permutation(np.concatenate([np.arange(size), draw.integers(0, size, rows - size)]))

    return pl.DataFrame({"user": drawn(options.users), "item": drawn(options.items), "time": np.arange(rows)})


class Enough(Exception):  # noqa: N818
    """Enough steps were taken."""


def steps(untrained: UntrainedModel, of: Recipe, ranks: Ranks, count: int) -> float:
    """Seconds of ``count`` steps after the first two."""
    began = taken = 0.0

    def listen(event: TrainingEvent) -> None:
        nonlocal began, taken
        if isinstance(event, StepDone):
            if event.step == 2:
                began = time.perf_counter()
            elif event.step == 2 + count:
                taken = time.perf_counter() - began
                raise Enough

    batches = untrained.batches
    batch = type(batches).batch

    def limited(self: Any, epoch: int, place: int) -> Any:
        if place == 2 + count:  # on the ranks that have no listener
            raise Enough
        return batch(self, epoch, place)

    type(batches).batch = limited  # type: ignore[method-assign, assignment]
    try:
        train(
            untrained.model,
            untrained.loss,
            batches,
            untrained.phase.items,
            config=of.training,
            seed=of.seed,
            device=torch.device("cpu"),
            log_q_N=untrained.log_q_N,
            listener=listen,
            ranks=ranks,
        )
    except Enough:
        return taken
    finally:
        type(batches).batch = batch  # type: ignore[method-assign]
    raise SystemExit("an epoch has fewer steps than are measured: more rows, or fewer --steps")


def spoken(found: profile) -> float:
    """Seconds within the operations of the process group."""
    return float(sum(each.cpu_time_total for each in found.key_averages() if each.key.startswith("gloo:"))) / 1e6


def measure(rank: int, size: int, store: str, options: argparse.Namespace, answers: Any) -> None:
    """What one rank does."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[rank % len(cores)]})
    ranks = ALONE
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
        ranks = Ranks.of()
    of = recipe(options)
    tables = load_tables(of, interactions=log(options))
    untrained = untrained_model(of, tables, tables.split.train, ranks=ranks)
    seconds = steps(untrained, of, ranks, options.steps)
    share = 0.0
    if size > 1:
        with profile(activities=[ProfilerActivity.CPU]) as found:
            began = time.perf_counter()
            steps(untrained, of, ranks, options.profiled)
            profiled = time.perf_counter() - began
        share = spoken(found) / profiled
        dist.barrier()
    answers.put({"rank": rank, "seconds": seconds, "share": share})
    if size > 1:
        dist.destroy_process_group()


def measured(size: int, options: argparse.Namespace) -> dict[str, float]:
    """Rows a second of all ranks together, and the share of communication (a mean over ranks)."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        children = [context.Process(target=measure, args=(rank, size, store, options, answers)) for rank in range(size)]
        for child in children:
            child.start()
        found = sorted((answers.get(timeout=3600) for _ in children), key=lambda of: of["rank"])
        for child in children:
            child.join()
    rows_per_s = options.steps * options.batch / found[0]["seconds"]
    return {"rows_per_s": rows_per_s, "share": statistics.mean(of["share"] for of in found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8192, help="rows of all ranks together at a step")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--profiled", type=int, default=4, help="steps of the stretch that is profiled")
    parser.add_argument("--ranks", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2])
    parser.add_argument("--sharding", type=lambda text: text.split(","), default=["local", "row_wise"])
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    if len(options.sharding) > 1:
        figures = [figures_of(argparse.Namespace(**{**vars(options), "sharding": each})) for each in options.sharding]
    else:
        figures = [figures_of(argparse.Namespace(**{**vars(options), "sharding": options.sharding[0]}))]
    print(json.dumps({"benchmark": "ranks", **vars(options), "figures": figures}))


def figures_of(options: argparse.Namespace) -> dict[str, Any]:
    """All numbers of ranks for one way to hold tables."""
    found: dict[int, list[dict[str, float]]] = {size: [] for size in options.ranks}
    for _ in range(options.pairs):
        for size in options.ranks:
            found[size].append(measured(size, options))
    first = options.ranks[0]
    figures = {}
    for size, runs in found.items():
        ratio = statistics.median(a["rows_per_s"] / b["rows_per_s"] for a, b in zip(runs, found[first], strict=True))
        share = statistics.median(each["share"] for each in runs)
        figures[str(size)] = {
            "rows_per_s": statistics.median(each["rows_per_s"] for each in runs),
            "ratio": ratio,
            "share_of_communication": share,
        }
        print(
            f"{options.sharding}, {size} ranks: {ratio:.2f} x the rows/s of {first}, {share:.0%} of the time in communication"
        )
    return {"sharding": options.sharding, "ranks": figures}


if __name__ == "__main__":
    main()
