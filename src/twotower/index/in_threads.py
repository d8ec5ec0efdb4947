"""Work on parts of a batch, each part in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["in_threads", "shared_out"]

Part = TypeVar("Part")
Result = TypeVar("Result")


def shared_out(numbers: Tensor, at_most: int, at_least: int) -> list[Tensor]:
    """Cut numbers (``[n]``) into parts for `in_threads`.

    Args:
        numbers: What is cut; order stays.
        at_most: How long a part may be.
        at_least: How many numbers a thread should have; with fewer, there are as few parts as ``at_most`` allows.

    Returns:
        Parts of about the same length, as many as threads of torch or a multiple; none where there are no numbers.
    """
    if len(numbers) == 0:
        return []
    threads = torch.get_num_threads()
    parts = -(-len(numbers) // at_most)
    if threads > 1 and len(numbers) >= at_least * threads:
        parts = -(-parts // threads) * threads
    return list(torch.split(numbers, -(-len(numbers) // parts)))


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part]) -> list[Result]:
    """Results of the parts, in order; where there are as many parts as torch has threads, each part is worked on by one thread.

    What numpy and Python do for a part so runs beside that of others, which the threads of torch alone don't bring about. The
    threads are new and end with the call; the number of threads of the caller is what it was.

    Raises:
        Exception: What the work raises.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(parts) < threads:
        return [work(part) for part in parts]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, parts))
    finally:
        # a thread's number is its own, but the last one set is also that of threads to come
        torch.set_num_threads(threads)
