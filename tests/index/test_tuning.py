"""Recall with ties and intervals, and the choice of a setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import pytest
import torch
from torch import Tensor

from twotower.errors import ConfigError
from twotower.index import ExactIndex, HNSWIndex, SearchResult, measure_recall, tune


class Worse:
    """An index that finds all but the first few of the best, and may lie about scores."""

    def __init__(self, exact: ExactIndex, missing: int, *, scores: float | None = None) -> None:
        self.exact, self.missing, self.scores = exact, missing, scores
        self.num_vectors, self.embedding_dim = exact.num_vectors, exact.embedding_dim
        self.asked: list[Tensor] = []

    def search(self, queries_BD: Tensor, k: int, **_: Any) -> SearchResult:
        self.asked.append(queries_BD)
        found = self.exact.search(queries_BD, k + self.missing)
        scores_BK = found.scores_BK[:, self.missing :]
        return SearchResult(found.rows_BK[:, self.missing :], scores_BK if self.scores is None else scores_BK + self.scores)

    def search_settings(self, k: int) -> Sequence[Mapping[str, int]]:
        return [{"missing": missing} for missing in (k, k // 2, 1, 0)]

    def with_search(self, *_: Any, **setting: Any) -> Self:
        chosen = type(self)(self.exact, setting["missing"])
        chosen.asked = self.asked
        return chosen


VECTORS = torch.randn(2000, 8, generator=torch.Generator().manual_seed(0))
QUERIES = torch.randn(400, 8, generator=torch.Generator().manual_seed(1))
EXACT = ExactIndex.build(VECTORS)


def test_what_is_missing_counts() -> None:
    assert measure_recall(EXACT, EXACT, QUERIES, 10).mean == 1.0
    for scores in (None, 1e6, float("nan")):
        assert measure_recall(Worse(EXACT, 3, scores=scores), EXACT, QUERIES, 10).mean == pytest.approx(0.7)


def test_a_row_that_ties_with_the_last_is_found() -> None:
    exact = ExactIndex.build(torch.tensor([[3.0], [2.0], [2.0], [2.0], [1.0]]))
    assert measure_recall(Worse(exact, 1), exact, torch.ones(3, 1), 2).mean == 1.0
    assert measure_recall(Worse(exact, 3), exact, torch.ones(3, 1), 2).mean == 0.5


def test_what_does_not_exist_is_not_missing() -> None:
    exact = ExactIndex.build(torch.tensor([[3.0], [2.0]]))
    assert measure_recall(exact, exact, torch.ones(3, 1), 5).mean == 1.0
    assert measure_recall(Worse(exact, 1), exact, torch.ones(3, 1), 5).mean == 0.5
    none = ExactIndex.build(torch.empty(0, 1))
    assert measure_recall(none, none, torch.ones(3, 1), 5).mean == 1.0


def test_the_interval_holds_the_truth_and_narrows() -> None:
    generator = torch.Generator().manual_seed(0)
    held = 0
    widths = []
    for _ in range(200):
        # of 10 rows, each is found with .9, more or less together
        chance = 0.8 + 0.2 * torch.rand(50, 1, generator=generator)
        hits = torch.rand(50, 10, generator=generator) < chance
        found = measure_recall(_Drawn(hits), EXACT, QUERIES[:50], 10)
        assert found.mean == pytest.approx(float(hits.double().mean()))
        held += found.low <= 0.9 <= found.high
        widths.append(found.high - found.low)
    assert 180 <= held <= 199
    all_found, fewer = (measure_recall(EXACT, EXACT, QUERIES[:count], 10) for count in (400, 50))
    assert all_found.high == pytest.approx(fewer.high) == pytest.approx(1.0)
    assert fewer.low < all_found.low < 1.0


class _Drawn(Worse):
    def __init__(self, hits_BK: Tensor) -> None:
        super().__init__(EXACT, 0)
        self.hits_BK = hits_BK

    def search(self, queries_BD: Tensor, k: int, **_: Any) -> SearchResult:
        found = EXACT.search(queries_BD, 2 * k)
        return SearchResult(torch.where(self.hits_BK, found.rows_BK[:, :k], found.rows_BK[:, k:]), found.scores_BK[:, :k])


def test_recall_needs_queries_and_the_same_vectors() -> None:
    with pytest.raises(ValueError, match="recall needs at least one query"):
        measure_recall(EXACT, EXACT, QUERIES[:0], 1)
    with pytest.raises(ValueError, match=r"both indexes must be of the same vectors \(came: \(3, 8\) and \(2000, 8\)\)"):
        measure_recall(ExactIndex.build(VECTORS[:3]), EXACT, QUERIES, 1)


def test_the_cheapest_that_finds_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(index: Any, queries_BD: Tensor, k: int) -> float:
        """As if whatever misses more came at a busier moment."""
        index.search(queries_BD, k)
        return 1.0 + getattr(index, "missing", 0)

    monkeypatch.setattr("twotower.index.tuning._taken", taken)
    for wanted, missing in ((0.4, 5), (0.8, 1), (0.95, 0)):
        curve = tune(Worse(EXACT, 0), EXACT, QUERIES, k=10, recall=wanted)
        assert [point.setting["missing"] for point in curve.points] == [10, 5, 1, 0]
        assert [round(point.recall.mean, 3) for point in curve.points] == [0.0, 0.5, 0.9, 1.0]
        assert curve.setting() == {"missing": missing}
        assert curve.judged is not None
        assert curve.judged.mean == pytest.approx(1 - missing / 10)
        assert curve.judged.num_queries == curve.points[0].recall.num_queries == 200
        assert all(point.latency_ms > 0 and point.queries_per_s > 0 and point.times_exact > 0 for point in curve.points)


def test_times_are_compared_with_those_of_the_exact_index(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(index: Any, queries_BD: Tensor, k: int) -> float:
        exact = isinstance(index, ExactIndex)
        return (0.5 if exact else 0.25) if len(queries_BD) > 1 else (0.08 if exact else 0.02)

    monkeypatch.setattr("twotower.index.tuning._taken", taken)
    for point in tune(Worse(EXACT, 0), EXACT, QUERIES, k=10, recall=0.5).points:
        assert [point.times_exact, point.times_exact_alone] == pytest.approx([2.0, 4.0])
        assert [point.latency_ms, point.queries_per_s] == pytest.approx([20.0, 200 / 0.25])


def test_the_lower_end_decides() -> None:
    hits = torch.rand(200, 10, generator=torch.Generator().manual_seed(0)) < 0.9
    mean = float(hits.double().mean())

    class Random(Worse):
        def search_settings(self, _: int) -> Sequence[Mapping[str, int]]:
            return [{"effort": 1}]

        def with_search(self, *_: Any, **__: Any) -> Self:
            return self

        def search(self, queries_BD: Tensor, k: int, **_: Any) -> SearchResult:
            found = EXACT.search(queries_BD, 2 * k)
            own = hits[: len(queries_BD)]
            return SearchResult(torch.where(own, found.rows_BK[:, :k], found.rows_BK[:, k:]), found.scores_BK[:, :k])

    assert tune(Random(EXACT, 0), EXACT, QUERIES, k=10, recall=mean - 0.05).chosen is not None
    assert tune(Random(EXACT, 0), EXACT, QUERIES, k=10, recall=mean - 0.001).chosen is None


def test_settings_are_chosen_by_other_queries_than_they_are_judged_by() -> None:
    index = Worse(EXACT, 0)
    tune(index, EXACT, QUERIES, k=10, recall=0.8)
    *before, last = [each for each in index.asked if len(each) == 200]
    assert torch.equal(last, QUERIES[1::2])
    assert all(torch.equal(each, QUERIES[::2]) for each in before)


def test_where_nothing_finds_enough_it_says_what_to_do() -> None:
    class Never(Worse):
        def search_settings(self, _: int) -> Sequence[Mapping[str, int]]:
            return [{"missing": 2}, {"missing": 1}]

    curve = tune(Never(EXACT, 0), EXACT, QUERIES, k=10, recall=0.99)
    assert (curve.chosen, curve.judged) == (None, None)
    with pytest.raises(
        ConfigError, match=r"no setting surely reaches a recall@10 of 0.99; the best, missing 1 finds 0.9000 .*: build"
    ):
        curve.setting()


def test_a_limit_of_time() -> None:
    curve = tune(Worse(EXACT, 0), EXACT, QUERIES, k=10, recall=0.8, latency_ms=1e-6)
    with pytest.raises(
        ConfigError, match=r"recall@10 of 0.8 in 1e-06 ms; the one that finds most, missing 0 .*: allow more time"
    ):
        curve.setting()
    assert tune(Worse(EXACT, 0), EXACT, QUERIES, k=10, recall=0.8, latency_ms=1e6).chosen is not None


def test_with_a_real_index() -> None:
    vectors_ND = torch.randn(6000, 16, generator=torch.Generator().manual_seed(0))
    queries_BD = torch.randn(300, 16, generator=torch.Generator().manual_seed(1))
    index = HNSWIndex.build(vectors_ND, neighbours=8, ef_construction=40)
    curve = tune(index, index.exact, queries_BD, k=10, recall=0.9)
    assert curve.judged is not None
    assert curve.judged.mean > 0.88
    means = [point.recall.mean for point in curve.points]
    assert means[0] < 0.9 < means[-1]
    assert index.with_search(**curve.setting()).ef_search == dict(curve.setting())["ef_search"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be an integer of at least 1"),
        ({"recall": 0.0}, r"recall must be in \(0, 1\]"),
        ({"recall": 1.5}, r"recall must be in \(0, 1\]"),
        ({"latency_ms": 0.0}, "latency_ms must be positive"),
    ],
)
def test_what_is_asked_for_must_make_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tune(Worse(EXACT, 0), EXACT, QUERIES, **{"k": 10, "recall": 0.9, **options})


def test_tuning_needs_some_queries() -> None:
    with pytest.raises(ValueError, match="at least 4 queries"):
        tune(Worse(EXACT, 0), EXACT, QUERIES[:3], k=10, recall=0.9)
