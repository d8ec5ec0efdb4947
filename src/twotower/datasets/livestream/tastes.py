"""What viewers like: communities of broadcasters, how attributes lean to them, and what is each viewer's own."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from twotower.datasets.livestream.hashes import Floats, Hashes, Integers
from twotower.datasets.livestream.shape import WorldShape
from twotower.datasets.livestream.values import (
    COUNTRIES,
    GENDERS,
    LANGUAGES,
    NETWORKS,
    NUM_BANDS,
    PAIR_COUNTRY,
    PAIR_LANGUAGE,
)
from twotower.datasets.livestream.viewers import Viewers, combination_shares

__all__ = ["Tastes"]

_AT_ONCE = 4096
_ROUNDS = 8
_NORMAL = NormalDist()


class Tastes:
    """The distribution of every viewer over the communities.

    ``(1 - personal) * attributes + personal * own``: what the attributes say is a softmax of the sum of their leanings; what is
    a viewer's own is a few communities, each drawn from what its attributes say. Over all viewers of the same attributes the
    second term has the mean of the first, so the attributes' distribution is the whole of what is known of a stranger.

    Args:
        shape: Of the world.
        hashes: Of the world's seed.
        viewers: Of the world.
    """

    def __init__(self, shape: WorldShape, hashes: Hashes, viewers: Viewers) -> None:
        self.shape = shape
        self.hashes = hashes
        self.viewers = viewers
        self.country_VK = self._leaning("country", len(COUNTRIES))
        self.language_VK = self._leaning("language", len(LANGUAGES))
        self.network_VK = self._leaning("network", len(NETWORKS))
        self.band_VK = self._leaning("band", NUM_BANDS)
        self.gender_VK = self._leaning("gender", len(GENDERS))
        pair_VK = self.country_VK[PAIR_COUNTRY] + self.language_VK[PAIR_LANGUAGE]
        logits_AK = (
            pair_VK[:, None, None, None]
            + self.network_VK[None, :, None, None]
            + self.band_VK[None, None, :, None]
            + self.gender_VK[None, None, None, :]
        ).reshape(-1, shape.communities)
        shares_AK = self._with_masses(logits_AK)
        self.shares_AK = shares_AK.astype(np.float32)
        """float32 ``[A, K]``: the distribution over communities of each combination of attributes."""
        ends_AK = np.cumsum(shares_AK, axis=1)
        ends_AK[:, -1] = 1.0
        # one rising sequence for all combinations: one binary search finds the community of any of them
        self._ends = (ends_AK + np.arange(len(ends_AK))[:, None]).ravel()

    def draw(self, combinations: Integers, uniform: Floats) -> Integers:
        """The community at which numbers in [0, 1) fall in the attributes' distribution."""
        found: Integers = np.searchsorted(self._ends, combinations + uniform, side="right").astype(np.int64)
        # the sum may round up to the next combination: then it is the last community of its own
        drawn: Integers = np.minimum(found - combinations * self.shape.communities, self.shape.communities - 1)
        return drawn

    def own(self, viewers: Integers, combinations: Integers) -> Integers:
        """The communities of each viewer's own, int64 ``[n, P]``; the same may come twice."""
        count = self.shape.personal_communities
        columns = [
            self.draw(combinations, self.hashes.uniform("viewer: own community", viewers * count + place))
            for place in range(count)
        ]
        return np.stack(columns, axis=1)

    def shares(self, viewers: Integers) -> NDArray[np.float32]:
        """The distribution of each viewer, float32 ``[n, K]``."""
        combinations = self.viewers.attributes(viewers).combination()
        personal = self.viewers.personal[self.viewers.group(viewers)].astype(np.float32)
        shares_BK = self.shares_AK[combinations] * (1 - personal)[:, None]
        own = self.own(viewers, combinations)
        each = personal / np.float32(own.shape[1])
        for column in own.T:
            shares_BK[np.arange(len(viewers)), column] += each
        return shares_BK

    def personal_share(self, viewers: Integers) -> float:
        """The part of the variance of taste that attributes do not explain.

        Variance is over the given viewers, summed over communities; a viewer that watches twice as much must come twice.

        Args:
            viewers: Numbers, at least two different ones.
        """
        mean_K = np.zeros(self.shape.communities)
        explained = own = 0.0
        for start in range(0, len(viewers), _AT_ONCE):
            some = viewers[start : start + _AT_ONCE]
            known_BK = self.shares_AK[self.viewers.attributes(some).combination()].astype(np.float64)
            own += float(((self.shares(some) - known_BK) ** 2).sum())
            explained += float((known_BK**2).sum())
            mean_K += known_BK.sum(axis=0)
        explained -= float((mean_K**2).sum()) / len(viewers)
        return own / (own + explained)

    def _with_masses(self, logits_AK: Floats) -> Floats:
        """The softmax of the logits, with a constant for each community such that all viewers together are spread as planned.

        The planned masses are lognormal, at evenly spaced quantiles: how popular the most popular are does not depend on the
        seed.
        """
        communities = self.shape.communities
        order = np.argsort(self.hashes.uniform("community: mass", np.arange(communities, dtype=np.int64)))
        quantiles_K = np.array([_NORMAL.inv_cdf((place + 0.5) / communities) for place in range(communities)])
        planned_K = np.empty(communities)
        planned_K[order] = np.exp(self.shape.mass_spread * quantiles_K)
        planned_K /= planned_K.sum()
        viewers_A = combination_shares()
        constants_K = np.log(planned_K)
        for _ in range(_ROUNDS):
            shares_AK = np.exp(logits_AK + constants_K)
            shares_AK /= shares_AK.sum(axis=1, keepdims=True)
            constants_K += np.log(planned_K / (viewers_A @ shares_AK))
        return shares_AK

    def _leaning(self, name: str, values: int) -> Floats:
        """How much each community is liked by each value of an attribute, float64 ``[values, K]``, in logits."""
        numbers = np.arange(values * self.shape.communities, dtype=np.int64).reshape(values, -1)
        return self.shape.strengths[name] * self.hashes.normal(f"leaning: {name}", numbers)
