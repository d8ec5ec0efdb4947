"""The loss of a batch and its gradients against eager PyTorch, which writes the matrix of logits out: seconds and peak memory.

Both sides get the same vectors and labels, of distinct candidates, and give value and gradients of both sides' vectors:

* ours: ``in_batch_softmax`` in float32 and with products in bfloat16;
* eager: ``cross_entropy(queries @ candidates.T / temperature, labels)``, what one writes in an afternoon, and the same under
  ``torch.autocast`` in bfloat16.

Contestants take turns in one process. Peak memory is measured in a process of its own for each, beside what the process took
before the loss; where eager does not fit it is counted, by the bytes for each logit that it took where it did. The roofline
counts three products (the logits, and the gradient of either side) and every vector and gradient once. With ``--hard N`` both
sides keep the N hardest negatives of a query, eager by ``topk``. The last line of stdout is one JSON object.

With ``--device cuda`` the same on a GPU: clocks wait for it, memory is what torch's allocator gave out at most beside what was
there before, the ceilings are the GPU's, and eager is counted where it does not fit. Without a GPU: one line, and exit code 2.

    python benchmarks/loss.py
    python benchmarks/loss.py --batches 1024,4096 --repeats 3      (seconds)
    python benchmarks/loss.py --batches 4096,16384 --hard 100
    python benchmarks/loss.py --device cuda
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from alternating import medians
from device import device_ceilings, device_facts, device_option, peak_bytes_on, to_its_end
from measured import run_program, table
from roofline import roofline
from torch import Tensor
from torch.nn import functional

from twotower.losses import in_batch_softmax

BATCHES = (4096, 16_384, 65_536)
TEMPERATURE = 0.07
SIDES = ("ours", "ours, bfloat16", "eager", "eager, bfloat16")


def main() -> None:
    """Measure each size, print a table and the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=_sizes, default=BATCHES, help="rows of a batch, separated by commas")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--eager-up-to", type=int, help="above it eager's matrix is counted; 16384, on a device as far as it fits"
    )
    parser.add_argument("--hard", type=int, help="negatives of a query that are kept, those with the highest logits; all")
    device_option(parser)
    parser.add_argument("--memory-of", choices=SIDES, help="one side, once, in this process: its peak memory")
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps({"bytes": _memory(options.memory_of, options.batches[0], options)}))
        return
    if options.eager_up_to is None and options.device.type == "cpu":
        options.eager_up_to = 16_384
    machine = device_ceilings(options.device)
    sizes = [_measured(batch, options, machine) for batch in options.batches]
    eager = [size["bytes"]["eager"] / size["batch"] ** 2 for size in sizes if "eager" in size["bytes"]]
    for size in sizes:
        counted = max(eager, default=12.0) * size["batch"] ** 2  # without a measurement: logits, their softmax, their gradient
        size["memory_ratio"] = size["bytes"].get("eager", counted) / size["bytes"]["ours"]
        size["eager_bytes_are_counted"] = "eager" not in size["bytes"]
    print(_shown(sizes, options.device))
    print(
        json.dumps(
            {
                "benchmark": "loss",
                "dim": options.dim,
                "hard_negatives": options.hard,
                "device": device_facts(options.device),
                "threads": torch.get_num_threads(),
                "repeats": options.repeats,
                "machine": machine,
                "sizes": sizes,
            }
        )
    )


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(part) for part in text.split(",")))


def _inputs(batch: int, dim: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries, candidates = (functional.normalize(torch.randn(batch, dim, generator=generator)).to(device) for _ in range(2))
    return queries.requires_grad_(), candidates.requires_grad_(), torch.randperm(batch, generator=generator).to(device)


def _work(side: str, batch: int, options: argparse.Namespace) -> Callable[[], None]:
    queries_BD, candidates_BD, positives_B = _inputs(batch, options.dim, options.device)
    hard = options.hard

    def work() -> None:
        queries_BD.grad = candidates_BD.grad = None
        if side.startswith("eager"):
            with torch.autocast(options.device.type, torch.bfloat16, enabled=side.endswith("bfloat16")):
                logits_BB, own_B1 = queries_BD @ candidates_BD.T / TEMPERATURE, positives_B[:, None]
                if hard is None:
                    loss = functional.cross_entropy(logits_BB, positives_B)
                else:
                    hardest_BH = logits_BB.scatter(1, own_B1, -torch.inf).topk(min(hard, batch - 1), dim=1).values
                    logits_BK = torch.cat([logits_BB.gather(1, own_B1), hardest_BH], dim=1)
                    loss = functional.cross_entropy(logits_BK, torch.zeros_like(positives_B))
        else:
            precision: Literal["float32", "bfloat16"] = "bfloat16" if side.endswith("bfloat16") else "float32"
            loss = in_batch_softmax(
                queries_BD, candidates_BD, positives_B, temperature=TEMPERATURE, precision=precision, hard_negatives=hard
            )
        loss.backward()  # type: ignore[no-untyped-call]

    return work


def _memory(side: str, batch: int, options: argparse.Namespace) -> int:
    """Bytes that the loss takes beside its inputs and a process that has done a small one."""
    _work(side, 64, options)()
    return peak_bytes_on(options.device, _work(side, batch, options))


def _fits(side: str, batch: int, options: argparse.Namespace) -> bool:
    """Whether eager has the memory, as far as that can be known without ending this process."""
    if options.eager_up_to is not None and batch > options.eager_up_to:
        return False
    if options.device.type == "cpu":
        return True
    fits = True
    try:
        to_its_end(options.device, _work(side, batch, options))()
    except RuntimeError as error:  # where cuBLAS has no room it says so in words alone
        if not isinstance(error, torch.OutOfMemoryError) and "alloc" not in str(error).lower():
            raise
        fits = False
        print(f"{side} does not fit", file=sys.stderr, flush=True)
    torch.cuda.empty_cache()
    return fits


def _bytes(side: str, batch: int, options: argparse.Namespace) -> int:
    """Of a process of its own; on a device, whose allocator counts, of this one, which may hold much of it for later."""
    if options.device.type != "cpu":
        torch.cuda.empty_cache()
        return _memory(side, batch, options)
    kept: list[object] = [] if options.hard is None else ["--hard", options.hard]
    command = [sys.executable, Path(__file__), "--batches", batch, "--dim", options.dim, *kept, "--memory-of", side]
    return int(run_program(command)["bytes"])


def _measured(batch: int, options: argparse.Namespace, machine: dict[str, float]) -> dict[str, Any]:
    print(f"{batch:,} rows", file=sys.stderr, flush=True)
    sides = [side for side in SIDES if not side.startswith("eager") or _fits(side, batch, options)]
    works = {side: to_its_end(options.device, _work(side, batch, options)) for side in sides}
    seconds = medians(works, options.repeats)
    del works
    flops, moved = 6 * batch**2 * options.dim, 4 * 4 * batch * options.dim
    rooflines = {
        side: roofline(
            seconds[side],
            flops=flops,
            num_bytes=moved,
            machine=machine,
            precision="bfloat16" if side.endswith("bfloat16") else "float32",
        )
        for side in SIDES[:2]
    }
    eager = [side for side in sides if side.startswith("eager")]
    return {
        "batch": batch,
        "seconds": seconds,
        "ratios": {f"{side} against {peer}": seconds[peer] / seconds[side] for side in SIDES[:2] for peer in eager},
        "roofline": rooflines,
        "bytes": {side: _bytes(side, batch, options) for side in sides if side != SIDES[3]},
    }


def _time(seconds: float, device: torch.device) -> str:
    return f"{seconds:.3f} s" if device.type == "cpu" else f"{1000 * seconds:.3f} ms"


def _shown(sizes: list[dict[str, Any]], device: torch.device) -> str:
    head = ["rows", *SIDES, "times as fast", "bfloat16", "of the ceiling", "memory", "of eager", "1 /"]
    rows = []
    for size in sizes:
        seconds, ratios = size["seconds"], size["ratios"]
        eager = size["memory_ratio"] * size["bytes"]["ours"] / 1e9
        against = [f"{side} against eager" for side in SIDES[:2]]
        rows.append(
            [
                f"{size['batch']:,}",
                *(_time(seconds[side], device) if side in seconds else "-" for side in SIDES),
                *(f"{ratios[name]:.2f}" if name in ratios else "-" for name in against),
                f"{size['roofline']['ours']['share']:.0%}",
                f"{size['bytes']['ours'] / 1e6:.0f} MB",
                f"{eager:.1f} GB{' counted' if size['eager_bytes_are_counted'] else ''}",
                f"{size['memory_ratio']:.0f}",
            ]
        )
    return table(head, rows)


if __name__ == "__main__":
    main()
