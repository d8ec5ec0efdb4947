from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from twotower.diagnosis import Lift, Vectors, check_vectors, effective_rank, mean_cosine, share_of_equal

GOOD = Lift("recall@10", 0.3, 0.2, 0.05, 0.15)
NO_BETTER = Lift("recall@10", 0.2, 0.2, -0.01, 0.01)
RNG = np.random.default_rng(0)
SPREAD = RNG.normal(size=(60, 8))
ALIKE = np.ones((60, 8)) + 0.01 * RNG.normal(size=(60, 8))
LINE = np.outer(RNG.normal(size=60), RNG.normal(size=8))


def test_mean_cosine_is_that_of_all_pairs() -> None:
    vectors = RNG.normal(size=(7, 3)) + 1
    vectors[2] = 0
    cosines = []
    for one, other in itertools.combinations(vectors, 2):
        lengths = math.sqrt(sum(x * x for x in one)) * math.sqrt(sum(x * x for x in other))
        cosines.append(sum(x * y for x, y in zip(one, other, strict=True)) / lengths if lengths else 0.0)
    assert mean_cosine(vectors) == pytest.approx(sum(cosines) / len(cosines))
    assert mean_cosine(vectors[:1]) == 0.0


def test_effective_rank_counts_equal_directions_and_weighs_others() -> None:
    assert effective_rank(np.diag([1.0, 1.0, 1.0, 0.0])[:3] - 1 / 3) == pytest.approx(2.0)
    assert effective_rank(LINE) == pytest.approx(1.0)
    shares = [4 / 5, 1 / 5]  # of singular values 4 and 1
    wanted = math.exp(-sum(share * math.log(share) for share in shares))
    assert effective_rank(np.array([[4.0, 0], [-4, 0], [0, 1], [0, -1]])) == pytest.approx(wanted)
    assert effective_rank(SPREAD[:1]) == 0.0


def test_share_of_equal_counts_every_copy() -> None:
    assert share_of_equal(np.array([[1.0, 2], [3, 4], [1, 2], [1, 2]])) == 0.75
    assert share_of_equal(np.empty((0, 2))) == 0.0


def test_vectors_that_differ_are_no_finding() -> None:
    assert check_vectors(Vectors(SPREAD, SPREAD, NO_BETTER)) is None


@pytest.mark.parametrize(
    ("candidates", "queries", "said"),
    [
        (ALIKE, SPREAD, "cosine of two item vectors is 1.000"),
        (SPREAD, ALIKE, "cosine of two query vectors is 1.000"),
        (LINE, SPREAD, "8 dimensions vary along 1.00"),
        (np.tile(SPREAD[:30], (2, 1)), SPREAD, "100% of 60 trained items"),
    ],
)
def test_each_way_to_collapse(candidates: np.ndarray, queries: np.ndarray, said: str) -> None:
    finding = check_vectors(Vectors(candidates, queries, NO_BETTER))
    assert finding is not None
    assert finding.code == "collapsed_vectors"
    assert said in finding.evidence[0]
    assert "recall@10 is 0.2000, that of popularity 0.2000" in finding.evidence[-1]


def test_directions_are_no_fault_of_a_model_that_is_better_or_has_not_moved() -> None:
    for candidates, queries in ((ALIKE, SPREAD), (SPREAD, ALIKE), (LINE, SPREAD)):
        assert check_vectors(Vectors(candidates, queries, GOOD)) is None
        assert check_vectors(Vectors(candidates, queries, NO_BETTER, trained=False)) is None
        assert check_vectors(Vectors(candidates, queries)) is not None


def test_equal_vectors_are_a_fault_whatever_the_figures() -> None:
    half = np.concatenate([np.tile(SPREAD[:1], (31, 1)), SPREAD[:29]])
    assert check_vectors(Vectors(half, SPREAD, GOOD, trained=False)) is not None
    few = np.concatenate([np.tile(SPREAD[:1], (20, 1)), SPREAD[1:40]])
    assert check_vectors(Vectors(few, SPREAD, GOOD)) is None


def test_narrow_vectors_have_no_rank_to_lose() -> None:
    assert check_vectors(Vectors(LINE[:, :3], SPREAD[:, :3], NO_BETTER)) is None
