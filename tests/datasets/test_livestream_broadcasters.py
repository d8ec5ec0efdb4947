"""Who is watched."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.datasets.livestream.shape import WorldShape
from twotower.datasets.livestream.watches import World


@pytest.fixture(scope="module")
def planted() -> World:
    return World(5_000, 4, WorldShape(5_000, communities=6, places=40, zipf=1.0, stays=(0.2, 0.9)))


def test_places_are_drawn_by_their_weights(planted: World) -> None:
    uniform = (np.arange(100_000) + 0.5) / 100_000
    drawn = np.bincount(planted.broadcasters.draw_place(uniform), minlength=40) / 100_000
    harmonic = sum(1 / place for place in range(1, 41))
    assert drawn == pytest.approx([1 / place / harmonic for place in range(1, 41)], abs=2e-5)


def test_holders_follow_one_another(planted: World) -> None:
    times = np.linspace(0, 0.9999, 2_000)
    stays = []
    for community in range(6):
        for place in range(40):
            held = planted.broadcasters.holding(np.full(2_000, community), np.full(2_000, place), times)
            changes = np.flatnonzero(np.diff(held))
            assert (np.diff(held)[changes] == 6 * 40).all()  # the next turn of the same place
            assert (planted.broadcasters.community(held) == community).all()
            assert held.max() < planted.broadcasters.total
            stays += list(np.diff(times[changes]))
    assert 0.19 < min(stays) < 0.25
    assert max(stays) < 0.91


def test_numbers_tell_all_apart(planted: World) -> None:
    community, place = (grid.ravel() for grid in np.meshgrid(np.arange(6), np.arange(40)))
    seen = {int(one) for time in (0.0, 0.5, 0.99) for one in planted.broadcasters.holding(community, place, np.full(240, time))}
    assert len(seen) > 240


def test_broadcasters_are_like_their_community(planted: World) -> None:
    everyone = np.arange(planted.broadcasters.total)
    people = planted.broadcasters.attributes(everyone)
    community = planted.broadcasters.community(everyone)
    for values in (people.pair, people.network, people.age, people.gender):
        assert values.min() >= 0
    for community_number in range(6):
        mine = people.gender[community == community_number]
        leaning = np.array([0.38, 0.59, 0.03]) * np.exp(2 * planted.tastes.gender_VK[:, community_number])
        assert np.bincount(mine, minlength=3) / len(mine) == pytest.approx(leaning / leaning.sum(), abs=0.08)
