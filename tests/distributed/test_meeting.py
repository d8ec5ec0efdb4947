"""How long ranks wait for one that has not come yet, and for one that is busy."""

from __future__ import annotations

import importlib
import os
import socket
import time
from datetime import timedelta

import pytest
import torch
from tests.distributed.in_ranks import in_ranks

from twotower.distributed import Launch, Ranks, opened_ranks
from twotower.errors import RankLostError

MODULE = "twotower.distributed.launch"  # a function of the package has the same name
MEETING_S = 2


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
    said = f"rank {rank} of 2 has not met the others at localhost:{port} \\(MASTER_ADDR, MASTER_PORT\\) within"
    with pytest.raises(RankLostError, match=said), opened_ranks(Launch.of(os.environ), torch.device("cpu")):
        pass


def _busy(ranks: Ranks, port: str) -> tuple[int, str]:
    torch.distributed.destroy_process_group()
    module = importlib.import_module(MODULE)
    module._MEETING = timedelta(seconds=MEETING_S)  # type: ignore[attr-defined]
    os.environ.update({**variables(port, ranks.rank), "TORCHELASTIC_RUN_ID": "a7"})
    with opened_ranks(Launch.of(os.environ), torch.device("cpu")) as opened:
        if opened.first:
            time.sleep(2 * MEETING_S + 1)
        found = sum(opened.collect(1)), opened.launch
    torch.distributed.init_process_group("gloo", rank=ranks.rank, world_size=2)
    return found


def test_a_rank_that_is_busy_is_waited_for_longer() -> None:
    assert in_ranks(_busy, 2, free_port()) == [(2, "a7")] * 2
