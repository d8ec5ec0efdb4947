"""The oracle, against simulation and against plain enumeration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.datasets.livestream.oracle import OracleScorer
from twotower.datasets.livestream.shape import ViewerClass, WorldShape
from twotower.datasets.livestream.watches import World
from twotower.evaluation import Scorer
from twotower.types import Ragged

Seen = Callable[[Tensor], Ragged]
FOREVER = (1e6, 2e6)


def nothing(rows: Tensor) -> Ragged:
    return Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(len(rows) + 1, dtype=torch.int64))


def everything(num_items: int) -> Seen:
    return lambda rows: Ragged(torch.arange(num_items).repeat(len(rows)), torch.arange(len(rows) + 1) * num_items)


def scores(scorer: Scorer, rows: int, tile_size: int = 10**6) -> torch.Tensor:
    tiles = list(scorer.tiles(torch.arange(rows), tile_size))
    assert [first for first, _ in tiles] == list(range(0, scorer.num_items, tile_size))
    return torch.cat([tile for _, tile in tiles], dim=1)


def one_viewer(rows: int, *, stays: tuple[float, float] = FOREVER, here: int = 1) -> World:
    people = ViewerClass(row_share=1.0, mean_rows=rows / here, window=1.0, personal=0.4, returning=0.5)
    return World(rows, 6, WorldShape(rows, communities=4, places=6, stays=stays, classes=(people,)))


def test_a_warm_viewers_rows_are_as_likely_as_the_oracle_says() -> None:
    world = one_viewer(100_000)
    watches = world.watches(np.arange(100_000))
    catalogue = np.arange(world.broadcasters.total)
    first = world.viewers.watching(np.arange(1))
    mine = watches.viewers == first[0]
    counts = np.bincount(watches.broadcasters[mine], minlength=len(catalogue)) / mine.sum()
    scorer = OracleScorer(
        world,
        viewers=first,
        log_rows=np.array([50_000]),
        warm=np.array([True]),
        seen=everything(len(catalogue)),
        items=catalogue,
    )
    found = scores(scorer, 1)[0].double().numpy()
    assert found.sum() == pytest.approx(1, abs=1e-5)
    # five standard deviations of a share
    assert (np.abs(found - counts) < 5 * np.sqrt(found / mine.sum()) + 1e-4).all()
    assert counts.max() > 0.2


def test_strangers_rows_are_as_likely_as_the_oracle_says() -> None:
    world = one_viewer(60_000, here=30_000)
    rows = np.arange(60_000)
    watches = world.watches(rows)
    catalogue = np.arange(world.broadcasters.total)
    counts = np.bincount(watches.broadcasters, minlength=len(catalogue))
    scorer = OracleScorer(
        world, viewers=watches.viewers, log_rows=rows, warm=np.zeros(60_000, dtype=np.bool_), seen=nothing, items=catalogue
    )
    expected = scores(scorer, 60_000).double().sum(dim=0).numpy()
    # a viewer has two rows on average: their favourites and their own communities make counts vary more than rows do
    assert (np.abs(expected - counts) < 7 * np.sqrt(expected) + 1).all()
    # and among viewers of one gender and band alone, who do not like what the others do
    people = world.viewers.attributes(watches.viewers)
    some = (people.gender == 0) & (people.age < 4)
    expected = scores(scorer, 60_000)[torch.from_numpy(some)].double().sum(dim=0).numpy()
    counts = np.bincount(watches.broadcasters[some], minlength=len(catalogue))
    assert some.sum() > 500
    assert (np.abs(expected - counts) < 7 * np.sqrt(expected) + 1).all()


@pytest.mark.parametrize("tile_size", [1, 7, 10**6])
def test_against_enumeration(tile_size: int) -> None:
    world = one_viewer(400, stays=(0.2, 0.5), here=5)
    log_rows = np.array([3, 30, 200, 201, 390])
    watches = world.watches(log_rows)
    catalogue = np.random.default_rng(0).permutation(world.broadcasters.total)
    warm = np.array([True, False, True, True, True])
    favourites = world.favourites(watches.viewers, world.times(log_rows))
    watched = [{int(favourites[row, 0]), int(favourites[row, 2]), 5} for row in range(5)]
    positions = {int(number): place for place, number in enumerate(catalogue)}

    def seen(rows: Tensor) -> Ragged:
        each = [sorted(positions[number] for number in watched[int(row)]) for row in rows]
        flat = torch.tensor([place for places in each for place in places])
        return Ragged(flat, torch.tensor([0, *np.cumsum([len(places) for places in each])]))

    scorer = OracleScorer(world, viewers=watches.viewers, log_rows=log_rows, warm=warm, seen=seen, items=catalogue)
    found = scores(scorer, 5, tile_size)
    tastes = world.tastes.shares(watches.viewers)
    attributes = world.tastes.shares_AK[world.viewers.attributes(watches.viewers).combination()]
    for row in range(5):
        wanted = dict.fromkeys(range(len(catalogue)), 0.0)
        known = [which for which in range(4) if warm[row] and int(favourites[row, which]) in watched[row]]
        left = 1 - sum(0.5 * (0.5, 0.25, 0.15, 0.1)[which] for which in known)
        weights = [(place + 1) ** -1.12 for place in range(6)]
        for community in range(4):
            for place in range(6):
                holder = world.broadcasters.holding(
                    np.array([community]), np.array([place]), np.array([(log_rows[row] + 0.5) / 400])
                )
                share = (tastes if warm[row] else attributes)[row, community] * weights[place] / sum(weights)
                wanted[positions[int(holder[0])]] += left * float(share)
        for which in known:
            wanted[positions[int(favourites[row, which])]] += 0.5 * (0.5, 0.25, 0.15, 0.1)[which]
        assert found[row].tolist() == pytest.approx(list(wanted.values()), abs=1e-6)
        assert float(found[row].sum()) == pytest.approx(1, abs=1e-5)
        assert int((found[row] > 0).sum()) == 24  # of all that ever were, those who are there


def test_every_watch_is_of_somebody_who_is_there() -> None:
    world = one_viewer(3_000, stays=(0.05, 0.3), here=50)
    rows = np.arange(3_000)
    watches = world.watches(rows)
    scorer = OracleScorer(
        world,
        viewers=watches.viewers,
        log_rows=rows,
        warm=np.ones(3_000, dtype=np.bool_),
        seen=nothing,
        items=np.arange(world.broadcasters.total),
    )
    found = scores(scorer, 3_000)
    assert bool((found[torch.arange(3_000), torch.from_numpy(watches.broadcasters)] > 0).all())
    # a block of many moments gives what each moment gives
    for row in (0, 1_500, 2_999):
        assert torch.equal(next(scorer.tiles(torch.tensor([row]), 10**6))[1][0], found[row])


def test_what_is_not_of_the_world_is_never_watched() -> None:
    world = one_viewer(100)
    catalogue = np.array([-1, *range(24), world.broadcasters.total + 3])
    scorer = OracleScorer(
        world,
        viewers=world.viewers.watching(np.arange(1)),
        log_rows=np.array([0]),
        warm=np.array([True]),
        seen=nothing,
        items=catalogue,
    )
    found = scores(scorer, 1)[0]
    assert float(found[0]) == 0
    assert float(found[-1]) == 0
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)


def test_no_items_and_no_rows() -> None:
    world = one_viewer(100)
    empty = np.zeros(0, dtype=np.int64)
    viewers = world.viewers.watching(np.arange(1))
    without_items = OracleScorer(
        world, viewers=viewers, log_rows=np.array([0]), warm=np.array([True]), seen=nothing, items=empty
    )
    assert list(without_items.tiles(torch.tensor([0]), 10)) == []
    without_rows = OracleScorer(
        world, viewers=empty, log_rows=empty, warm=np.zeros(0, dtype=np.bool_), seen=nothing, items=np.arange(5)
    )
    assert scores(without_rows, 0).shape == (0, 5)
