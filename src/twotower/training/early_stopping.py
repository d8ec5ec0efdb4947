"""Which epoch is the best, and when there is nothing more to wait for."""

from __future__ import annotations

import math
from collections.abc import Mapping

from twotower.errors import TrainingError
from twotower.training.checkpoint import Progress
from twotower.training.config import EarlyStopping, smaller_is_better

__all__ = ["judge"]


def judge(progress: Progress, metrics: Mapping[str, float], stopping: EarlyStopping | None) -> bool:
    """Whether the epoch that was just validated is the best so far.

    Args:
        progress: Where training stands; is told the best epoch, and whether to stop.
        metrics: What validation gave.
        stopping: By what, and how patient; None: nothing is judged.

    Raises:
        TrainingError: If the figure is not a finite number.
    """
    if stopping is None:
        return False
    value = metrics[stopping.metric]
    if not math.isfinite(value):
        raise TrainingError(
            f"validation gives {stopping.metric} = {value} after epoch {progress.epoch}, and early stopping needs a finite "
            "number: look at the validation rows, or set training.early_stopping = false"
        )
    sign = -1.0 if smaller_is_better(stopping.metric) else 1.0
    if progress.best_value is None or sign * value > sign * progress.best_value + stopping.min_delta:
        progress.best_epoch, progress.best_value, progress.stale = progress.epoch, value, 0
        return True
    progress.stale += 1
    progress.stopped = stopping.patience is not None and progress.stale >= stopping.patience
    return False
