"""iALS, fitted by the ``implicit`` library (the extra ``baselines``); queries are folded in exactly."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from twotower.baselines.fit_rows import FitRows
from twotower.errors import ConfigError, MissingExtraError
from twotower.types import Ragged

__all__ = ["fit_ials", "ials_scores"]

_SYSTEMS_AT_ONCE_BYTES = 2**26


def fit_ials(rows: FitRows, *, factors: int, regularisation: float, alpha: float, iterations: int, seed: int) -> Tensor:
    """Item factors by implicit alternating least squares.

    Hu, Koren and Volinsky (2008), Collaborative Filtering for Implicit Feedback Datasets. Users ``x`` and items ``y`` minimise
    ``sum over all pairs of c (p - x'y)^2 + regularisation (sum |x|^2 + sum |y|^2)``, where a pair that occurs has p = 1 and
    c = alpha, and one that does not has p = 0 and c = 1 (as ``implicit`` weighs them: alpha is all of the confidence, not what
    is added to 1). A repeated pair counts once. One thread and a fixed seed, so that the same rows give the same factors.

    Args:
        rows: What to fit on.
        factors: Width of the factors, at least 1.
        regularisation: Not negative.
        alpha: Confidence of a pair that occurs, above 0.
        iterations: Of users and items in turn, at least 1.
        seed: Of the factors' start.

    Returns:
        float64 ``[N, D]``.

    Raises:
        MissingExtraError: If ``implicit`` is not installed.
        ValueError: If a number is out of its range.
    """
    if factors < 1 or iterations < 1 or not regularisation >= 0 or not alpha > 0:
        raise ValueError(
            "factors and iterations must be at least 1, regularisation at least 0 and alpha above 0; "
            f"came {factors}, {iterations}, {regularisation} and {alpha}"
        )
    als, sparse, threads = _implicit()
    by_user = rows.distinct()
    matrix = sparse.csr_matrix(
        (np.ones(len(by_user.values), dtype=np.float32), by_user.values.numpy(), by_user.offsets.numpy()),
        shape=(rows.num_users, rows.num_items),
    )
    # its own threads and those of BLAS would work against each other; it warns unless BLAS has one
    with threads.threadpool_limits(limits=1, user_api="blas"):
        model = als.AlternatingLeastSquares(
            factors=factors,
            regularization=regularisation,
            alpha=alpha,
            iterations=iterations,
            dtype=np.float64,
            random_state=seed,
            num_threads=1,
        )
        model.fit(matrix, show_progress=False)
    return torch.from_numpy(np.ascontiguousarray(model.item_factors))


def _implicit() -> tuple[Any, Any, Any]:
    try:
        return import_module("implicit.cpu.als"), import_module("scipy.sparse"), import_module("threadpoolctl")
    except ImportError:
        raise MissingExtraError("iALS needs the library implicit: pip install 'twotower[baselines]'") from None


def ials_scores(factors_ND: Tensor, seen: Ragged, *, regularisation: float, alpha: float) -> Tensor:
    """Solve each query's factors for its seen items, with the items' factors as they are, and score every item.

    ``x = (Y'Y + (alpha - 1) Y_s'Y_s + regularisation I)^-1 alpha Y_s'1``, where Y_s are the factors of the seen items: the
    user's half of an iteration, solved exactly (equation 4 of Hu, Koren and Volinsky).

    Args:
        factors_ND: From `fit_ials`.
        seen: Distinct seen items of each query.
        regularisation: As in fitting.
        alpha: As in fitting.

    Returns:
        float64 ``[B, N]``; 0 for a query that has seen nothing.

    Raises:
        ConfigError: If the equations have no single solution, as may be without regularisation.
    """
    width = factors_ND.shape[1]
    shared_DD = factors_ND.T @ factors_ND + regularisation * torch.eye(width, dtype=torch.float64)
    queries_BD = torch.zeros(seen.num_rows, width, dtype=torch.float64)
    at_once = max(1, _SYSTEMS_AT_ONCE_BYTES // (8 * width * width))
    for start in range(0, seen.num_rows, at_once):
        stop = min(start + at_once, seen.num_rows)
        own_SD = [factors_ND[seen.values[seen.offsets[q] : seen.offsets[q + 1]].long()] for q in range(start, stop)]
        systems_BDD = torch.stack([shared_DD + (alpha - 1) * (own.T @ own) for own in own_SD])
        sums_BD = torch.stack([alpha * own.sum(0) for own in own_SD])
        solved_BD, faults_B = torch.linalg.solve_ex(systems_BDD, sums_BD)
        if bool(faults_B.any()):
            raise ConfigError(
                f"iALS: with a regularisation of {regularisation} a user's factors are not determined; take a larger one, or "
                f"fewer than {width} factors"
            )
        queries_BD[start:stop] = solved_BD
    return queries_BD @ factors_ND.T
