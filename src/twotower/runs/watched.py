"""The figure of validation that a recipe names, taken apart: ``recall@20 per user removed``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["PER_USER", "REMOVED", "Watched", "validation_figures"]

PER_USER = " per user"
"""Marks a figure of one list per user, against all of the user's rows."""

REMOVED = " removed"
"""Marks a figure of rankings that seen items are left out of."""


@dataclass(frozen=True)
class Watched:
    """A figure of validation.

    Attributes:
        metric: ``recall@K``, ``ndcg@K`` or ``mrr``, or an error of an outcome.
        per_user: Whether it is of one list per user.
        removed: Whether seen items are left out.
    """

    metric: str
    per_user: bool = False
    removed: bool = False

    @classmethod
    def of(cls, name: str) -> Watched:
        """Read a name as recipes have it.

        Example:
            >>> Watched.of("ndcg@20 per user removed")
            Watched(metric='ndcg@20', per_user=True, removed=True)
            >>> Watched.of("mrr").name
            'mrr'
        """
        metric = name.removesuffix(REMOVED)
        return cls(metric.removesuffix(PER_USER), metric.endswith(PER_USER), name.endswith(REMOVED))

    @property
    def name(self) -> str:
        """As recipes have it."""
        return f"{self.metric}{PER_USER if self.per_user else ''}{REMOVED if self.removed else ''}"

    @property
    def orders_rankers(self) -> bool:
        """Whether it is a figure of rankings, and not an error of an outcome."""
        kind, _, k = self.metric.partition("@")
        return self.metric == "mrr" or (kind in ("recall", "ndcg") and k.isdigit() and int(k) > 0)


def validation_figures(ks: Sequence[int], tasks: Sequence[str]) -> list[str]:
    """Every figure that a recipe's validation can give.

    Args:
        ks: Cut-offs of recall.
        tasks: Names of the outcomes that are predicted.

    Example:
        >>> validation_figures([5], ["rating"])  # doctest: +NORMALIZE_WHITESPACE
        ['recall@5', 'ndcg@10', 'mrr', 'recall@5 per user', 'ndcg@5 per user', 'recall@5 removed', 'ndcg@10 removed',
         'mrr removed', 'recall@5 per user removed', 'ndcg@5 per user removed', 'rating rmse', 'rating mae']
    """
    rankings = [*(f"recall@{k}" for k in ks), "ndcg@10", "mrr"]
    rankings += [f"{kind}@{k}{PER_USER}" for kind in ("recall", "ndcg") for k in ks]
    errors = [f"{task} {figure}" for task in tasks for figure in ("rmse", "mae")]
    return [*rankings, *(f"{name}{REMOVED}" for name in rankings), *errors]
