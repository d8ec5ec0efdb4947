"""Collectives: what all ranks have, and the gradient of what was gathered."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from tests.distributed.in_ranks import in_ranks
from torch import distributed as dist

from twotower.distributed import ALONE, Launch, Ranks, opened_ranks, share_of, share_sizes, speaking
from twotower.errors import RankLostError


def _everything(ranks: Ranks) -> dict[str, Any]:
    part = torch.arange(float(ranks.rank * 3)).reshape(ranks.rank, 3).requires_grad_()
    gathered = ranks.gather(part)
    (gathered * (ranks.rank + 1)).sum().backward()  # type: ignore[no-untyped-call]
    return {
        "gathered": gathered.detach().tolist(),
        "grad": [] if part.grad is None else part.grad.tolist(),
        "sum": ranks.sum_(torch.tensor([1.0, ranks.rank])).tolist(),
        "told": ranks.tell("first" if ranks.first else None),
        "collected": ranks.collect(ranks.rank * 10),
        "lengths": ranks.lengths(ranks.rank + 5),
        "share": list(ranks.share(7)),
    }


@pytest.mark.parametrize("size", [2, 3])
def test_what_ranks_say_to_each_other(size: int) -> None:
    found = in_ranks(_everything, size)
    rows = [row for rank in range(size) for row in torch.arange(float(rank * 3)).reshape(rank, 3).tolist()]
    weight = float(sum(range(1, size + 1)))
    for rank, of in enumerate(found):
        assert of["gathered"] == rows
        assert of["grad"] == [[weight] * 3] * rank
        assert of["sum"] == [float(size), float(sum(range(size)))]
        assert of["told"] == "first"
        assert of["collected"] == [10 * each for each in range(size)]
        assert of["lengths"] == [5 + each for each in range(size)]
        assert of["share"] == list(share_of(7, rank, size))
    assert [row for of in found for row in of["share"]] == list(range(7))


def test_alone_nothing_is_said() -> None:
    part = torch.ones(2, 3)
    assert ALONE.gather(part) is part
    assert ALONE.sum_(part) is part
    assert (ALONE.tell(3), ALONE.collect(3), ALONE.lengths(3), ALONE.first) == (3, [3], [3], True)
    ALONE.wait()


@pytest.mark.parametrize(("total", "size"), [(0, 3), (2, 4), (10, 4), (12, 4), (7, 1)])
def test_shares_cover_everything_once(total: int, size: int) -> None:
    shares = [share_of(total, rank, size) for rank in range(size)]
    assert [place for share in shares for place in share] == list(range(total))
    assert share_sizes(total, size) == [len(share) for share in shares]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("total", "rank", "size"), [(-1, 0, 1), (3, 2, 2), (3, -1, 2)])
def test_a_share_of_nobody(total: int, rank: int, size: int) -> None:
    with pytest.raises(ValueError, match="a share is that of one of"):
        share_of(total, rank, size)


def _fails(ranks: Ranks) -> None:
    if ranks.rank == 1:
        raise ValueError("on purpose")


def test_a_failing_rank_fails_the_test() -> None:
    with pytest.raises(AssertionError, match="on purpose"):
        in_ranks(_fails, 2)


def test_who_is_alone_at_the_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rank 0 could not write the result, say, when the others were done."""

    def closed(*_: object, **__: object) -> None:
        raise RuntimeError("Connection closed by peer")

    module = importlib.import_module("twotower.distributed.launch")  # the function has the same name
    monkeypatch.setattr(module, "rendezvous", lambda *_, **__: iter([(dist.HashStore(), 1, 2)]))  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "meet", lambda *_: None)
    monkeypatch.setattr(Ranks, "collect", lambda _, value: [value])
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(module, "_set_pg_timeout", lambda *_: None)
    monkeypatch.setattr(dist, "barrier", closed)
    monkeypatch.setattr(Ranks, "of", lambda: Ranks(1, 2))
    with pytest.raises(RankLostError, match="rank 1 of 2 has lost the others"), opened_ranks(Launch(1, 2), torch.device("cpu")):
        pass


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error"), True),
        (RuntimeError("Connection closed by peer"), True),
        (dist.DistBackendError("unhandled system error"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"), False),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
    ],
)
def test_among_other_work_only_a_lost_connection_is_called_so(error: RuntimeError, lost: bool) -> None:
    with pytest.raises(RankLostError if lost else RuntimeError) as found, speaking(Ranks(1, 2), among_others=True):
        raise error
    assert (found.value is error) != lost
    with pytest.raises(RankLostError), speaking(Ranks(1, 2)):
        raise error
    with pytest.raises(RuntimeError), speaking(Ranks()):
        raise error
