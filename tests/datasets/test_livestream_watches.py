"""Rows of the log: that the world is hard, and what the truth is worth in it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twotower.datasets.livestream.oracle import OracleScorer
from twotower.datasets.livestream.watches import Watches, World
from twotower.types import Ragged

ROWS, TEST, K = 60_000, 1_500, 100


@pytest.fixture(scope="module")
def planted() -> World:
    return World(ROWS, 0)


@pytest.fixture(scope="module")
def log(planted: World) -> Watches:
    return planted.watches(np.arange(ROWS))


def best(counts: np.ndarray) -> np.ndarray:
    return np.argsort(-counts, kind="stable")[:K]


def test_rows_do_not_depend_on_their_company(planted: World, log: Watches) -> None:
    some = np.array([41_003, 7, 59_999])
    alone = planted.watches(some)
    assert np.array_equal(alone.broadcasters, log.broadcasters[some])
    assert np.array_equal(alone.viewers, log.viewers[some])
    assert not np.array_equal(World(ROWS, 1).watches(some).broadcasters, alone.broadcasters)


def test_favourites_are_who_is_come_back_to(planted: World, log: Watches) -> None:
    returned = np.flatnonzero(log.favourite)[:2_000]
    favourites = planted.favourites(log.viewers[returned], log.times[returned])
    which = favourites == log.broadcasters[returned][:, None]
    assert which.any(axis=1).all()
    first = which[:, 0].mean()
    assert 0.45 < first < 0.65  # the first is half of them, and may come twice among the four
    others = np.flatnonzero(~log.favourite)[:2_000]
    at_random = planted.favourites(log.viewers[others], log.times[others]) == log.broadcasters[others][:, None]
    assert at_random.any(axis=1).mean() < 0.3


def test_own_communities(planted: World, log: Watches) -> None:
    community = planted.broadcasters.community(log.broadcasters)
    own = planted.tastes.own(log.viewers, planted.viewers.attributes(log.viewers).combination())
    assert np.array_equal(log.own, (own == community[:, None]).any(axis=1))
    assert 0.3 < log.own.mean() < 0.7


def test_the_oracle_is_far_above_the_segment_and_the_segment_above_popularity(planted: World, log: Watches) -> None:
    cut = ROWS - TEST
    catalogue, items = np.unique(log.broadcasters, return_inverse=True)
    people = planted.viewers.attributes(log.viewers)
    segments = people.pair * 8 + people.network
    popular = np.isin(items[cut:], best(np.bincount(items[:cut], minlength=len(catalogue)))).mean()
    overall = np.bincount(items[:cut], minlength=len(catalogue)) / cut
    within = []
    for row in range(cut, ROWS):
        counts = np.bincount(items[:cut][segments[:cut] == segments[row]], minlength=len(catalogue))
        within.append(items[row] in best(counts + 10 * overall))
    warm = np.isin(log.viewers[cut:], log.viewers[:cut])

    def seen(rows: torch.Tensor) -> Ragged:
        each = [np.unique(items[:row][log.viewers[:row] == log.viewers[row]]) for row in (rows + cut).tolist()]
        offsets = np.cumsum([0, *(len(some) for some in each)])
        return Ragged(torch.from_numpy(np.concatenate(each)), torch.from_numpy(offsets))

    scorer = OracleScorer(
        planted, viewers=log.viewers[cut:], log_rows=np.arange(cut, ROWS), warm=warm, seen=seen, items=catalogue
    )
    hits = []
    for start in range(0, TEST, 100):
        rows = torch.arange(start, start + 100)
        scores = next(scorer.tiles(rows, len(catalogue)))[1]
        own = scores[torch.arange(100), torch.from_numpy(items[cut + start : cut + start + 100])]
        hits.append(((scores > own[:, None]).sum(dim=1) < K).numpy())
    oracle = np.concatenate(hits)
    assert popular + 0.03 < np.mean(within)
    assert np.mean(within) * 1.6 < oracle.mean()
    assert oracle[~warm].mean() + 0.1 < oracle[warm].mean()
    assert oracle[~warm].mean() > np.mean(np.array(within)[~warm]) + 0.05
    assert 0.2 < (~warm).mean() < 0.4
    assert planted.tastes.personal_share(log.viewers[::10]) > 0.3
