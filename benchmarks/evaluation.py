"""Evaluation alone: test rows over the whole catalogue, ours against plain PyTorch, one process, in turn.

The model is the same on every side (an id of 32 numbers on either side, dense layers [64, 32]), and so are the rows. All sides
encode the catalogue anew, encode the rows and say how many of them have their own item among the first hundred:

* ours: `evaluate`, which gives exact ranks with seen items in and out, so recall at any k, NDCG and MRR;
* matmul + topk: ``(queries @ items.T).topk(100)`` in blocks of rows, as one writes it;
* matmul + count: the scores above the row's own, counted without sorting. Neither removes what was seen.

The two peers take the block of rows that is fastest in a trial. The roofline counts one product of all rows with the catalogue.
The last line of stdout is one JSON object.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --sizes 500x300 --repeats 1      (seconds)
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from alternating import medians
from ceilings import ceilings
from measured import table
from roofline import roofline
from torch import Tensor

from twotower.data import Examples, build_histories
from twotower.evaluation import ModelScorer, encode_catalogue, evaluate
from twotower.models import TwoTower, build
from twotower.spec import InputSpec, ModelSpec, TableSpec, TowerSpec

SIZES = ((20_000, 1_664), (20_000, 108_000))
TOP, DIM, LAYERS = 100, 32, (64, 32)
BLOCKS = (256, 1_024, 4_096)
CPU = torch.device("cpu")


def main() -> None:
    """Measure every size, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=_sizes, default=SIZES, help="test rows x items, separated by commas")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    machine = ceilings()
    sizes = [_measured(rows, items, options.repeats, machine) for rows, items in options.sizes]
    print(
        table(
            ["rows x items", "side", "seconds", "ours is", "recall@100", "of the ceiling"],
            [
                [
                    f"{size['rows']:,} x {size['items']:,}",
                    side,
                    f"{seconds:.2f} s",
                    f"{size['ratios'][side]:.1f} x" if side != "ours" else "",
                    f"{size['recall@100'][side]:.4f}",
                    f"{size['roofline']['share']:.0%} of {size['roofline']['bound_by']}" if side == "ours" else "",
                ]
                for size in sizes
                for side, seconds in size["seconds"].items()
            ],
        )
    )
    line = {"benchmark": "evaluation", "threads": torch.get_num_threads(), "repeats": options.repeats}
    print(json.dumps({**line, "machine": machine, "sizes": sizes}))


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((int(rows), int(items)) for rows, items in (part.split("x") for part in text.split(",")))


def _measured(rows: int, items: int, repeats: int, machine: dict[str, float]) -> dict[str, Any]:
    world = _World(rows, items)
    recalls: dict[str, float] = {}
    blocks = {name: world.best_block(hits) for name, hits in (("matmul + topk", _by_topk), ("matmul + count", _by_count))}

    def judged(name: str, work: Callable[[], float]) -> Callable[[], None]:
        def turn() -> None:
            recalls[name] = work()

        return turn

    contestants = {
        "ours": judged("ours", world.ours),
        "matmul + topk": judged("matmul + topk", lambda: world.plain(_by_topk, blocks["matmul + topk"])),
        "matmul + count": judged("matmul + count", lambda: world.plain(_by_count, blocks["matmul + count"])),
    }
    seconds = medians(contestants, repeats)
    return {
        "rows": rows,
        "items": items,
        "seconds": seconds,
        "ratios": {name: taken / seconds["ours"] for name, taken in seconds.items() if name != "ours"},
        "recall@100": recalls,
        "blocks": blocks,
        "roofline": roofline(
            seconds["ours"], flops=2 * rows * items * LAYERS[-1], num_bytes=4 * items * LAYERS[-1], machine=machine
        ),
    }


class _World:
    """A model, its catalogue and rows to be judged."""

    def __init__(self, rows: int, items: int) -> None:
        generator = torch.Generator().manual_seed(0)
        users = torch.arange(rows, dtype=torch.int32)
        own = (items * torch.rand(rows, generator=generator) ** 3).int()
        histories, before = build_histories(users.numpy(), own.numpy(), None, num_users=rows)
        self.items = {"item": torch.arange(items, dtype=torch.int32)}
        self.examples = Examples(
            user_rows=users,
            item_rows=own,
            users={"user": torch.arange(rows, dtype=torch.int32)},
            context={},
            histories=histories,
            before=before,
            seen_before=True,
        )
        sizes = {"user": rows, "item": items}
        tables = tuple(TableSpec(name=name, vocabulary_size=size, embedding_dim=DIM) for name, size in sizes.items())
        query, candidate = (
            TowerSpec(inputs=(InputSpec(column=name, width=DIM, table=name),), layer_sizes=LAYERS) for name in sizes
        )
        self.model: TwoTower = build(ModelSpec(tables=tables, query=query, candidate=candidate), seed=0).eval()

    def ours(self) -> float:
        """Recall@100 from exact ranks."""
        scorer = ModelScorer(self.model, self.items, self.examples, device=CPU)
        return evaluate(scorer, self.examples, ks=(1, 5, 10, 50, TOP), draws=0).seen_included.values[f"recall@{TOP}"]

    def plain(self, hits: Callable[[Tensor, Tensor], Tensor], block: int) -> float:
        """The same, from a matrix of scores of some rows at a time."""
        with torch.inference_mode():
            vectors_ND = encode_catalogue(self.model, self.items, device=CPU)
            found = 0
            for rows in torch.split(torch.arange(len(self.examples)), block):
                queries_BD = self.model.encode_queries(self.examples.queries(rows, training=False))
                found += int(hits(queries_BD @ vectors_ND.T, self.examples.item_rows[rows].long()).sum())
        return found / len(self.examples)

    def best_block(self, hits: Callable[[Tensor, Tensor], Tensor]) -> int:
        """Rows at a time that are fastest on some of them."""
        with torch.inference_mode():
            vectors_ND = encode_catalogue(self.model, self.items, device=CPU)
            queries_BD = self.model.encode_queries(
                self.examples.queries(torch.arange(len(self.examples))[:4_096], training=False)
            )
            own_B = self.examples.item_rows[: len(queries_BD)].long()
            seconds: dict[int, float] = {}
            for block in BLOCKS:
                began = time.perf_counter()
                for queries, own in zip(torch.split(queries_BD, block), torch.split(own_B, block), strict=True):
                    hits(queries @ vectors_ND.T, own)
                seconds[block] = time.perf_counter() - began
        return min(seconds, key=lambda block: seconds[block])


def _by_topk(scores_BN: Tensor, own_B: Tensor) -> Tensor:
    best_BK = scores_BN.topk(min(TOP, scores_BN.shape[1]), dim=1).indices
    return (best_BK == own_B[:, None]).any(dim=1)


def _by_count(scores_BN: Tensor, own_B: Tensor) -> Tensor:
    return (scores_BN > scores_BN.gather(1, own_B[:, None])).sum(dim=1) < TOP


if __name__ == "__main__":
    main()
