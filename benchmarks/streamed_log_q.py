"""How near log Q is when counts are not held: three ways to estimate it from a stream of batches, by Monte Carlo.

Batches of ids are drawn by Zipf's law. Each way sees a batch, and is then asked for the probability of every id in it, as
training asks; what is measured are the later batches. The ways: counts (a table of all ids), a count-min sketch with the plain
and with the conservative update, and the moving average of the steps between two occurrences (Yi et al. 2019, algorithm 2: two
arrays of float32 for each hash function, the largest of the estimates, the first gap as its start), which estimates the
probability of being in a batch at all. All hash with the same functions; sketch and gaps are compared at the same memory.

Of each: ``bias``, mean of log(estimate / true) over what was drawn, ``rms`` of it, the bias of the rarest tenth and of the most
popular tenth of what was drawn; and ``sum``: the sum over what was drawn of 1 / estimate, over what it should be on average
(the number of ids), which at equal scores is the estimate of the softmax's denominator.

The last line of stdout is one JSON object.

    python benchmarks/streamed_log_q.py                                                (half a minute)
    python benchmarks/streamed_log_q.py --ids 2000 --batches 40 --widths 256           (a second)
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from measured import table
from numpy.typing import NDArray

from twotower.losses import CountMinSketch

Floats: TypeAlias = NDArray[np.float64]
Ids: TypeAlias = NDArray[np.int64]
Estimate: TypeAlias = Callable[[int, Ids, Ids], Floats]
"""Of a step, its distinct ids and their counts: sees them, and returns their probabilities."""

DEPTH = 4
COLUMNS = ("bias", "rms", "rare", "popular", "sum")


def main() -> None:
    """Measure, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ids", type=int, default=1_000_000)
    parser.add_argument("--exponent", type=float, default=1.0, help="of Zipf's law")
    parser.add_argument("--batch-size", type=int, default=2_048)
    parser.add_argument("--batches", type=int, default=2_000)
    parser.add_argument("--widths", type=lambda text: [int(part) for part in text.split(",")], default=[2**14, 2**16, 2**18])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chances = np.arange(1, options.ids + 1) ** -options.exponent
    chances /= chances.sum()
    edges = np.cumsum(chances)
    generator = np.random.default_rng(options.seed)
    batches = [
        np.minimum(np.searchsorted(edges, generator.random(options.batch_size)), options.ids - 1)
        for _ in range(options.batches)
    ]
    print(f"{options.ids:,} ids, exponent {options.exponent:g}, {options.batches:,} batches of {options.batch_size:,}")
    in_batch = -np.expm1(options.batch_size * np.log1p(-chances))
    found: list[dict[str, Any]] = [_measured("counts", 4 * options.ids, batches, chances, _counts(options.ids))]
    for width in options.widths:
        size = 4 * DEPTH * width
        found.append(_measured("sketch, plain", size, batches, chances, _sketch(width, conservative=False)))
        found.append(_measured("sketch, conservative", size, batches, chances, _sketch(width, conservative=True)))
        for rate in (0.01, 0.05):
            gaps = _gaps(width // 2, rate)
            found.append(_measured(f"gaps, rate {rate}", size, batches, in_batch, gaps, once=True))
    rows = [
        [
            entry["way"],
            f"{entry['bytes'] / 2**20:.2f}",
            *(f"{entry[name]:+.3f}" for name in COLUMNS),
            f"{entry['batch_us']:.0f}",
        ]
        for entry in found
    ]
    print(table(["way", "MiB", *COLUMNS, "a batch, us"], rows))
    print(json.dumps({"benchmark": "streamed_log_q", **vars(options), "ways": found}))


def _measured(
    way: str, size: int, batches: list[Ids], chances: Floats, estimate: Estimate, *, once: bool = False
) -> dict[str, Any]:
    """Of the last quarter of the batches; ``once``: ids are in a batch or not, however often they were drawn."""
    errors, weights, truths, sums, spent = [], [], [], [], 0.0
    for step, batch in enumerate(batches):
        ids, counts = np.unique(batch, return_counts=True)
        began = time.perf_counter()
        estimates = estimate(step, ids, counts)
        spent += time.perf_counter() - began
        if step >= 3 * len(batches) // 4:
            drawn = np.ones(len(ids)) if once else counts
            errors.append(np.log(estimates / chances[ids]))
            weights.append(counts)
            truths.append(chances[ids])
            sums.append(float((drawn / estimates).sum()) / (1 if once else len(batch)) / len(chances))
    error, weight, truth = np.concatenate(errors), np.concatenate(weights), np.concatenate(truths)
    order = np.argsort(truth, kind="stable")
    at = (np.cumsum(weight[order]) - 0.5) / weight.sum()
    rare, popular = order[at < 0.1], order[at > 0.9]
    return {
        "way": way,
        "bytes": size,
        "bias": float(np.average(error, weights=weight)),
        "rms": float(np.sqrt(np.average(error**2, weights=weight))),
        "rare": float(np.average(error[rare], weights=weight[rare])),
        "popular": float(np.average(error[popular], weights=weight[popular])),
        "sum": float(np.mean(sums)),
        "batch_us": 1e6 * spent / len(batches),
    }


def _counts(size: int) -> Estimate:
    held, total = np.zeros(size), 0

    def estimate(_step: int, ids: Ids, counts: Ids) -> Floats:
        nonlocal total
        held[ids] += counts
        total += int(counts.sum())
        found: Floats = held[ids] / total
        return found

    return estimate


def _sketch(width: int, *, conservative: bool) -> Estimate:
    sketch = CountMinSketch(width, DEPTH, conservative=conservative)

    def estimate(_step: int, ids: Ids, counts: Ids) -> Floats:
        keys = torch.from_numpy(ids)
        sketch.add(keys, torch.from_numpy(counts))
        found: Floats = sketch.log_q(keys).double().exp().numpy()
        return found

    return estimate


def _gaps(width: int, rate: float) -> Estimate:
    """A's last steps and B's gaps of Yi et al., for each hash function; the largest gap, as ids that meet only shorten it."""
    hashes = CountMinSketch(width, DEPTH)
    last, gaps = np.zeros(DEPTH * width, np.float32), np.zeros(DEPTH * width, np.float32)

    def estimate(step: int, ids: Ids, _counts: Ids) -> Floats:
        places = hashes._places(ids)
        now = np.float32(step + 1)
        since, before = now - last[places], gaps[places]
        gaps[places] = np.where(before == 0, since, (1 - rate) * before + rate * since)
        last[places] = now
        found: Floats = 1 / np.maximum(gaps[places].max(0), 1).astype(np.float64)
        return found

    return estimate


if __name__ == "__main__":
    main()
