"""Run a function of a test in several processes that form a process group."""

from __future__ import annotations

import multiprocessing
import os
import queue
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist

from twotower.distributed import Ranks

__all__ = ["in_ranks", "preload"]

_MODULES = [
    "torch",
    "torch.distributed",
    "torch.distributed.checkpoint",
    "twotower.models",
    "twotower.training",
    "twotower.data",
    "twotower.runs",
]


def preload(module: str) -> None:
    """Let processes be forked from one that has imported a module too. Called when a test module is imported.

    What takes seconds to import is so imported once, and not at all where none of the tests that need it was asked for.
    """
    if module not in _MODULES:
        _MODULES.append(module)


def in_ranks(function: Callable[..., Any], size: int, *args: Any, timeout_s: float = 120) -> list[Any]:
    """What ``function(ranks, *args)`` gives on each of ``size`` gloo ranks, by rank.

    Args:
        function: Of a module that can be imported, as are the arguments.
        size: How many processes.
        args: The same for all.
        timeout_s: After which all are killed.

    Raises:
        AssertionError: If one fails, dies or does not end, with its traceback.
    """
    context = _context()
    answers: Any = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        children = [
            context.Process(target=_child, args=(function, rank, size, str(store), answers, args))  # type: ignore[attr-defined]
            for rank in range(size)
        ]
        for child in children:
            child.start()
        try:
            _await(children, answers, size, timeout_s)
            return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(size)]
        finally:
            for child in children:
                child.kill()
                child.join()


def _context() -> BaseContext:
    """Processes are forked from one that has imported everything and has no threads yet."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_MODULES)
    return context


def _await(children: list[Any], answers: Any, size: int, timeout_s: float) -> None:
    found: set[int] = set()
    until = time.monotonic() + timeout_s
    while len(found) < size:
        try:
            rank, fault = answers.get(timeout=0.2)
        except queue.Empty:
            dead = [rank for rank, child in enumerate(children) if rank not in found and child.exitcode not in (None, 0)]
            if dead:
                raise AssertionError(f"ranks {dead} died: {[children[rank].exitcode for rank in dead]}") from None
            if time.monotonic() > until:
                raise AssertionError(f"ranks {sorted(set(range(size)) - set(found))} did not end in {timeout_s} s") from None
            continue
        if fault:
            raise AssertionError(f"rank {rank}:\n{fault}")
        found.add(rank)


def _child(function: Callable[..., Any], rank: int, size: int, store: str, answers: Any, args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    try:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
        value = function(Ranks.of(), *args)
        dist.barrier()
        torch.save(value, Path(store).parent / f"{rank}.pt")
        answers.put((rank, None))
        dist.destroy_process_group()
    except BaseException:
        answers.put((rank, traceback.format_exc()))
        raise
