"""How long ranks wait for one that has not come yet, and for one that is busy."""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import torch
from tests.distributed.in_ranks import in_ranks
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from twotower.distributed import Launch, Ranks, opened_ranks
from twotower.errors import NotMetError

MODULE = "twotower.distributed.launch"  # a function of the package has the same name
MEETING_S = 5


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return str(found.getsockname()[1])


def variables(port: str, rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_never_comes_is_not_waited_for_without_end(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module(MODULE), "_MEETING", timedelta(seconds=MEETING_S))
    port = free_port()
    for name, value in variables(port, rank).items():
        monkeypatch.setenv(name, value)
    said = rf"rank {rank} of 2 has not met the others at localhost:{port} \(MASTER_ADDR, MASTER_PORT\): .*; start all of them"
    with pytest.raises(NotMetError, match=said), opened_ranks(Launch.of(os.environ), torch.device("cpu")):
        pass


@contextmanager
def _anew(ranks: Ranks, port: str, **environment: str) -> Iterator[Ranks]:
    """Ranks that meet as the command's do, in place of the test's own."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.update({**variables(port, ranks.rank), **environment})
    with opened_ranks(Launch.of(os.environ), torch.device("cpu")) as opened:
        yield opened


def _as_before(ranks: Ranks) -> None:
    """`in_ranks` closes with a barrier."""
    torch.distributed.init_process_group("gloo", rank=ranks.rank, world_size=2)


def _busy(ranks: Ranks, port: str) -> int:
    module = importlib.import_module(MODULE)
    module._MEETING = timedelta(seconds=MEETING_S)  # type: ignore[attr-defined]
    with _anew(ranks, port) as opened:
        if opened.first:
            time.sleep(2 * MEETING_S + 1)
        found = sum(opened.collect(1))
    _as_before(ranks)
    return found


def test_a_rank_that_is_busy_is_waited_for_longer() -> None:
    assert in_ranks(_busy, 2, free_port()) == [2, 2]


def _again(ranks: Ranks, port: str) -> list[tuple[int, list[int]]]:
    """Of the agents of two machines each counts its own restarts, and they keep the store in which the others had met."""
    counts = [(0, 0), (1, 0), (1, 1), (2, 1)]
    found = []
    for count in counts:
        told = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": str(count[ranks.rank])}
        with _anew(ranks, port, **told) as opened:
            found.append((opened.restarts, opened.collect(opened.rank)))
    _as_before(ranks)
    return found


def test_ranks_whose_agents_have_counted_differently_meet() -> None:
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    for found in in_ranks(_again, 2, str(store.port)):
        assert found == [(most, [0, 1]) for most in (0, 1, 1, 2)]
