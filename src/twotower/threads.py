"""Work in parts, each in a thread of its own that shares none of its operations out.

torch shares out every operation among its threads, which meet after each. Of many small operations the meetings cost more than
the work, and where another process takes a core away for a moment, all wait for the one that stands still: a loss of a thousand
tiles became forty times as slow. Parts meet once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock

import torch

__all__ = ["side_by_side"]

_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_lock = Lock()


def side_by_side(work: Callable[[int], None], parts: int) -> None:
    """Do all parts of a work, side by side, and wait for them.

    Grad mode is off in every part, and inference mode as it is for the caller.

    Args:
        work: Called with 0 to ``parts - 1``, each in a thread in which torch's operations are not shared out; a single part in
            the caller's, where they are.
        parts: How many; mostly ``torch.get_num_threads()``.

    Raises:
        Exception: What a part raised, the first one in their order, when all have ended.

    Example:
        >>> found = [0, 0]
        >>> side_by_side(lambda part: found.__setitem__(part, torch.get_num_threads()), 2)
        >>> found
        [1, 1]
    """
    if parts == 1:
        with torch.no_grad():
            work(0)
        return
    inference = torch.is_inference_mode_enabled()

    def alone(part: int) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            work(part)

    futures = [_pool(parts).submit(alone, part) for part in range(parts)]
    faults = [future.exception() for future in futures]
    for fault in faults:
        if fault is not None:
            raise fault


def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads of this process; those of the process that it was forked from are not there."""
    key = (os.getpid(), threads)
    with _lock:
        if key not in _pools:
            before = torch.get_num_threads()
            pool = ThreadPoolExecutor(threads, thread_name_prefix="part", initializer=torch.set_num_threads, initargs=(1,))
            barrier = Barrier(threads)
            list(pool.map(lambda _: barrier.wait(), range(threads)))  # so that all of them are there
            torch.set_num_threads(before)  # a thread that starts later takes over what was set last, in whatever thread
            _pools[key] = pool
        return _pools[key]
