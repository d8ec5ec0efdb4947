"""Compiled kernels, loaded once in a process."""

from __future__ import annotations

import ctypes
import functools
import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from twotower.cache_root import cache_root
from twotower.native.compiler import NotCompiledError, compile_library, library_name

__all__ = ["NativeStatus", "kernel_names", "native_library", "native_status"]


_one_at_a_time = RLock()


@dataclass(frozen=True)
class NativeStatus:
    """Whether a kernel is there.

    Attributes:
        available: Whether it is.
        detail: The library's file, or why there is none.
    """

    available: bool
    detail: str


def kernel_names() -> list[str]:
    """Of every kernel that there is a source of."""
    return sorted(path.stem for path in Path(__file__).resolve().parent.glob("*.c"))


def native_library(name: str) -> ctypes.CDLL | None:
    """A kernel's library, compiled by the first process that needs it and kept in the cache folder.

    Calls of its functions let other threads of Python run. The kernels work on memory that the caller owns, and check nothing.

    Args:
        name: Of the source, ``<name>.c`` in this room.

    Returns:
        None where there is none, of which a warning tells once, and what to do: then the caller does the work without it. Also
        None, without a warning, where the environment says ``TWOTOWER_NATIVE=0``.
    """
    return _opened(name, _wanted())[0]


def native_status(name: str) -> NativeStatus:
    """As `native_library`, in words; nothing is warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library, detail = _opened(name, _wanted())
    return NativeStatus(library is not None, detail)


def _wanted() -> bool:
    return os.environ.get("TWOTOWER_NATIVE", "").strip() != "0"


def _opened(name: str, wanted: bool) -> tuple[ctypes.CDLL | None, str]:
    with _one_at_a_time:
        return _opened_once(name, wanted)


@functools.cache
def _opened_once(name: str, wanted: bool) -> tuple[ctypes.CDLL | None, str]:
    if not wanted:
        return None, "TWOTOWER_NATIVE=0"
    try:
        path = cache_root() / "native" / library_name(name)
        was_there = path.exists()
        if not was_there:
            compile_library(name, path)
        _require_ours(path)
        try:
            return ctypes.CDLL(str(path)), str(path)
        except OSError:
            if not was_there:
                raise
        compile_library(name, path)  # an old one, of another system's libraries
        return ctypes.CDLL(str(path)), str(path)
    except (NotCompiledError, OSError, RuntimeError) as fault:  # the last: a user without a home
        warnings.warn(
            f"twotower works without its kernel {name!r}, and slower: {fault}. Install a C compiler, or say that this is as it "
            "should be with the environment variable TWOTOWER_NATIVE=0",
            RuntimeWarning,
            stacklevel=4,
        )
        return None, str(fault)


def _require_ours(path: Path) -> None:
    """A library that another user could have written is not loaded."""
    if os.name != "posix":
        return
    for each in (path, path.parent):
        found = each.stat()
        if found.st_uid not in (os.getuid(), 0) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise NotCompiledError(f"{each} belongs to, or can be written by, another user: remove it, or set TWOTOWER_CACHE")
