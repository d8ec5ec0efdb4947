"""Steps of a planned training played through: ranks that vary and wait for each other, and rows that are popular."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.planning.links import Links
from twotower.planning.plan import Plan
from twotower.planning.sharding import ids_of_rank, tables_of
from twotower.planning.workload import FLOAT, ID, Table, distinct

__all__ = ["Simulated", "Varying", "simulate"]

_FOLLOWED = 20_000
"""Rows of a table that are followed one by one, the most popular first; the others are many and alike."""


@dataclass(frozen=True)
class Varying:
    """What differs from rank to rank and from step to step.

    Attributes:
        deviation: Of a rank's own work in a step, as a share of its mean; log-normal.
        popularity: Exponent of Zipf's law by which the rows of split tables are looked up; 0: all alike.
    """

    deviation: float = 0.05
    popularity: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.deviation < math.inf and 0 <= self.popularity < math.inf):
            raise ValueError(
                f"deviation and popularity must be finite and at least 0; came {self.deviation} and {self.popularity}"
            )


@dataclass(frozen=True)
class Simulated:
    """What steps took.

    Attributes:
        seconds: Of every step, float64 ``[steps]``: one thing after the other, all ranks waiting for the slowest.
        waited: What share of the ranks' time was waiting for others to come.
        fullest: Rows that the rank with the most requests is asked for in a step, as a multiple of the mean; 1 without split
            tables.
        asked: Rows that a rank asks for in a step, as a share of the ids that it looks up: a row that is looked up twice is
            asked for once.
    """

    seconds: NDArray[np.float64]
    waited: float
    fullest: float
    asked: float

    @property
    def mean_s(self) -> float:
        """Seconds of a step."""
        return float(self.seconds.mean())


def simulate(plan: Plan, varying: Varying = Varying(), *, steps: int = 50, seed: int = 0) -> Simulated:
    """Play steps through.

    A step is what `twotower.training` does: the feed, ids to the ranks that have their rows, lookups there, vectors back, the
    towers, candidates gathered, the loss, gradients summed, the towers' way back, gradients of rows to where these are,
    updates, gradients of the towers summed. Before everything that ranks do together they wait for the last one. Work and
    traffic take what the plan's equations say, times what varies: how quick a rank is in this step, and how many rows it is
    asked for, for which popular rows lie on ranks at random.

    Args:
        plan: What is simulated.
        varying: By how much.
        steps: How many steps, at least 1.
        seed: Of what is drawn.
    """
    draw, ranks = np.random.default_rng(seed), plan.ranks
    links, step = Links(plan.device, ranks), plan.step
    split = [table for table, sharded in tables_of(plan.workload, ranks, plan.sharding) if sharded]
    requests = [_Requests(table, ids_of_rank(table, plan.workload, ranks), ranks, varying.popularity, draw) for table in split]
    looked_up = sum(each.looked_up * each.table.width for each in requests)
    asked = sum(each.mean * each.table.width for each in requests) / looked_up if looked_up else 1.0
    own = {part.what: part.seconds for part in step.work}
    together = [part.seconds for part in step.collectives if part.kind != "all_to_all"]
    ids = sum(each.mean for each in requests) * ID
    vectors = sum(each.mean * each.table.width for each in requests) * FLOAT
    spread = math.sqrt(math.log1p(varying.deviation**2))  # a log-normal number of mean 1 with that deviation
    seconds, worked, fullest = np.zeros(steps), 0.0, 0.0
    for number in range(steps):
        quick = draw.lognormal(-(spread**2) / 2, spread, ranks)
        load = _loads(requests, ranks, draw)
        busiest = float(load.max())
        phases: list[NDArray[np.float64] | float] = [
            step.feed_s + step.fixed_s / 2,
            asked * load * own["lookups"] / 2,
            own["towers"] / 3,
            own["loss"],
            own["towers"] * 2 / 3,
            asked * load * (own["lookups"] / 2 + own["row updates"]) + own.get("dense updates", 0.0) + step.fixed_s / 2,
        ]
        times = [quick * phase for phase in phases]
        taken = sum(float(each.max()) for each in times)
        worked += sum(float(each.mean()) for each in times)
        exchanged = 0.0
        if requests:
            exchanged = links.all_to_all_s(0) + links.all_to_all_s(ids * busiest) + 2 * links.all_to_all_s(vectors * busiest)
        seconds[number] = taken + exchanged + sum(together)
        worked += exchanged + sum(together)
        fullest += busiest
    return Simulated(seconds, max(0.0, 1 - worked / float(seconds.sum())), fullest / steps, asked)


class _Requests:
    """How often ranks ask for the rows of a table in a step.

    Args:
        table: Split over the ranks.
        looked_up: Ids that a rank looks up in it in a step.
        ranks: How many there are.
        popularity: Exponent of Zipf's law.
        draw: Says which rank has which of the popular rows.

    Attributes:
        mean: Rows that a rank asks for in a step, each once.
    """

    def __init__(self, table: Table, looked_up: float, ranks: int, popularity: float, draw: np.random.Generator) -> None:
        self.table, self.looked_up, self._ranks = table, looked_up, ranks
        followed = min(table.rows, _FOLLOWED)
        shares = np.arange(1, followed + 1, dtype=np.float64) ** -popularity
        rest = _sum_of_powers(followed, table.rows, popularity)
        total = float(shares.sum()) + rest
        # that a rank looks it up at least once
        self._asked = -np.expm1(looked_up * np.log1p(-np.minimum(shares / total, 1 - 1e-12)))
        self._owners = draw.integers(ranks, size=followed)
        self._others = _asked_of_the_rest(followed, table.rows, popularity, looked_up / total)
        self.mean = float(self._asked.sum()) + self._others

    def by_owner(self, draw: np.random.Generator) -> NDArray[np.float64]:
        """Rows that each rank is asked for in one step, by all."""
        popular = draw.binomial(self._ranks, self._asked)
        found = np.bincount(self._owners, weights=popular, minlength=self._ranks).astype(np.float64)
        return found + draw.poisson(self._others, self._ranks).astype(np.float64)


def _sum_of_powers(first: int, last: int, exponent: float) -> float:
    """The sum of ``k ** -exponent`` for ``first < k <= last``, as the integral that it is near to."""
    low, high = first + 0.5, last + 0.5
    if last <= first:
        return 0.0
    if abs(exponent - 1) < 1e-9:
        return math.log(high / low)
    return float((high ** (1 - exponent) - low ** (1 - exponent)) / (1 - exponent))


def _asked_of_the_rest(first: int, last: int, exponent: float, draws: float) -> float:
    """How many different rows ``first < k <= last`` are among draws, of which ``draws k ** -exponent`` are of each row.

    In bins that grow by a tenth, in which all rows are alike.
    """
    found, low = 0.0, first
    while low < last:
        high = min(last, max(low + 1, low + low // 10))
        found += distinct(draws * _sum_of_powers(low, high, exponent), high - low)
        low = high
    return found


def _loads(requests: list[_Requests], ranks: int, draw: np.random.Generator) -> NDArray[np.float64]:
    """Numbers that each rank is asked for, as multiples of the mean."""
    if not requests:
        return np.ones(ranks)
    numbers = np.zeros(ranks)
    for each in requests:
        numbers += each.by_owner(draw) * each.table.width
    expected = sum(each.mean * each.table.width for each in requests)
    return numbers / expected if expected else np.ones(ranks)
