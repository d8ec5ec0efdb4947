"""Weights that are kept from long after the best epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twotower.diagnosis.finding import Finding

__all__ = ["Curve", "check_overfitting"]

_DROP = 0.05
"""Part of the best figure that the kept epoch has lost. The best of many noisy figures is too good by a few hundredths."""
_DEVIATIONS = 2.0
"""And at least so many standard errors of the figure on that many rows."""


@dataclass(frozen=True)
class Curve:
    """A figure of validation, epoch by epoch.

    Attributes:
        metric: Its name; ``recall@100``, say.
        epochs: The epochs that were validated, ascending, from 1.
        figures: One for each of them.
        losses: Train loss of the same epochs, per row.
        kept_epoch: The epoch whose weights were kept.
        rows: How many rows were validated on.
        of_test: Whether those rows were test rows.
        smaller_is_better: Whether the figure is an error.
    """

    metric: str
    epochs: tuple[int, ...]
    figures: tuple[float, ...]
    losses: tuple[float, ...]
    kept_epoch: int
    rows: int
    of_test: bool = False
    smaller_is_better: bool = False


def check_overfitting(evidence: Curve) -> Finding | None:
    """Find kept weights that are clearly worse than those of an earlier epoch, though the train loss has gone on falling."""
    if evidence.kept_epoch not in evidence.epochs:
        return None
    sign = -1.0 if evidence.smaller_is_better else 1.0
    best = max(range(len(evidence.figures)), key=lambda i: sign * evidence.figures[i])
    kept = evidence.epochs.index(evidence.kept_epoch)
    peak, now = evidence.figures[best], evidence.figures[kept]
    lost = sign * (peak - now)
    error = math.sqrt(max(peak * (1 - peak), 0.0) / max(evidence.rows, 1))
    if best >= kept or lost <= max(_DROP * abs(peak), _DEVIATIONS * error) or evidence.losses[kept] >= evidence.losses[best]:
        return None
    rows = "test rows" if evidence.of_test else "validation rows"
    fix = ["training.early_stopping = { metric = '" + evidence.metric + "', patience = 5 }: the best epoch's weights are kept"]
    if evidence.of_test:
        fix.insert(
            0, "evaluation.validate_on = 'validation', with split.validation above 0: an epoch chosen on test rows leaks"
        )
    fix.append("model.input_dropout = 0.2 to 0.4, or training.optimizer.weight_decay with adamw, for a peak that lasts")
    return Finding(
        code="overfitting",
        severity="fault",
        title="The weights that were kept are overfitted: the best epoch is long past",
        evidence=(
            f"{evidence.metric} on {evidence.rows:,} {rows} was {peak:.4f} after epoch {evidence.epochs[best]}; the kept "
            "weights are "
            f"of epoch {evidence.kept_epoch}, where it is {now:.4f}",
            f"meanwhile the train loss fell from {evidence.losses[best]:.3f} to {evidence.losses[kept]:.3f}",
        ),
        why="From the best epoch on, the model learns the train rows by heart, and gets worse on all others.",
        fix=tuple(fix),
    )
