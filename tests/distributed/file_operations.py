"""Something that happens at the n-th thing that a block does to files: a process that dies there, a disk that is full."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["at_operation"]

_NAMES = {"open", "write", "fsync", "replace", "rename", "unlink", "rmdir", "mkdir"}


@contextmanager
def at_operation(number: int, happens: Callable[[], None]) -> Iterator[list[str]]:
    """Call something before the ``number``-th operation on files of this thread, the first being 0; yields those so far."""
    seen: list[str] = []

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and getattr(called, "__name__", "") in _NAMES:
            seen.append(called.__name__)
            if len(seen) == number + 1:
                sys.setprofile(None)
                happens()

    sys.setprofile(watch)
    try:
        yield seen
    finally:
        sys.setprofile(None)
