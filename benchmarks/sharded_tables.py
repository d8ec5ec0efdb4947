"""A large table over ranks of this machine: memory of each rank, time to build it, and training steps.

    python benchmarks/sharded_tables.py --ranks 2 --rows 20000000 --width 64

Each rank looks random rows up and trains them; the last line on stdout is one JSON object. What a rank must hold is its part
of the weights and one accumulator a row; what it holds beyond that is torch, TorchRec and FBGEMM (measured before there is a
table) and what a step needs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from twotower.bundle import write_tensors
from twotower.distributed import Ranks, RowWise, ShardedTables, TableAdagrad, WholeTable, stream_tables
from twotower.nn import EmbeddingCollection
from twotower.spec import InputSpec, TableSpec

MB = 1e6


def peak_bytes() -> int:
    """The most memory that this process had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(rank: int, size: int, store: str, options: argparse.Namespace, answers: Any) -> None:
    """What one rank does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    ranks = Ranks.of()
    spec = TableSpec(name="item", vocabulary_size=options.rows, embedding_dim=options.width, update="rows")
    small = spec.model_copy(update={"vocabulary_size": 8 * size})
    ShardedTables([small], ranks, adagrad=TableAdagrad(), plan={"item": RowWise()})  # everything is imported now
    before = peak_bytes()
    began = time.perf_counter()
    tables = ShardedTables([spec], ranks, adagrad=TableAdagrad(), plan={"item": RowWise()})
    allocated = time.perf_counter()
    collection = EmbeddingCollection([spec], generator=torch.Generator().manual_seed(1), distant=tables)
    drawn = time.perf_counter()
    held = peak_bytes()
    entry = InputSpec(column="item", width=options.width, table="item")
    generator = torch.Generator().manual_seed(rank)
    steps = []
    for _ in range(options.steps):
        ids = torch.randint(options.rows, (options.batch,), generator=generator)
        ranks.wait()
        start = time.perf_counter()
        collection({"item": ids}, [entry])["item"].square().sum().backward()
        steps.append(time.perf_counter() - start)
    trained = peak_bytes()
    written = None
    if options.write:
        start = time.perf_counter()
        whole = WholeTable(tables, "item")
        stream_tables([whole], lambda: write_tensors(options.write, {"embeddings.table:item": whole}), ranks)
        written = time.perf_counter() - start
    shards = sum(shard.weights.nbytes + shard.accumulators.nbytes for shard in tables.shards())
    answers.put(
        {
            "rank": rank,
            "shard_mb": shards / MB,
            "before_mb": before / MB,
            "built_mb": held / MB,
            "trained_mb": trained / MB,
            "end_mb": peak_bytes() / MB,
            "allocate_s": allocated - began,
            "draw_s": drawn - allocated,
            "step_s": sorted(steps)[len(steps) // 2],
            "write_s": written,
        }
    )
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8192, help="rows of each rank at a step")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--write", type=Path, help="write the table to this file, streamed, and measure that too")
    options = parser.parse_args()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        children = [
            context.Process(target=measure, args=(rank, options.ranks, store, options, answers))
            for rank in range(options.ranks)
        ]
        for child in children:
            child.start()
        found = sorted((answers.get(timeout=3600) for _ in children), key=lambda of: of["rank"])
        for child in children:
            child.join()
    for of in found:
        beyond = of["trained_mb"] - of["before_mb"] - of["shard_mb"]
        print(
            f"rank {of['rank']}: shard {of['shard_mb']:,.0f} MB, libraries {of['before_mb']:,.0f} MB, "
            f"peak {of['trained_mb']:,.0f} MB ({beyond:+,.0f} beyond both), "
            f"drawn in {of['draw_s']:.0f} s, step {1e3 * of['step_s']:.0f} ms"
        )
    print(
        json.dumps({"benchmark": "sharded_tables", **vars(options), "write": str(options.write or ""), "ranks_measured": found})
    )


if __name__ == "__main__":
    main()
