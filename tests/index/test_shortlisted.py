"""From any shortlist, however poor, to a result that keeps its promises."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twotower.index import ExactIndex
from twotower.index.shortlisted import search_shortlists
from twotower.types import Ragged

VECTORS = torch.arange(1000.0).unsqueeze(1)
EXACT = ExactIndex.build(VECTORS)
ONES = torch.ones(12, 1)


class Asked:
    """Gives the same rows to every query, and remembers how often it was asked and for how many more."""

    def __init__(self, *rows: int) -> None:
        self.rows = torch.tensor([rows], dtype=torch.int64)
        self.extras: list[int] = []
        self.num_queries = 0

    def __call__(self, queries_BD: Tensor, extra: int) -> Tensor:
        self.extras.append(extra)
        self.num_queries += len(queries_BD)
        return self.rows.expand(len(queries_BD), -1)


def search(
    asked: Asked, queries_BD: Tensor, k: int, excluded: Ragged | None = None, allowed: Tensor | None = None
) -> list[list[int]]:
    return search_shortlists(EXACT, asked, queries_BD, k, excluded, allowed, least_fraction=0.3).rows_BK.tolist()


@pytest.mark.parametrize("num_queries", [0, 1, 12])
def test_the_best_of_the_shortlist(num_queries: int) -> None:
    asked = Asked(3, 700, -1, 5)
    assert search(asked, ONES[:num_queries], 2) == [[700, 5]] * num_queries
    assert asked.num_queries == num_queries


@pytest.mark.parametrize("num_queries", [1, 12])
def test_a_shortlist_that_is_too_short_is_not_the_result(num_queries: int) -> None:
    asked = Asked(3, 700, -1)
    assert search(asked, ONES[:num_queries], 3) == [[999, 998, 997]] * num_queries
    assert asked.num_queries == num_queries


@pytest.mark.parametrize("num_queries", [1, 12])
def test_many_of_few_are_not_looked_for(num_queries: int) -> None:
    asked = Asked(*range(100))
    assert search(asked, ONES[:num_queries], 70)[0][0] == 999
    assert asked.num_queries == 0


@pytest.mark.parametrize(("num_queries", "fraction"), [(1, 0.059), (12, 0.059), (16, 0.299)])
def test_where_few_are_allowed_all_of_them_are_searched(num_queries: int, fraction: float) -> None:
    asked = Asked(3, 5)
    for count in (int(1000 * fraction), int(1000 * fraction) + 2):
        found = search(asked, torch.ones(num_queries, 1), 1, allowed=torch.arange(1000) < count)
        if count < 1000 * fraction + 1:
            assert found == [[count - 1]] * num_queries
            assert asked.num_queries == 0
    assert found == [[5]] * num_queries
    assert asked.num_queries == num_queries


@pytest.mark.parametrize("num_queries", [1, 12])
def test_what_is_not_allowed_is_left_out(num_queries: int) -> None:
    asked = Asked(3, 700, 5, 2)
    allowed = torch.arange(1000) < 500
    assert search(asked, ONES[:num_queries], 2, allowed=allowed) == [[5, 3]] * num_queries
    assert asked.num_queries == num_queries


def test_as_many_more_as_are_excluded_are_looked_for() -> None:
    asked = Asked(3, 700, 5, 2, 9)
    lengths = [0, 1, 16, 17, 33, 0, 2, 3, 5, 6, 40, 900]
    excluded = Ragged(torch.cat([700 - torch.arange(length) if length < 50 else torch.arange(length) for length in lengths]),
                      torch.tensor([0, *lengths]).cumsum(0))  # fmt: skip
    found = search(asked, ONES, 1, excluded)
    # 33 and more are 64 more, too many among a thousand
    assert found == [[700], [9], [9], [9], [999], [700], [9], [9], [9], [9], [999], [999]]
    assert set(asked.extras) == {0, 16, 32}
    assert asked.num_queries == 9
    alone = Asked(3, 700)
    assert search(alone, ONES[:1], 1, excluded.take(torch.tensor([3]))) == [[3]]
    assert alone.extras == [32]
