"""What viewers like."""

from __future__ import annotations

import numpy as np
import pytest

from twotower.datasets.livestream.shape import ViewerClass, WorldShape
from twotower.datasets.livestream.viewers import combination_shares
from twotower.datasets.livestream.watches import World

ROWS = 20_000


def world(personal: float = 0.4, **changes: float) -> World:
    strengths = {"country": 0.7, "language": 0.7, "network": 0.5, "band": 1.4, "gender": 1.1} | changes
    people = ViewerClass(row_share=1.0, mean_rows=5.0, window=0.2, personal=personal, returning=0.3)
    return World(ROWS, 3, WorldShape(ROWS, communities=12, places=10, classes=(people,), strengths=strengths))


@pytest.fixture(scope="module")
def planted() -> World:
    return world()


def test_masses_are_as_planned(planted: World) -> None:
    masses = np.sort(combination_shares() @ planted.tastes.shares_AK.astype(np.float64))
    assert masses.sum() == pytest.approx(1)
    # lognormal at evenly spaced quantiles: symmetric in the logarithm
    logs = np.log(masses)
    assert logs[:6] + logs[:5:-1] == pytest.approx(np.full(6, logs[0] + logs[-1]), abs=0.01)
    assert logs[-1] - logs[0] > 2


def test_the_mean_over_alike_viewers_is_what_their_attributes_say(planted: World) -> None:
    viewers = np.arange(200_000)
    combination = planted.viewers.attributes(viewers).combination()
    most = np.bincount(combination).argmax()
    alike = viewers[combination == most]
    assert len(alike) > 500
    assert np.abs(planted.tastes.shares(alike).mean(axis=0) - planted.tastes.shares_AK[most]).max() < 0.03


def test_own_communities_have_the_personal_part(planted: World) -> None:
    viewers = np.arange(50)
    combination = planted.viewers.attributes(viewers).combination()
    own = planted.tastes.own(viewers, combination)
    shares = planted.tastes.shares(viewers)
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-5)
    for viewer in range(50):
        wanted = 0.6 * planted.tastes.shares_AK[combination[viewer]].astype(np.float64)
        for community in own[viewer]:
            wanted[community] += 0.2
        assert shares[viewer] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("attribute", ["country", "language", "network", "band", "gender"])
def test_every_attribute_matters(attribute: str) -> None:
    strong, weak = (world(**{attribute: strength}).tastes.shares_AK for strength in (3.0, 0.0))
    assert float((strong**2).sum(axis=1).mean()) > float((weak**2).sum(axis=1).mean()) + 0.03


def test_draws_follow_the_shares(planted: World) -> None:
    uniform = (np.arange(10_000) + 0.5) / 10_000
    for combination in (0, 777, len(planted.tastes.shares_AK) - 1):
        drawn = planted.tastes.draw(np.full(10_000, combination), uniform)
        assert np.bincount(drawn, minlength=12) / 10_000 == pytest.approx(planted.tastes.shares_AK[combination], abs=2e-4)
    edges = planted.tastes.draw(np.array([5, 5]), np.array([0.0, 1 - 2**-53]))
    assert edges.min() >= 0
    assert edges.max() <= 11


def test_the_personal_share_of_the_variance() -> None:
    assert world(personal=0.0).tastes.personal_share(np.arange(500)) == 0
    assert world(personal=1.0).tastes.personal_share(np.arange(500)) > 0.6
    planted = world()
    viewers = np.arange(600)
    shares = planted.tastes.shares(viewers).astype(np.float64)
    known = planted.tastes.shares_AK[planted.viewers.attributes(viewers).combination()].astype(np.float64)
    own = float(np.mean([sum((a - b) ** 2 for a, b in zip(*pair, strict=True)) for pair in zip(shares, known, strict=True)]))
    explained = float(known.var(axis=0).sum())
    assert planted.tastes.personal_share(viewers) == pytest.approx(own / (own + explained), rel=1e-6)
