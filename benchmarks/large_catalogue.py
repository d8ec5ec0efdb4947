"""Training over a million users and a million items, against plain PyTorch: rows per second, and what was learned.

The world: users and items belong to one of 500 segments, both are as skewed as logs are, and four of five rows stay in the
user's segment. All sides train the same towers (an id of 64 and a segment of 16 numbers, one dense layer of 64) on the same
rows in batches of the same size:

* ours: in-batch softmax corrected for how often items are drawn; AdamW, tables by rows;
* Adam: ``benchmarks/plain_pytorch.py`` with ``torch.optim.Adam`` over everything;
* SparseAdam: the same with sparse gradients of the tables.

Steps are timed in turn. With ``--recall`` each trains an epoch besides, and is asked for the items of rows that came later,
over the whole catalogue. The last line of stdout is one JSON object.

On an accelerator our rows are on the device and a step is a CUDA graph (``training.cuda_graph``); where a trial shows that it
can't be captured, the line says why. Steps that are queued operation by operation are a side of their own. Plain PyTorch has
its best settings: fused Adam, and rows on the device or from pinned memory, whichever a trial finds quicker.

    python benchmarks/large_catalogue.py
    python benchmarks/large_catalogue.py --device cuda --steps 50 --recall
    python benchmarks/large_catalogue.py --users 20000 --items 20000 --rows 100000 --batch 1024 --recall      (seconds)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alternating import medians
from device import device_ceilings, device_facts, device_option, synchronised, to_its_end
from measured import table
from numpy.typing import NDArray
from plain_pytorch import FEEDS, Feed, PlainTraining
from roofline import roofline
from torch import Tensor
from turns import Turns

from twotower.data import Batch, Batches, Examples, build_histories
from twotower.errors import TwotowerError
from twotower.losses import InBatchSoftmax, log_q_from_counts
from twotower.models import build
from twotower.optim import OptimizerConfig, build_optimizers, let_steps_be_recorded
from twotower.spec import InputSpec, ModelSpec, TableSpec, TowerSpec
from twotower.training.ahead import StepsAhead
from twotower.training.captured import CAPTURES, WARM_UP
from twotower.training.step import Place, batch_loss
from twotower.training.tasks import RETRIEVAL_ALONE

SEGMENTS, ID_DIM, SEGMENT_DIM, LAYERS = 500, 64, 16, (64,)
TESTED = 5_000
SIDES = ("ours", "SparseAdam", "Adam")
QUEUED = "ours, queued"


def main() -> None:
    """Measure, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--rows", type=int, default=2_500_000)
    parser.add_argument("--batch", type=int, default=8_192)
    parser.add_argument("--steps", type=int, default=5, help="of each contestant in a turn")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--recall", action="store_true", help="train an epoch of each besides")
    parser.add_argument("--recall-steps", type=int, help="fewer than an epoch's")
    parser.add_argument("--keep", type=Path, help="a file of what was measured; another call goes on with it")
    parser.add_argument("--minutes", type=float, help="train no other side that would end later")
    parser.add_argument("--peer-rate", type=float, default=0.01, help="learning rate of plain PyTorch; its best of .001 to .03")
    device_option(parser)
    options = parser.parse_args()
    world = _World(options.users, options.items, options.rows, peer_rate=options.peer_rate, device=options.device)
    makers: dict[str, Callable[[], Any]] = {
        "ours": lambda: _Ours(world, options.batch),
        "SparseAdam": lambda: world.plain(options.batch, sparse=True),
        "Adam": lambda: world.plain(options.batch, sparse=False),
    }
    jobs = ["steps", *(SIDES if options.recall else ())]
    chosen = ("users", "items", "rows", "batch", "steps", "repeats", "peer_rate", "recall_steps")
    settings = {"benchmark": "large_catalogue", "jobs": jobs, **{name: getattr(options, name) for name in chosen}}
    if options.device.type != "cpu":
        settings["device"] = device_facts(options.device)
    turns = Turns(len(jobs), settings=settings, keep=options.keep, minutes=options.minutes)
    epoch = options.recall_steps or options.rows // options.batch
    for number in turns:
        if jobs[number] == "steps":
            tried = _tried(world, options.batch)
            if tried:
                makers[QUEUED] = lambda: _Ours(world, options.batch, captured=False)
            turns.add({**_steps({name: make() for name, make in makers.items()}, options), **tried})
        else:
            turns.add({"recall@100": _recall(world, makers[jobs[number]](), epoch)})
    first, *learned = turns.found
    seconds = first["seconds"]
    rates = {name: options.batch * options.steps / taken for name, taken in seconds.items()}
    line: dict[str, Any] = {
        "benchmark": "large_catalogue",
        "device": device_facts(options.device),
        "threads": torch.get_num_threads(),
        "repeats": options.repeats,
        "complete": turns.complete,
        "users": options.users,
        "items": options.items,
        "batch": options.batch,
        "rows_per_s": rates,
        "ratios": {name: rates["ours"] / rate for name, rate in rates.items() if name != "ours"},
        "roofline": _limit(options.batch, seconds["ours"] / options.steps, first["machine"]),
        "machine": first["machine"],
    }
    if "feeds" in first:
        line["peer_feeds"] = {name: options.batch / taken for name, taken in first["feeds"].items()}
        line["not_captured"] = first["not_captured"]
    if learned:
        line["recall_steps"] = epoch
        line["recall@100"] = {name: turn["recall@100"] for name, turn in zip(SIDES, learned, strict=False)}
        line["recall@100"]["popularity"] = world.popularity()
    recalls = line.get("recall@100", {})
    print(
        table(
            ["training", "rows/s", "ours is", "recall@100"],
            [
                [
                    name,
                    f"{rates[name]:,.0f}",
                    f"{rates['ours'] / rates[name]:.1f} x",
                    f"{recalls[name]:.4f}" if name in recalls else "-",
                ]
                for name in rates
            ],
        )
    )
    if line.get("not_captured"):
        print(f"our step is not captured: {line['not_captured']}")
    for name, rate in line.get("peer_feeds", {}).items():
        print(f"Adam, rows {name}: {rate:,.0f} rows/s in a trial")
    print(json.dumps(line))


def _steps(sides: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of some steps of each side, in turn, and the ceilings."""

    def turn(side: Any) -> Callable[[], None]:
        def work() -> None:
            for _ in range(options.steps):
                side.step()

        return work

    device = options.device
    seconds = medians({name: to_its_end(device, turn(side)) for name, side in sides.items()}, options.repeats)
    return {"seconds": seconds, "machine": device_ceilings(device)}


def _tried(world: _World, batch: int) -> dict[str, Any]:
    """On an accelerator: seconds of a step of dense Adam with each feed, and why our step can't be captured (None: it can).

    Sides that are made from then on have the quickest feed, and steps that can be had. Nothing on the CPU.
    """
    if world.device.type == "cpu":
        return {}
    found: dict[Feed, float] = {}
    for world.feed in FEEDS:
        side = world.plain(batch, sparse=False)
        found[world.feed] = medians({"step": to_its_end(world.device, side.step)}, 5)["step"]
        del side
    world.feed = min(found, key=lambda feed: found[feed])
    why = None
    if world.device.type in CAPTURES:
        ours = _Ours(world, batch)
        try:
            for _ in range(WARM_UP + 2):
                ours.step()
            synchronised(world.device)
        except (TwotowerError, RuntimeError) as fault:
            why = str(fault)
    else:
        why = f"the device is {world.device.type}"
    world.captures = why is None
    return {"feeds": {str(name): seconds for name, seconds in found.items()}, "not_captured": why}


def _limit(batch: int, seconds: float, machine: dict[str, float]) -> dict[str, Any]:
    """Three products of the loss and of each tower's layer; touched rows of tables and accumulators, read and written."""
    inputs, width = ID_DIM + SEGMENT_DIM, LAYERS[-1]
    flops = 6 * batch**2 * width + 2 * 6 * batch * inputs * width
    return roofline(seconds, flops=flops, num_bytes=2 * batch * inputs * 4 * 4, machine=machine)


class _World:
    """Rows of a planted world; the last ones are asked for."""

    def __init__(self, users: int, items: int, rows: int, *, peer_rate: float, device: torch.device) -> None:
        self.peer_rate, self.device = peer_rate, device
        self.feed: Feed = "resident"
        self.captures = device.type in CAPTURES
        rng = np.random.default_rng(0)
        self.num_users, self.num_items = users, items
        self.user_segment, self.item_segment = rng.integers(0, SEGMENTS, users), rng.integers(0, SEGMENTS, items)
        by_segment = np.argsort(self.item_segment, kind="stable")
        starts = np.searchsorted(self.item_segment[by_segment], np.arange(SEGMENTS + 1))
        size = rows + TESTED
        chosen = (users * rng.random(size) ** 3).astype(np.int64)
        segment = self.user_segment[chosen]
        place = starts[segment] + ((starts[segment + 1] - starts[segment]) * rng.random(size) ** 4).astype(np.int64)
        anywhere = (items * rng.random(size) ** 4).astype(np.int64)
        watched = np.where(rng.random(size) < 0.8, by_segment[np.minimum(place, items - 1)], anywhere)
        self.users, self.items = chosen[:rows], watched[:rows]
        self.test_users, self.test_items = chosen[rows:], watched[rows:]

    def query(self, users: NDArray[np.int64]) -> list[Tensor]:
        return [torch.from_numpy(users), torch.from_numpy(self.user_segment[users])]

    def candidate(self, items: NDArray[np.int64]) -> list[Tensor]:
        return [torch.from_numpy(items), torch.from_numpy(self.item_segment[items])]

    def plain(self, batch: int, *, sparse: bool) -> PlainTraining:
        return PlainTraining(
            self.query(self.users),
            self.candidate(self.items),
            [(self.num_users, ID_DIM), (SEGMENTS, SEGMENT_DIM)],
            [(self.num_items, ID_DIM), (SEGMENTS, SEGMENT_DIM)],
            layers=LAYERS,
            batch_size=batch,
            sparse=sparse,
            learning_rate=self.peer_rate,
            device=self.device,
            feed=self.feed,
        )

    def popularity(self) -> float:
        best = np.argsort(-np.bincount(self.items, minlength=self.num_items), kind="stable")[:100]
        return float(np.isin(self.test_items, best).mean())


class _Ours:
    """The same towers here, one step at a time."""

    def __init__(self, world: _World, batch: int, *, captured: bool = True) -> None:
        sizes = {
            "user": (world.num_users, ID_DIM, "rows"),
            "user_segment": (SEGMENTS, SEGMENT_DIM, "dense"),
            "item": (world.num_items, ID_DIM, "rows"),
            "item_segment": (SEGMENTS, SEGMENT_DIM, "dense"),
        }
        tables = tuple(
            TableSpec(name=name, vocabulary_size=rows, embedding_dim=width, update="rows" if update == "rows" else "dense")
            for name, (rows, width, update) in sizes.items()
        )
        towers = [
            TowerSpec(
                inputs=tuple(InputSpec(column=name, width=sizes[name][1], table=name) for name in names), layer_sizes=LAYERS
            )
            for names in (("user", "user_segment"), ("item", "item_segment"))
        ]
        self.device = world.device
        self.model = build(ModelSpec(tables=tables, query=towers[0], candidate=towers[1]), seed=0).to(self.device)
        histories, before = build_histories(world.users, world.items, None, num_users=world.num_users)
        users = world.query(np.arange(world.num_users))
        items = [column.to(self.device) for column in world.candidate(np.arange(world.num_items))]
        self.items = dict(zip(("item", "item_segment"), items, strict=True))
        examples = Examples(
            user_rows=torch.from_numpy(world.users.astype(np.int32)),
            item_rows=torch.from_numpy(world.items.astype(np.int32)),
            users=dict(zip(("user", "user_segment"), users, strict=True)),
            context={},
            histories=histories,
            before=before,
            seen_before=True,
        )
        self.batches = Batches(examples, batch_size=batch, catalogue_size=world.num_items, seed=0, candidates="in_batch")
        self.loss = InBatchSoftmax(log_q=True)
        drawn_N = torch.bincount(examples.item_rows, minlength=world.num_items).float()
        self.log_q_N = log_q_from_counts(drawn_N).to(self.device)
        named = [(f"model.{name}", parameter) for name, parameter in self.model.named_parameters()]
        sparse = {f"model.{name}" for name in self.model.sparse_parameter_names()}
        config = OptimizerConfig(kind="adamw", learning_rate=0.01, sparse_learning_rate=0.03)
        self.optimizers = build_optimizers(named, config, sparse_parameter_names=sparse)
        self.index = 0
        self.ahead = None if self.device.type == "cpu" else self._steps_ahead(captured=captured and world.captures)

    def _steps_ahead(self, *, captured: bool) -> StepsAhead:
        """What queues steps on an accelerator, as training has it there."""
        let_steps_be_recorded(self.optimizers, self.device)
        return StepsAhead(
            self.model,
            self.loss.to(self.device),
            self.batches.on(self.device),
            self.items,
            self.log_q_N,
            streamed_log_q=None,
            objective=RETRIEVAL_ALONE,
            parameters=[*self.model.parameters()],
            optimizers=self.optimizers,
            clip_norm=None,
            device=self.device,
            capture=CAPTURES[self.device.type] if captured else None,
        )

    def step(self) -> None:
        if self.ahead is None:
            self._step_here(self.batches.batch(0, self.index))
        elif self.ahead.queue(Place(0, self.index, 0, 0.0)):
            self.ahead.read()
        self.index = (self.index + 1) % len(self.batches)

    def _step_here(self, batch: Batch) -> None:
        loss = batch_loss(self.model, self.loss, batch, self.items, log_q_N=self.log_q_N, device=self.device)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in self.optimizers:
            optimizer.step()

    def query(self, columns: list[Tensor]) -> Tensor:
        return self.model.encode_queries(dict(zip(("user", "user_segment"), columns, strict=True)))

    def candidate(self, columns: list[Tensor]) -> Tensor:
        return self.model.encode_candidates(dict(zip(("item", "item_segment"), columns, strict=True)))


def _recall(world: _World, side: Any, steps: int) -> float:
    """Recall@100 of the rows that came later, over the whole catalogue, after an epoch."""
    for _ in range(steps):
        side.step()

    def candidate(items: NDArray[np.int64]) -> Tensor:
        found: Tensor = side.candidate([column.to(world.device) for column in world.candidate(items)])
        return found

    with torch.inference_mode():
        queries_QD = side.query([column.to(world.device) for column in world.query(world.test_users)])
        own_Q = (queries_QD * candidate(world.test_items)).sum(dim=1)
        above_Q = torch.zeros(len(own_Q), dtype=torch.int64, device=world.device)
        for start in range(0, world.num_items, 65_536):
            items = np.arange(start, min(start + 65_536, world.num_items))
            above_Q += (queries_QD @ candidate(items).T > own_Q[:, None]).sum(dim=1)
    return float((above_Q < 100).float().mean())


if __name__ == "__main__":
    main()
