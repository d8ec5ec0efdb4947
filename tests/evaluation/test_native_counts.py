"""Counts by the kernel against counts written out."""

from __future__ import annotations

import pytest
import torch

from twotower.evaluation.native_counts import NativeCounts
from twotower.native import native_status
from twotower.types import Ragged

pytestmark = pytest.mark.skipif(not native_status("count").available, reason="there is no C compiler")


def opened(rows: int, num_items: int, dim: int) -> tuple[NativeCounts, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows + num_items + dim)
    # small whole numbers: float32 sums them exactly
    queries, items = (torch.randint(-3, 4, (count, dim), generator=generator).float() for count in (rows, num_items))
    counts = NativeCounts.open(queries, items)
    assert counts is not None
    return counts, queries @ items.T


def sorted_pairs(*columns: torch.Tensor) -> list[tuple[int, ...]]:
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dim", [1, 7, 16, 33])
@pytest.mark.parametrize(("rows", "num_items"), [(0, 5), (1, 1), (3, 47), (8, 48), (21, 49), (50, 300)])
def test_above_and_near(rows: int, num_items: int, dim: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twotower.evaluation.native_counts._parts", lambda _: threads)
    monkeypatch.setattr("twotower.evaluation.native_counts._NEAR_LEAST", 10**5)
    counts, scores_BN = opened(rows, num_items, dim)
    generator = torch.Generator().manual_seed(1)
    queries = torch.randint(0, max(1, rows), (2 * rows,), generator=generator).sort().values  # none, one or several of each
    low = torch.randint(-5, 6, (len(queries),), generator=generator).float()
    high = low + torch.randint(0, 3, (len(queries),), generator=generator)
    found = counts.above(queries, high, low)
    assert found is not None
    rivals_PN = scores_BN[queries]
    assert found[0].tolist() == (rivals_PN > high[:, None]).sum(1).tolist()
    near = ((rivals_PN >= low[:, None]) & (rivals_PN <= high[:, None])).nonzero()
    assert sorted_pairs(found[1], found[2]) == sorted_pairs(*near.T)

    shuffled = torch.randperm(len(queries), generator=generator)
    lists = Ragged(*_lists(rows, num_items, generator))
    listed = counts.listed(queries[shuffled], lists, high[shuffled], low[shuffled])
    assert listed is not None
    over, pairs = [], []
    for place, number in enumerate(shuffled.tolist()):
        mine = lists.take(queries[number : number + 1]).values.tolist()
        mine_scores = [float(scores_BN[queries[number], item]) for item in mine]
        over.append(sum(score > high[number] for score in mine_scores))
        pairs += [(place, item) for item, score in zip(mine, mine_scores, strict=True) if low[number] <= score <= high[number]]
    assert listed[0].tolist() == [int(count) for count in over]
    assert sorted_pairs(listed[1], listed[2]) == sorted(pairs)


def _lists(rows: int, num_items: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.randint(0, 6, (rows,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return torch.randint(0, num_items, (int(offsets[-1]),), generator=generator).int(), offsets


def test_pairs() -> None:
    counts, scores_BN = opened(9, 30, 5)
    queries, items = torch.arange(9).repeat_interleave(30), torch.arange(30).repeat(9)
    above, near = counts.pairs(queries, items, torch.zeros(270), torch.linspace(0, 4, 9))
    margins = torch.linspace(0, 4, 9)[:, None]
    assert torch.equal(above.view(9, 30), scores_BN > margins)
    assert torch.equal(near.view(9, 30), scores_BN.abs() <= margins)


def test_too_many_near_ones_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, _ = opened(9, 30, 5)
    monkeypatch.setattr("twotower.evaluation.native_counts._NEAR_LEAST", 1)
    wide = torch.full((9,), 1e9)
    assert counts.above(torch.arange(9), wide, -wide) is None
    assert counts.listed(torch.arange(9), Ragged(torch.arange(30), torch.arange(10) * 3), wide, -wide) is not None
    many = Ragged(torch.arange(30).repeat(9), torch.arange(10) * 30)
    assert counts.listed(torch.arange(9), many, wide, -wide) is None


@pytest.mark.parametrize(("query", "item"), [(9, 0), (-1, 0), (0, 30), (0, -1)])
def test_what_is_not_there(query: int, item: int) -> None:
    counts, _ = opened(9, 30, 5)
    one = torch.zeros(1)
    with pytest.raises(IndexError, match=f"query {query} and item {item}"):
        counts.pairs(torch.tensor([query]), torch.tensor([item]), one, torch.zeros(9))
    with pytest.raises(IndexError, match=r"not in \[0, 30\), or a query not in \[0, 9\)"):
        counts.listed(torch.tensor([query]), Ragged(torch.full((9,), item), torch.arange(10)), one, one)
