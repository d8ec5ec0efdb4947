"""What must be the same on all ranks, and errors of one that all must have: nobody is left to wait for who gave up."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from twotower.distributed.ranks import Ranks

__all__ = ["agreed", "require_same"]

T = TypeVar("T")


def agreed(ranks: Ranks, work: Callable[[], T]) -> T:
    """What the work gives on this rank; if it fails on one, all ranks raise the error of the first that failed.

    Args:
        ranks: All of them.
        work: Speaks to no other rank.

    Raises:
        Exception: What the work raises on the first rank where it fails; as a `RuntimeError` where it is an error of somebody
            else's library.
    """
    if ranks.size == 1:
        return work()
    fault, found = None, None
    try:
        found = work()
    except Exception as error:
        fault = error
    if not any(ranks.lengths(int(fault is not None))):
        assert fault is None
        return found  # type: ignore[return-value]
    known = next(each for each in ranks.collect(None if fault is None else _known(fault)) if each is not None)
    raise _again(*known) from fault


def require_same(ranks: Ranks, what: str, *values: Tensor | int) -> None:
    """Make sure that something is the same on all ranks.

    Args:
        ranks: All of them.
        what: Names it in the error: ``the queries``.
        values: What is compared, by a checksum of dtypes, shapes and bits; tensors are on the CPU.

    Raises:
        ValueError: If it differs; on all ranks.
    """
    if ranks.size == 1:
        return
    check = 0
    for value in values:
        if isinstance(value, Tensor):
            check = zlib.crc32(f"{value.dtype} {list(value.shape)}".encode(), check)
            check = zlib.crc32(value.detach().contiguous().flatten().view(torch.uint8).numpy().data, check)
        else:
            check = zlib.crc32(str(value).encode(), check)
    checks = ranks.lengths(check)
    others = [rank for rank, each in enumerate(checks) if each != checks[0]]
    if others:
        raise ValueError(f"{what} must be the same on all ranks; rank {others[0]} has others than rank 0")


def _known(fault: Exception) -> tuple[type[Exception], str]:
    """The kind of error and its text, where another process has that kind for certain."""
    kind = type(fault)
    if kind.__module__ == "builtins" or kind.__module__.startswith("twotower."):
        return kind, str(fault)
    return RuntimeError, f"{kind.__name__}: {fault}"


def _again(kind: type[Exception], text: str) -> Exception:
    try:
        return kind(text)
    except TypeError:  # an error that wants more than a text
        return RuntimeError(f"{kind.__name__}: {text}")
