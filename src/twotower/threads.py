"""Work in parts, each in a thread of its own that shares none of its operations out.

torch shares out every operation among its threads, which meet after each. Of many small operations the meetings cost more than
the work, and where another process takes a core away for a moment, all wait for the one that stands still: a loss of a thousand
tiles became forty times as slow. Parts meet once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Barrier, Lock, local

import torch
from torch import get_num_threads, set_num_threads

__all__ = ["side_by_side"]

_pools: dict[int, tuple[int, ThreadPoolExecutor]] = {}
_lock = Lock()
_here = local()


def side_by_side(work: Callable[[int], None], parts: int) -> None:
    """Do all parts of a work, side by side, and wait for them.

    Grad mode is off in every part, and inference mode as it is for the caller. Called from within a part, or while the
    interpreter ends, it does one part after the other.

    Args:
        work: Called with 0 to ``parts - 1``, each in a thread in which torch's operations are not shared out; a single part in
            the caller's, where they are.
        parts: How many; at most ``torch.get_num_threads()`` of them make sense.

    Raises:
        Exception: What a part raised, the first one in their order, when all have ended.

    Example:
        >>> found = [0, 0]
        >>> side_by_side(lambda part: found.__setitem__(part, torch.get_num_threads()), 2)
        >>> found
        [1, 1]
    """
    inference = torch.is_inference_mode_enabled()

    def alone(part: int) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            work(part)

    if parts == 1 or getattr(_here, "is_part", False):
        for part in range(parts):
            alone(part)
        return
    futures: list[Future[None]] = []
    try:
        pool = _pool(parts)
        futures.extend(pool.submit(alone, part) for part in range(parts))
    except RuntimeError:  # no new threads while the interpreter ends
        for part in range(len(futures), parts):
            alone(part)
    wait(futures)
    for future in futures:
        future.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads of this process, as many as were ever asked for; those of the process it was forked from are not there."""
    with _lock:
        size, pool = _pools.get(os.getpid(), (0, None))
        if pool is None or size < threads:
            if pool is not None:
                pool.shutdown(wait=False)
            before = get_num_threads()
            pool = ThreadPoolExecutor(threads, thread_name_prefix="part", initializer=_begin)
            barrier = Barrier(threads)
            list(pool.map(lambda _: barrier.wait(timeout=60), range(threads)))  # so that all of them are there
            set_num_threads(before)  # a thread that starts later takes over what was set last, in whatever thread
            _pools[os.getpid()] = threads, pool
        return pool


def _begin() -> None:
    _here.is_part = True
    get_num_threads()  # the first look takes the process's number over, and would do so after what is set here
    set_num_threads(1)
