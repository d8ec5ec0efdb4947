"""Vectors that are all alike: the towers tell nobody and nothing apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twotower.diagnosis.finding import Finding
from twotower.diagnosis.lift import Lift

__all__ = ["Vectors", "check_vectors", "effective_rank", "mean_cosine", "share_of_equal"]

_ALIKE = 0.99
"""Mean cosine from which all directions count as one: angles of 8 degrees and less."""
_EQUAL = 0.5
"""Share of trained items that share their vector with another: with half of them, most lists are decided by ties."""
_RANK = 1.5
"""Effective rank below which vectors lie on one line."""
_LEAST_DIM = 4
"""Narrower vectors have no rank to lose."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """What the two towers give.

    Attributes:
        candidates_ND: float ``[N, D]``, of items that have train rows (one without may well share its vector with others).
        queries_QD: float ``[Q, D]``, one of each of some users.
        lift: The model beside popularity; None when it is not known. Directions that are alike are no fault of a model that
            is clearly better than popularity: what all candidates have in common cancels in the softmax, and a world with
            two tastes needs no second dimension.
        trained: Whether the loss has fallen. Where it has not, the vectors are those of a random start, whose directions may
            well be alike, and that is not what has to be mended.
    """

    candidates_ND: NDArray[np.floating]
    queries_QD: NDArray[np.floating]
    lift: Lift | None = None
    trained: bool = True


def check_vectors(evidence: Vectors) -> Finding | None:
    """Find vectors that have collapsed into a point or a line."""
    found = []
    candidates, queries = evidence.candidates_ND, evidence.queries_QD
    equal = share_of_equal(candidates)
    if equal >= _EQUAL:
        found.append(f"{equal:.0%} of {len(candidates):,} trained items have exactly the vector of another one")
    if evidence.trained and (evidence.lift is None or not evidence.lift.clear):
        for name, vectors in (("item", candidates), ("query", queries)):
            cosine = mean_cosine(vectors)
            if cosine >= _ALIKE:
                found.append(f"the mean cosine of two {name} vectors is {cosine:.3f} ({len(vectors):,} vectors)")
        rank = effective_rank(candidates)
        if rank < _RANK and candidates.shape[1] >= _LEAST_DIM:
            found.append(f"item vectors of {candidates.shape[1]} dimensions vary along {rank:.2f} of them (effective rank)")
    if not found:
        return None
    if evidence.lift is not None:
        found.append(evidence.lift.sentence())
    return Finding(
        code="collapsed_vectors",
        severity="fault",
        title="The vectors have collapsed: the model hardly tells items or users apart",
        evidence=tuple(found),
        why="Where all vectors are alike, so are all scores: lists are decided by ties, by length, or by rounding, and "
        "everybody "
        "gets the same one.",
        fix=(
            "training.optimizer.learning_rate: lower it, tenfold at first; set training.clip_norm = 1.0 besides",
            "model.layer_sizes: fewer layers, or model.activation = 'gelu' in place of 'relu', whose units can die",
            "look whether the features vary at all: twotower inspect on the tables",
        ),
    )


def mean_cosine(vectors_ND: NDArray[np.floating]) -> float:
    """Mean cosine over all pairs of different vectors, in [-1, 1]; a zero vector has cosine 0; fewer than two vectors: 0.

    Example:
        >>> mean_cosine(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
        0.3333333333333333
    """
    count = len(vectors_ND)
    if count < 2:
        return 0.0
    wide_ND = np.asarray(vectors_ND, dtype=np.float64)
    lengths_N1 = np.linalg.norm(wide_ND, axis=1, keepdims=True)
    unit_ND = np.divide(wide_ND, lengths_N1, out=np.zeros_like(wide_ND), where=lengths_N1 > 0)
    own = float((unit_ND**2).sum())
    return float((np.square(unit_ND.sum(axis=0)).sum() - own) / (count * (count - 1)))


def effective_rank(vectors_ND: NDArray[np.floating]) -> float:
    """How many dimensions the vectors vary along: the exponential of the entropy of the singular values about the mean.

    Roy and Vetterli, "The effective rank: a measure of effective dimensionality" (EUSIPCO 2007). Between 1 and D; 0 when
    nothing varies (beyond rounding).

    Example:
        >>> round(effective_rank(np.eye(4)), 6), effective_rank(np.ones((5, 3)))
        (3.0, 0.0)
    """
    wide_ND = np.asarray(vectors_ND, dtype=np.float64)
    if len(wide_ND) < 2:
        return 0.0
    values = np.linalg.svd(wide_ND - wide_ND.mean(axis=0), compute_uv=False)
    noise = np.finfo(np.float32).eps * float(np.linalg.norm(wide_ND))
    values = values[values > noise]
    if not len(values):
        return 0.0
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def share_of_equal(vectors_ND: NDArray[np.floating]) -> float:
    """Share of the vectors that are equal, number by number, to another one; 0 for none.

    Example:
        >>> share_of_equal(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        0.6666666666666666
    """
    if not len(vectors_ND):
        return 0.0
    counts = np.unique(vectors_ND, axis=0, return_counts=True)[1]
    return float(counts[counts > 1].sum() / len(vectors_ND))
