"""FAISS, of the extra ``ann``: the one file that imports it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twotower.errors import MissingExtraError

__all__ = ["faiss_library", "faiss_threads"]


def faiss_library() -> Any:
    """The module ``faiss``.

    It brings an OpenMP of its own, whose threads are not torch's. To load it changes neither's settings.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        return importlib.import_module("faiss")
    except ModuleNotFoundError as fault:
        if fault.name != "faiss":
            raise
        raise MissingExtraError("approximate indexes need the library faiss: pip install 'twotower[ann]'") from None


@contextmanager
def faiss_threads(faiss: Any, threads: int) -> Iterator[None]:
    """Let calls of FAISS from this thread use so many threads, until the end of the block; other threads keep their number.

    Args:
        faiss: The module.
        threads: At least 1. With 1, FAISS starts none, and what it does is the same every time.

    Raises:
        ValueError: If threads is not positive.
    """
    if threads < 1:
        raise ValueError(f"num_threads must be positive (came: {threads})")
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
