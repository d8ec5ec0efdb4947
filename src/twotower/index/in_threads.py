"""Work on parts of a batch, each part in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from twotower.threads import side_by_side

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
    """Results of the parts, in order; where there are as many parts as torch has threads, each part is worked on by one thread,
    and a thread that is done takes the next.

    What numpy and Python do for a part so runs beside that of others, which the threads of torch alone don't bring about.

    Raises:
        Exception: What the work raises.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(parts) < threads:
        return [work(part) for part in parts]
    results: list[Result | None] = [None] * len(parts)
    places = iter(range(len(parts)))

    def of_thread(_: int) -> None:
        for place in places:
            results[place] = work(parts[place])

    side_by_side(of_thread, threads)
    return cast("list[Result]", results)
