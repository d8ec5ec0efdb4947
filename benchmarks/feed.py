"""Batches alone, without a step: rows per second of ours against ``DataLoader(TensorDataset)``.

Both give the same columns of the same rows, shuffled over all of them every epoch, in batches of the same size: a user, an item
and what stands in each row. Ours keeps them as it does for training (codes of one to four bytes, which may lie in a file), and
gives besides what the loss needs: the distinct candidates, the column of each row's own, how often each was drawn. Histories,
which ``TensorDataset`` can't give, are timed apart.

* ``DataLoader``: ``DataLoader(TensorDataset(*columns), batch_size, shuffle=True)``, and with ``--workers`` processes besides;
* ``DataLoader, whole batches``: the same with a ``BatchSampler`` as sampler, so that the data set is asked once for each batch:
  not what its documentation shows first, but its best.

The roofline counts the bytes of each row's columns, read and written once. The last line of stdout is one JSON object.

    python benchmarks/feed.py
    python benchmarks/feed.py --rows 200000 --batch 2048 --repeats 3      (seconds)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from itertools import count

import numpy as np
import torch
from alternating import medians
from ceilings import ceilings
from measured import table
from roofline import roofline
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from twotower.data import Batches, Examples, HistoryInput, build_histories
from twotower.types import Coded

DISTINCT = (3, 12, 24, 40, 200, 500, 3000, 60, 60)


def main() -> None:
    """Time the contestants, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=300_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=16_384)
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader that has some")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    users = rng.integers(0, options.users, options.rows)
    items = (options.items * rng.random(options.rows) ** 3).astype(np.int64)
    context = [rng.integers(0, size, options.rows) for size in DISTINCT]
    bare, with_history = (
        _ours(options, users, items, context, history=False),
        _ours(options, users, items, context, history=True),
    )
    dataset = TensorDataset(*(torch.from_numpy(column) for column in (users, items, *context)))
    whole = BatchSampler(RandomSampler(dataset), options.batch, drop_last=False)
    loaders: dict[str, Iterable[list[Tensor]]] = {
        "DataLoader": DataLoader(dataset, options.batch, shuffle=True),
        f"DataLoader, {options.workers} workers": DataLoader(
            dataset, options.batch, shuffle=True, num_workers=options.workers, multiprocessing_context="spawn"
        ),
        "DataLoader, whole batches": DataLoader(dataset, sampler=whole, batch_size=None),
    }
    most = options.rows // options.batch

    def ours(batches: Batches) -> Callable[[], None]:
        epochs = count()  # each with an order of its own, as the others have

        def work() -> None:
            epoch = next(epochs)
            for index in range(most):
                batches.batch(epoch, index)

        return work

    def theirs(loader: Iterable[list[Tensor]]) -> Callable[[], None]:
        def work() -> None:
            for index, _ in enumerate(loader):
                if index + 1 >= most:
                    break

        return work

    contestants = {"ours": ours(bare), "ours, with histories": ours(with_history)}
    contestants |= {name: theirs(loader) for name, loader in loaders.items()}
    seconds = medians(contestants, options.repeats)
    rates = {name: most * options.batch / taken for name, taken in seconds.items()}
    print(
        table(
            ["feed", "rows/s", "ours is"],
            [[name, f"{rate:,.0f}", f"{rates['ours'] / rate:.1f} x"] for name, rate in rates.items()],
        )
    )
    machine = ceilings()
    # codes and rows as they are kept, and the int64 that steps are given
    moved = options.rows * (4 + 4 + sum(1 if size <= 256 else 2 for size in DISTINCT) + 8 * (2 + len(DISTINCT)))
    print(
        json.dumps(
            {
                "benchmark": "feed",
                "repeats": options.repeats,
                "machine": machine,
                "roofline": roofline(options.rows / rates["ours"], flops=0, num_bytes=moved, machine=machine),
                "rows": options.rows,
                "batch": options.batch,
                "columns": 2 + len(DISTINCT),
                "threads": torch.get_num_threads(),
                "rows_per_s": rates,
                "ratios": {name: rates["ours"] / rates[name] for name in loaders},
            }
        )
    )


def _ours(
    options: argparse.Namespace,
    users: np.ndarray[tuple[int], np.dtype[np.int64]],
    items: np.ndarray[tuple[int], np.dtype[np.int64]],
    context: list[np.ndarray[tuple[int], np.dtype[np.int64]]],
    *,
    history: bool,
) -> Batches:
    histories, before = build_histories(users, items, None, num_users=options.users)
    narrow = [codes.astype(np.uint8 if size <= 256 else np.int16) for codes, size in zip(context, DISTINCT, strict=True)]
    lookup = torch.arange(options.items, dtype=torch.int32)
    examples = Examples(
        user_rows=torch.from_numpy(users.astype(np.int32)),
        item_rows=torch.from_numpy(items.astype(np.int32)),
        users={"user": torch.arange(options.users, dtype=torch.int32)},
        context={
            f"c{place}": Coded(torch.from_numpy(codes), torch.arange(size, dtype=torch.int32))
            for place, (codes, size) in enumerate(zip(narrow, DISTINCT, strict=True))
        },
        histories=histories,
        before=before,
        seen_before=True,
        history_inputs=(HistoryInput("history", lookup, max_length=50, own_item="allow"),) if history else (),
    )
    return Batches(examples, batch_size=options.batch, catalogue_size=options.items, seed=0, candidates="in_batch")


if __name__ == "__main__":
    main()
