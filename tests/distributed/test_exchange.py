"""What ranks give each other, and errors that all of them have."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from tests.distributed.in_ranks import in_ranks
from torch import Tensor
from torch import distributed as dist

from twotower.distributed import ALONE, Ranks, agreed, columns_of_all, exchange, fetch_rows, require_same, spread_
from twotower.errors import DataError, RankLostError

LENGTHS = [2, 0, 3, 1]
"""Rows of a table of four parts."""
WANTED = [[0, 1, 1, 5], [], [3], [0, 2, 3, 4, 5]]


def _given(ranks: Ranks) -> dict[str, Any]:
    lengths = LENGTHS[: ranks.size]
    start = sum(lengths[: ranks.rank])
    own = torch.arange(start, start + lengths[ranks.rank], dtype=torch.float32)[:, None] * torch.tensor([1.0, 10.0])
    wanted = torch.tensor([row for row in WANTED[ranks.rank] if row < sum(lengths)], dtype=torch.int64)
    # to rank r go r rows, each of which says who sent it and to whom
    sent = torch.tensor([[ranks.rank, to] for to in range(ranks.size) for _ in range(to)], dtype=torch.int64).view(-1, 2)
    with torch.inference_mode():
        told = torch.full((2, 3), float(ranks.rank))
        spread_(ranks, told, ranks.size - 1)
    return {
        "told": told.tolist(),
        "nothing": spread_(ranks, torch.empty(0, 3), 0).shape,
        "exchanged": exchange(ranks, sent, range(ranks.size), [ranks.rank] * ranks.size).tolist(),
        "fetched": fetch_rows(ranks, own, lengths, wanted).tolist(),
        "columns": columns_of_all(ranks, 100 * ranks.rank + torch.arange(10).view(5, 2)).tolist(),
        "few": columns_of_all(ranks, torch.tensor([[ranks.rank]])).tolist(),
    }


@pytest.mark.parametrize("size", [1, 2, 4])
def test_what_ranks_give_each_other(size: int) -> None:
    rows = [[float(row), 10.0 * row] for row in range(sum(LENGTHS[:size]))]
    share = {1: [[0, 1, 2, 3, 4]], 2: [[0, 1, 2], [3, 4]], 4: [[0, 1], [2], [3], [4]]}[size]
    for rank, found in enumerate(in_ranks(_given, size)):
        assert found["told"] == [[float(size - 1)] * 3] * 2
        assert found["nothing"] == (0, 3)
        assert found["exchanged"] == [[source, rank] for source in range(size) for _ in range(rank)]
        assert found["fetched"] == [rows[row] for row in WANTED[rank] if row < len(rows)]
        assert found["columns"] == [
            [100 * source + 2 * row + column for source in range(size) for column in range(2)] for row in share[rank]
        ]
        assert found["few"] == ([list(range(size))] if rank == 0 else [])


def test_rows_that_are_not_there_are_not_fetched() -> None:
    own = torch.zeros(3, 2)
    for wanted in ([3], [-1], [2, 1]):
        with pytest.raises(ValueError, match=r"wanted rows must rise, and be in \[0, 3\)"):
            fetch_rows(ALONE, own, [3], torch.tensor(wanted))


class _OfThreeTexts(Exception):  # noqa: N818 - what a library that nobody else has may raise
    def __init__(self, one: str, two: str, three: str) -> None:
        super().__init__(one, two, three)


def _fails(kind: str) -> str:
    match kind:
        case "data":
            raise DataError("row 7 is NaN")
        case "strange":
            raise _OfThreeTexts("a", "b", "c")
        case "decoding":
            b"\xff".decode()
    return kind


CASES: list[tuple[list[str], tuple[str, str] | None]] = [
    (["well", "fine", "good"], None),
    (["well", "data", "good"], ("DataError", "row 7 is NaN")),
    (["well", "data", "strange"], ("DataError", "row 7 is NaN")),
    (["strange", "data", "data"], ("RuntimeError", "_OfThreeTexts: ('a', 'b', 'c')")),
    (["well", "fine", "decoding"], ("RuntimeError", "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff")),
]


def _agreed(ranks: Ranks) -> list[tuple[str, str]]:
    found = []
    for kinds, _ in CASES:
        try:
            found.append(("", agreed(ranks, partial(_fails, kinds[ranks.rank]))))
        except Exception as error:
            found.append((type(error).__name__, str(error)))
    return found


def test_an_error_of_one_is_the_error_of_all() -> None:
    for (kinds, expected), found in zip(CASES, zip(*in_ranks(_agreed, 3), strict=True), strict=True):
        if expected is None:
            assert list(found) == [("", kind) for kind in kinds]
        else:
            assert all(kind == expected[0] and text.startswith(expected[1]) for kind, text in found)
            assert len(set(found)) == 1


def test_alone_an_error_is_what_it_is() -> None:
    with pytest.raises(_OfThreeTexts):
        agreed(ALONE, lambda: _fails("strange"))
    assert agreed(ALONE, lambda: 3) == 3
    require_same(ALONE, "nothing", 3)


ROWS = torch.tensor([1, 2])
WHOLE: list[Any] = [torch.tensor([True, False]), torch.empty(0, 3), torch.tensor(2.5), 7]
OTHERS: list[Any] = [
    torch.tensor([1, 3]),
    torch.tensor([1, 2], dtype=torch.int32),
    torch.tensor([[1, 2]]),
    torch.tensor([1]),
    12,
]


def _same(ranks: Ranks) -> list[str]:
    found = []
    last = ranks.rank == ranks.size - 1
    for mine in (
        [each.clone() if isinstance(each, Tensor) else each for each in WHOLE],
        *([o if last else ROWS] for o in OTHERS),
    ):
        try:
            require_same(ranks, "the rows", *mine)
            found.append("")
        except ValueError as error:
            found.append(str(error))
    return found


def test_what_must_be_the_same() -> None:
    fault = "the rows must be the same on all ranks; rank 2 has others than rank 0"
    assert in_ranks(_same, 3) == [["", *[fault] * len(OTHERS)]] * 3


@pytest.mark.parametrize("said", ["spread", "exchanged"])
def test_a_rank_that_is_gone_is_called_so(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: Any, **__: Any) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(dist, "broadcast", closed)
    monkeypatch.setattr(dist, "all_to_all_single", closed)
    ways = {
        "spread": lambda: spread_(Ranks(0, 2), torch.zeros(3), 1),
        "exchanged": lambda: exchange(Ranks(0, 2), torch.zeros(2, 3), [1, 1], [1, 1]),
    }
    with pytest.raises(RankLostError, match=r"rank 0 of 2 has lost the others.*closed by peer"):
        ways[said]()
