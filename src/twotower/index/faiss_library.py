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

    To load it changes no setting. Whether its OpenMP is that of torch depends on how both were packaged and which came first:
    where it is, a number of threads set for one is set for the other, so that it is set in `faiss_threads` only.

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
