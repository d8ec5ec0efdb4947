"""iALS: folding in against the equation of the paper and against implicit; the library missing."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from twotower.baselines import fit_ials, ials_scores
from twotower.errors import ConfigError, MissingExtraError
from twotower.types import Ragged

MakeWorld = Callable[..., Any]
SeenOf = Callable[[list[list[int]]], Ragged]
CHOSEN: dict[str, Any] = {"factors": 4, "regularisation": 0.5, "alpha": 3.0, "iterations": 5, "seed": 0}
HISTORIES = [[0, 3], [], [1, 2, 5, 7], [9]]


def test_folding_in_solves_the_users_normal_equations(seen_of: SeenOf) -> None:
    factors_ND = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores_BN = ials_scores(factors_ND, seen_of(HISTORIES), regularisation=0.7, alpha=5.0)
    y = factors_ND.numpy()
    for query, history in enumerate(HISTORIES):
        confidence, preference = np.ones(12), np.zeros(12)
        confidence[history], preference[history] = 5.0, 1.0
        left = y.T @ np.diag(confidence) @ y + 0.7 * np.eye(4)
        user = np.linalg.solve(left, y.T @ np.diag(confidence) @ preference)
        assert scores_BN[query].numpy() == pytest.approx(y @ user, abs=1e-12)
    assert not scores_BN[1].any()


def test_many_systems_are_solved_some_at_a_time(seen_of: SeenOf, monkeypatch: pytest.MonkeyPatch) -> None:
    factors_ND = torch.randn(12, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen = seen_of(HISTORIES * 3)
    whole = ials_scores(factors_ND, seen, regularisation=0.7, alpha=5.0)
    monkeypatch.setattr("twotower.baselines.ials._SYSTEMS_AT_ONCE_BYTES", 1)
    assert torch.allclose(ials_scores(factors_ND, seen, regularisation=0.7, alpha=5.0), whole, rtol=1e-12, atol=1e-12)


def test_folding_in_is_what_implicit_does(make_world: MakeWorld, seen_of: SeenOf) -> None:
    als = pytest.importorskip("implicit.cpu.als")
    sparse = pytest.importorskip("scipy.sparse")
    rows = make_world(7).rows
    factors_ND = fit_ials(rows, **CHOSEN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that BLAS has many threads
        model = als.AlternatingLeastSquares(factors=4, regularization=0.5, alpha=3.0, dtype=np.float64, num_threads=1)
    model.item_factors = factors_ND.numpy()
    queries = np.zeros((4, 12), dtype=np.float32)
    for query, history in enumerate(HISTORIES):
        queries[query, history] = 1
    solved = model.recalculate_user(np.arange(4), sparse.csr_matrix(queries))
    found = ials_scores(factors_ND, seen_of(HISTORIES), regularisation=0.5, alpha=3.0)
    assert found.numpy() == pytest.approx(solved @ factors_ND.numpy().T, abs=1e-6)


def test_items_are_fitted_to_users_and_the_same_again(make_world: MakeWorld) -> None:
    """At the end of an iteration the items are the solution for the users, here for users solved once more from them."""
    pytest.importorskip("implicit")
    rows, matrix_UN = make_world(8)
    long = fit_ials(rows, **{**CHOSEN, "iterations": 200})
    y = long.numpy()
    for _ in range(2):
        x = np.stack([np.linalg.solve(y.T @ (y * c[:, None]) + 0.5 * np.eye(4), y.T @ (c * p)) for c, p in _weights(matrix_UN)])
        y = np.stack(
            [np.linalg.solve(x.T @ (x * c[:, None]) + 0.5 * np.eye(4), x.T @ (c * p)) for c, p in _weights(matrix_UN.T)]
        )
    assert y == pytest.approx(long.numpy(), abs=2e-3)
    assert torch.equal(fit_ials(rows, **CHOSEN), fit_ials(rows, **CHOSEN))


def _weights(matrix: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(1 + 2.0 * line, line) for line in matrix]


@pytest.mark.parametrize(
    "changed",
    [{"factors": 5}, {"regularisation": 5.0}, {"alpha": 9.0}, {"iterations": 1}, {"seed": 1}],
    ids=lambda c: next(iter(c)),
)
def test_every_setting_changes_the_factors(make_world: MakeWorld, changed: dict[str, Any]) -> None:
    pytest.importorskip("implicit")
    rows = make_world(9).rows
    plain, other = fit_ials(rows, **CHOSEN), fit_ials(rows, **{**CHOSEN, **changed})
    assert plain.shape != other.shape or not torch.allclose(plain, other)


def test_nothing_is_written_and_nothing_warned(make_world: MakeWorld, capfd: pytest.CaptureFixture[str]) -> None:
    utils = pytest.importorskip("implicit.utils")
    utils._checked_blas_config = False  # it warns once in a process
    fit_ials(make_world(0).rows, **CHOSEN)
    assert capfd.readouterr() == ("", "")


def test_equations_without_a_single_solution(seen_of: SeenOf) -> None:
    with pytest.raises(ConfigError, match=r"regularisation of 0.0 .* fewer than 2 factors"):
        ials_scores(torch.zeros(3, 2, dtype=torch.float64), seen_of([[0]]), regularisation=0.0, alpha=1.0)


def test_without_the_library(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'twotower\[baselines\]'"):
        fit_ials(make_world(0).rows, **CHOSEN)


@pytest.mark.parametrize("changed", [{"factors": 0}, {"iterations": 0}, {"regularisation": -1.0}, {"alpha": 0.0}])
def test_numbers_out_of_range(make_world: MakeWorld, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="factors and iterations must be at least 1"):
        fit_ials(make_world(0).rows, **{**CHOSEN, **changed})
