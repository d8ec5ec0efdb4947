"""EASE: a linear model of items on items, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.baselines.cooccurrences import cooccurrences
from twotower.baselines.fit_rows import FitRows
from twotower.errors import ConfigError
from twotower.types import Ragged

__all__ = ["LARGEST_CATALOGUE", "ease_scores", "fit_ease"]

LARGEST_CATALOGUE = 10_000
"""Items of which `fit_ease` makes its matrices: at 10,000 they take 800 MB each, three at a time, and minutes."""


def fit_ease(rows: FitRows, *, regularisation: float) -> Tensor:
    """The weights that predict each item from all others with the least squared error and an L2 penalty.

    Steck (2019), Embarrassingly Shallow Autoencoders for Sparse Data, equation 8: with ``P = (X'X + lambda I)^-1``,
    ``B_ij = -P_ij / P_jj`` and a diagonal of zeros. X is binary: a repeated pair counts once.

    Args:
        rows: What to fit on.
        regularisation: lambda, above 0.

    Returns:
        float64 ``[N, N]``: B, the weight of having item i (row) in the score of item j (column).

    Raises:
        ConfigError: If lambda is so small that it is lost in rounding.
        ValueError: If lambda is not above 0, or the catalogue has more than `LARGEST_CATALOGUE` items.
    """
    if not regularisation > 0:
        raise ValueError(f"regularisation must be above 0, or X'X may have no inverse; came {regularisation}")
    if rows.num_items > LARGEST_CATALOGUE:
        raise ValueError(f"EASE inverts an N x N matrix: N must be at most {LARGEST_CATALOGUE:,}; came {rows.num_items:,}")
    gram_NN = torch.empty(rows.num_items, rows.num_items, dtype=torch.float64)
    for first, counts_BN in cooccurrences(rows.distinct(), rows.num_items):
        gram_NN[first : first + len(counts_BN)] = counts_BN
    gram_NN.diagonal().add_(regularisation)
    factor_NN, failed_at = torch.linalg.cholesky_ex(gram_NN)
    if failed_at:
        raise ConfigError(
            f"EASE: a regularisation of {regularisation} is lost in rounding, and some items have the same users, so that X'X "
            "has no inverse; take a larger one"
        )
    inverse_NN = torch.cholesky_inverse(factor_NN)
    weights_NN = inverse_NN.div_(-inverse_NN.diagonal().clone())
    weights_NN.fill_diagonal_(0)
    return weights_NN


def ease_scores(weights_NN: Tensor, seen: Ragged) -> Tensor:
    """The sum of the seen items' weights, float64 ``[B, N]``; 0 for a query that has seen nothing."""
    return torch.nn.functional.embedding_bag(seen.values.long(), weights_NN, seen.offsets[:-1], mode="sum")
