"""What this machine can do: measured in half a minute, for `twotower.planning`."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from twotower.errors import TwotowerError
from twotower.optim import RowwiseAdagrad
from twotower.planning import Device
from twotower.runs.hardware import hardware

__all__ = ["measure_machine"]

_WIDTH, _ROWS, _IDS = 64, 2**19, 2**15
_TIMEOUT_S = 300.0


def measure_machine() -> Device:
    """Measure products, memory, updates of rows, and gloo between two processes of this machine, one thread each.

    Every figure is the best of seven, as ceilings are, of one thread: a rank is thought of as one core. Beside other work even
    the best is too low. What can't be measured here (the network to another machine) is taken to be 10 Gb/s, and said so in
    ``source``.

    Raises:
        TwotowerError: If the two processes do not answer.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = _alone()
    finally:
        torch.set_num_threads(threads)
    latency, per_byte, group = _between()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Device(
        name=platform.node() or "here",
        source=f"measured on {hardware(torch.device('cpu'))['cpu']}, {cores} cores, one thread a rank, gloo over its loopback; "
        "the network between machines is assumed (10 Gb/s)",
        memory_bytes=memory / cores,
        is_host=True,
        host_memory_bytes=memory / cores,
        memory_bytes_per_s=found["copied"],
        random_access=min(1.0, found["rows"] / found["copied"]),
        float32_per_s=found["square"],
        bfloat16_per_s=found["square"],
        product_share=min(1.0, found["narrow"] / found["square"]),
        ranks_per_node=cores,
        link_bytes_per_s=1 / per_byte,
        link_latency_s=latency,
        network_bytes_per_s=1.25e9 / cores,
        network_latency_s=max(latency, 1e-4),
        wire_share=1.0,
        messages_at_once=1,
        feed_bytes_per_s=found["feed"],
        feed_rows_per_s=found["distinct"],
        step_s=found["call"] * _CALLS,
        process_bytes=float(resident_bytes()) + _LATER_BYTES,
        group_bytes=float(group),
        sharding_bytes=_SHARDING_BYTES,
    )


_CALLS = 300
"""Operations of a step, each of which costs a call beside its work (counted in a step of a recipe with eight features)."""


_LATER_BYTES, _SHARDING_BYTES = 80e6, 120e6
"""What a training imports later than this: readers, optimisers, the bundle (seen); and TorchRec (seen)."""


def resident_bytes() -> int:
    """What this process has in memory now; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _best(work: Callable[[], object], repeats: int = 7) -> float:
    """Seconds."""
    work()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def _alone() -> dict[str, float]:
    """Bytes, products and rows a second of one thread."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = 1024
        square = torch.rand(size, size)
        batch, layer = torch.rand(2048, _WIDTH), torch.rand(_WIDTH, _WIDTH)
        numbers, copy = torch.ones(2**25), torch.empty(2**25)
        table = torch.nn.Parameter(torch.rand(_ROWS, _WIDTH))
        ids = torch.randint(_ROWS, (_IDS,))
        column = torch.arange(2**24, dtype=torch.int32)
        places = torch.randint(2**24, (2**18,))
    out, narrow, one = torch.empty(size, size), torch.empty(2048, _WIDTH), torch.ones(8)
    optimizer = RowwiseAdagrad([table], lr=0.01)
    gradient = torch.ones(_IDS, _WIDTH)

    def update() -> None:
        table.grad = torch.sparse_coo_tensor(ids[None], gradient, table.shape, check_invariants=False)
        optimizer.step()

    looked = _best(lambda: table.detach().index_select(0, ids))
    updated = _best(update)
    # of lookups: read and written; of updates: the gradient read, weights read and written
    row_bytes = 4 * _WIDTH * _IDS
    return {
        "square": 2 * size**3 / _best(lambda: torch.mm(square, square, out=out)),
        "narrow": 2 * 2048 * _WIDTH * _WIDTH / _best(lambda: torch.mm(batch, layer, out=narrow)),
        "copied": 2 * numbers.nbytes / _best(lambda: copy.copy_(numbers)),
        "rows": (2 + 3) * row_bytes / (looked + updated),
        "feed": 4 * len(places) / _best(lambda: column.index_select(0, places)),
        "distinct": len(places) / _best(lambda: torch.unique(places)),
        "call": _best(lambda: one.add_(1.0), 101),
    }


def _between() -> tuple[float, float, float]:
    """Seconds of a message, seconds of a byte, and bytes that a group adds to a process: of two gloo processes."""
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{Path(folder) / 'store'}"
        children = [context.Process(target=_rank, args=(rank, store, answers), daemon=True) for rank in range(2)]
        for child in children:
            child.start()
        until = time.monotonic() + _TIMEOUT_S
        try:
            while answers.empty():
                if time.monotonic() > until or any(child.exitcode for child in children):
                    raise TwotowerError("two gloo processes of this machine did not answer each other; is the loopback there?")
                time.sleep(0.05)
            found: tuple[float, float, float] = answers.get()
            for child in children:
                child.join(10)
        finally:
            for child in children:
                child.kill()
                child.join()
    return found


def _rank(rank: int, store: str, answers: Any) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    before = resident_bytes()
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    small, large = torch.zeros(2), torch.zeros(2**21)
    received = torch.zeros(2**21)
    # a reduction over two ranks is two messages, one after the other, and each byte passes once
    latency = _best(lambda: dist.all_reduce(small), 51) / 2
    group = max(0, resident_bytes() - before - 3 * large.nbytes)
    reduced = _best(lambda: dist.all_reduce(large))
    exchanged = _best(lambda: dist.all_to_all_single(received, large))
    # of an exchange half of what a rank has stays with it
    per_byte = statistics.mean([reduced / large.nbytes, exchanged / (large.nbytes / 2)])
    if rank == 0:
        answers.put((latency, per_byte, group))
    dist.barrier()
    dist.destroy_process_group()
