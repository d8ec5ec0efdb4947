"""How much an approximate index finds, at what price; and the cheapest setting that finds enough."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from twotower.errors import ConfigError
from twotower.index.arguments import require_whole
from twotower.index.contract import NO_ROW, VectorIndex
from twotower.index.exact import ExactIndex

__all__ = ["Recall", "TunableIndex", "TuningCurve", "TuningPoint", "measure_recall", "tune"]

_Z95 = 1.959964
_ALONE = 64
_TURNS = 3


class TunableIndex(VectorIndex, Protocol):
    """An index that can be searched with more or less effort."""

    def search_settings(self, k: int) -> Sequence[Mapping[str, int]]:
        """Arguments of `with_search` to try, for this k: from the quickest to the one that misses least."""
        ...

    def with_search(self, *args: Any, **setting: Any) -> Self:
        """The same index, searched with this effort; it shares what was built."""
        ...


@dataclass(frozen=True)
class Recall:
    """Which part of the k best was found, on average over queries.

    Attributes:
        mean: In [0, 1].
        low: Lower end of a 95% interval for the mean, over queries: Wilson's, which does not end in the mean where it is 1.
        high: Its upper end.
        num_queries: How many were asked.
    """

    mean: float
    low: float
    high: float
    num_queries: int


@dataclass(frozen=True)
class TuningPoint:
    """What a setting finds and costs.

    Attributes:
        setting: Arguments of `with_search`.
        recall: On the queries that settings are chosen by.
        latency_ms: Median of a query alone.
        queries_per_s: Of all queries at once, median of turns.
        times_exact: Queries per second, divided by those of the exact index in the same turns.
        times_exact_alone: The same for a query alone.
    """

    setting: Mapping[str, int]
    recall: Recall
    latency_ms: float
    queries_per_s: float
    times_exact: float
    times_exact_alone: float


@dataclass(frozen=True)
class TuningCurve:
    """What every setting finds and costs, and which one was chosen.

    Attributes:
        k: How many were looked for.
        wanted_recall: The target.
        wanted_latency_ms: The limit, or None.
        points: One for each setting, in the index' order.
        chosen: The cheapest point that reaches the target, or None.
        judged: What the chosen setting finds of queries that were not used to choose it: the figure to be told. None where
            nothing was chosen.
    """

    k: int
    wanted_recall: float
    wanted_latency_ms: float | None
    points: tuple[TuningPoint, ...]
    chosen: TuningPoint | None
    judged: Recall | None

    def setting(self) -> Mapping[str, int]:
        """Arguments of `with_search` for what was chosen.

        Raises:
            ConfigError: If no setting reaches the target; says what was reached and what to do.
        """
        if self.chosen is not None:
            return self.chosen.setting
        best = max(self.points, key=lambda point: (point.recall.low, -point.latency_ms))
        reached = (
            f"{_words(best.setting)} finds {best.recall.mean:.4f} (at least {best.recall.low:.4f}) in {best.latency_ms:.3g} ms"
        )
        wanted = f"recall@{self.k} of {self.wanted_recall:g}"
        if self.wanted_latency_ms is None:
            todo = "build the index with more neighbours, lists or codes, ask for less, or search exactly"
            raise ConfigError(f"no setting surely reaches a {wanted}; the best, {reached}: {todo}")
        wanted += f" in {self.wanted_latency_ms:g} ms"
        todo = "allow more time, ask for less, or build an index that is quicker for the same recall"
        raise ConfigError(f"no setting surely reaches a {wanted}; the one that finds most, {reached}: {todo}")


def measure_recall(index: VectorIndex, exact: ExactIndex, queries_BD: Tensor, k: int) -> Recall:
    """Which part of the k best an index finds.

    A row whose score equals that of the k-th best counts as found, whichever of the tied rows it is; fewer rows than the exact
    index returns are missing. Scores are the exact index' own, whatever the other one says.

    Args:
        index: What is measured.
        exact: The reference, of the same vectors.
        queries_BD: Floats, shape ``[B, D]``, B at least 1; such as will be asked, not vectors of the catalogue.
        k: At least 1.

    Raises:
        ValueError: If there are no queries, or the indexes are of other sizes; or as of `VectorIndex.search`.

    Example:
        >>> from twotower.index import ExactIndex
        >>> exact = ExactIndex.build(torch.eye(3))
        >>> measure_recall(exact, exact, torch.eye(3), k=2).mean
        1.0
    """
    return _recall(index, exact, queries_BD, k, _kth(exact, index, queries_BD, k))


def tune(
    index: TunableIndex,
    exact: ExactIndex,
    queries_BD: Tensor,
    *,
    k: int,
    recall: float,
    latency_ms: float | None = None,
) -> TuningCurve:
    """Find the cheapest setting that finds enough, by trying all that the index names.

    Settings are measured on the even queries. One reaches the target if the *lower* end of its 95% interval does: the mean of
    the chosen one, the first of several that lies above a line, would be too good to be true. Of those that do, within the
    limit of time, the first in the index's own order, from the quickest, is chosen (measured times of neighbours differ by less
    than a busy moment adds); its recall is then taken on the odd queries, which nothing was chosen by. Indexes take turns, so
    that a busy moment falls on all of them.

    Args:
        index: What is tuned; see `TunableIndex`.
        exact: The reference, of the same vectors.
        queries_BD: Floats, shape ``[B, D]``, such as will be asked and held out from building; B at least 4, better a thousand.
        k: How many will be asked for.
        recall: The target, in (0, 1]. Of 1 the lower end falls short unless everything was found of many queries.
        latency_ms: How long a query alone may take, at most; None: no limit.

    Returns:
        All points, and the chosen one; `TuningCurve.setting` raises where there is none.

    Raises:
        ValueError: If a number is out of its range, there are too few queries; or as of `measure_recall`.
    """
    require_whole(1, k=k)
    if not 0 < recall <= 1:
        raise ValueError(f"recall must be in (0, 1] (came: {recall})")
    if latency_ms is not None and not latency_ms > 0:
        raise ValueError(f"latency_ms must be positive (came: {latency_ms})")
    if queries_BD.ndim != 2 or len(queries_BD) < 4:
        raise ValueError(f"tuning needs at least 4 queries of shape [B, D] (came: {list(queries_BD.shape)})")
    chosen_by, judged_by = queries_BD[::2], queries_BD[1::2]
    kth_B = _kth(exact, index, chosen_by, k)
    settings = [dict(setting) for setting in index.search_settings(k)]
    contestants: list[VectorIndex] = [exact, *(index.with_search(**setting) for setting in settings)]
    alone_s, together_s = _seconds(contestants, chosen_by, k)
    points = tuple(
        TuningPoint(
            setting=setting,
            recall=_recall(contestants[place], exact, chosen_by, k, kth_B),
            latency_ms=1e3 * alone_s[place],
            queries_per_s=len(chosen_by) / together_s[place],
            times_exact=together_s[0] / together_s[place],
            times_exact_alone=alone_s[0] / alone_s[place],
        )
        for place, setting in enumerate(settings, start=1)
    )
    enough = (point for point in points if point.recall.low >= recall and point.latency_ms <= (latency_ms or math.inf))
    chosen = next(enough, None)
    judged = None if chosen is None else measure_recall(index.with_search(**chosen.setting), exact, judged_by, k)
    return TuningCurve(k, recall, latency_ms, points, chosen, judged)


def _kth(exact: ExactIndex, index: VectorIndex, queries_BD: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of each query, the score of the last row that can be returned, and how many can."""
    sizes = [(each.num_vectors, each.embedding_dim) for each in (index, exact)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"both indexes must be of the same vectors (came: {sizes[0]} and {sizes[1]})")
    if len(queries_BD) == 0:
        raise ValueError("recall needs at least one query (came: none)")
    found = exact.search(queries_BD, k)
    counts_B = (found.rows_BK != NO_ROW).sum(dim=1)
    return found.scores_BK.gather(1, (counts_B - 1).clamp(min=0).unsqueeze(1)), counts_B


def _recall(index: VectorIndex, exact: ExactIndex, queries_BD: Tensor, k: int, kth: tuple[Tensor, Tensor]) -> Recall:
    kth_B1, counts_B = kth
    found = exact.best_of(queries_BD, index.search(queries_BD, k).rows_BK, k)
    good_B = ((found.scores_BK >= kth_B1) & (found.rows_BK != NO_ROW)).sum(dim=1)
    share_B = torch.where(counts_B > 0, good_B.double() / counts_B.clamp(min=1), 1.0).clamp(max=1.0)
    count = len(share_B)
    mean = float(share_B.mean())
    spread = float(share_B.var()) if count > 1 else mean * (1 - mean)
    low, high = _interval(mean, spread, count)
    return Recall(mean, low, high, count)


def _interval(mean: float, variance: float, count: int) -> tuple[float, float]:
    """Wilson's for a share, of as many throws as the variance over queries says that these are worth; one each if it is 0."""
    worth = 1.0 if variance <= 0 else max(1.0, mean * (1 - mean) / variance)
    throws = count * worth
    centre = (mean + _Z95**2 / (2 * throws)) / (1 + _Z95**2 / throws)
    half = _Z95 / (1 + _Z95**2 / throws) * math.sqrt(mean * (1 - mean) / throws + _Z95**2 / (4 * throws**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def _seconds(contestants: Sequence[VectorIndex], queries_BD: Tensor, k: int) -> tuple[list[float], list[float]]:
    """Median seconds of a query alone, and of all at once, of each."""
    alone_BD = torch.split(queries_BD[:_ALONE], 1)
    alone: list[list[float]] = [[] for _ in contestants]
    together: list[list[float]] = [[] for _ in contestants]
    for _ in range(_TURNS):
        for place, index in enumerate(contestants):
            together[place].append(_taken(index, queries_BD, k))
            alone[place].extend(_taken(index, query_1D, k) for query_1D in alone_BD)
    return [statistics.median(each) for each in alone], [statistics.median(each) for each in together]


def _taken(index: VectorIndex, queries_BD: Tensor, k: int) -> float:
    began = time.perf_counter()
    index.search(queries_BD, k)
    return time.perf_counter() - began


def _words(setting: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in setting.items())
