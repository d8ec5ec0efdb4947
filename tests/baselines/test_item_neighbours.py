"""Item neighbours: against dense cosines and lists sorted by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from twotower.baselines import FitRows, fit_item_neighbours, item_neighbour_scores
from twotower.baselines.cooccurrences import cooccurrences
from twotower.types import Ragged

MakeWorld = Callable[..., Any]
SeenOf = Callable[[list[list[int]]], Ragged]


def oracle(matrix_UN: NDArray[np.float64], neighbours: int, shrinkage: float) -> list[list[tuple[int, float]]]:
    """The neighbours of each item: similar before dissimilar, then the lower row."""
    found = []
    num_items = matrix_UN.shape[1]
    for item in range(num_items):
        ranked = []
        for other in range(num_items):
            common = sum(1 for user in matrix_UN if user[item] and user[other])
            if other != item and common:
                norm = math.sqrt(matrix_UN[:, item].sum() * matrix_UN[:, other].sum())
                ranked.append((-common / (norm + shrinkage), other))
        found.append([(other, -negative) for negative, other in sorted(ranked)[:neighbours]])
    return found


@pytest.mark.parametrize(("neighbours", "shrinkage"), [(1, 0.0), (3, 0.0), (3, 5.0), (50, 2.0)])
@pytest.mark.parametrize("cells", [1, 30, 2**22])
def test_neighbours_and_scores(
    make_world: MakeWorld,
    seen_of: SeenOf,
    monkeypatch: pytest.MonkeyPatch,
    neighbours: int,
    shrinkage: float,
    cells: int,
) -> None:
    monkeypatch.setattr("twotower.baselines.item_neighbours._CELLS", cells)
    rows, matrix_UN = make_world(5)
    state = fit_item_neighbours(rows, neighbours=neighbours, shrinkage=shrinkage)
    wanted = oracle(matrix_UN, neighbours, shrinkage)
    for item in range(12):
        mine = slice(int(state.items.offsets[item]), int(state.items.offsets[item + 1]))
        assert state.items.values[mine].tolist() == [other for other, _ in wanted[item]]
        assert state.similarities[mine].tolist() == pytest.approx([similarity for _, similarity in wanted[item]])
    histories = [[3, 0, 1], [], [11], [2], list(range(12))]
    scores_BN = item_neighbour_scores(state, seen_of(histories))
    assert scores_BN.dtype == torch.float64
    for query, history in enumerate(histories):
        expected = np.zeros(12)
        for item in history:
            for other, similarity in wanted[item]:
                expected[other] += similarity
        assert scores_BN[query].numpy() == pytest.approx(expected)


def test_a_query_scores_the_same_in_any_company(make_world: MakeWorld, seen_of: SeenOf) -> None:
    state = fit_item_neighbours(make_world(6).rows, neighbours=4, shrinkage=1.0)
    together = item_neighbour_scores(state, seen_of([[1, 2], [5, 0, 3], [4]]))
    alone = torch.cat([item_neighbour_scores(state, seen_of([history])) for history in ([1, 2], [5, 0, 3], [4])])
    assert torch.equal(together, alone)


def test_shrinkage_takes_more_from_a_pair_of_few_users() -> None:
    """Items 1 and 0 share one user, items 2 and 0 nine."""
    users = [0, 0, *range(1, 10), *range(1, 10), 10]
    items = [1, 0, *[0] * 9, *[2] * 9, 2]
    rows = FitRows(torch.tensor(users), torch.tensor(items), num_users=11, num_items=3)
    plain, shrunk = (fit_item_neighbours(rows, neighbours=2, shrinkage=s) for s in (0.0, 10.0))
    assert plain.similarities[: int(plain.items.offsets[1])].tolist() == pytest.approx([9 / 10, 1 / math.sqrt(10)])
    assert shrunk.similarities[: int(shrunk.items.offsets[1])].tolist() == pytest.approx([9 / 20, 1 / (math.sqrt(10) + 10)])


def test_a_large_catalogue_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No block holds more cells than allowed, whatever N x N is."""
    largest: list[int] = []

    def watched(*arguments: Any, **options: Any) -> Any:
        for first, counts_BN in original(*arguments, **options):
            largest.append(counts_BN.numel())
            yield first, counts_BN

    original = cooccurrences
    monkeypatch.setattr("twotower.baselines.item_neighbours.cooccurrences", watched)
    monkeypatch.setattr("twotower.baselines.item_neighbours._CELLS", 2**16)
    rng = np.random.default_rng(0)
    rows = FitRows(
        torch.from_numpy(rng.integers(0, 500, 4_000)),
        torch.from_numpy(rng.integers(0, 3_000, 4_000)),
        num_users=500,
        num_items=3_000,
    )
    state = fit_item_neighbours(rows, neighbours=5, shrinkage=0.0)
    assert state.items.num_rows == 3_000
    assert max(largest) <= 2**16 < 3_000**2


def test_numbers_out_of_range(make_world: MakeWorld) -> None:
    for neighbours, shrinkage in ((0, 0.0), (1, -1.0), (1, math.nan)):
        with pytest.raises(ValueError, match=f"came {neighbours} and {shrinkage}"):
            fit_item_neighbours(make_world(0).rows, neighbours=neighbours, shrinkage=shrinkage)
