"""One training step, as a function."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.data.batches import Batch
from twotower.errors import TrainingError
from twotower.losses import RetrievalLoss
from twotower.models import TwoTower
from twotower.types import Features, Ragged, column_to, take_column

__all__ = ["batch_loss", "explain_divergence"]


def batch_loss(
    model: TwoTower, loss: RetrievalLoss, batch: Batch, items: Features, *, log_q_N: Tensor | None, device: torch.device
) -> Tensor:
    """The loss of one batch: each of its candidates is encoded once, however often it occurs.

    Args:
        model: In training mode.
        loss: In-batch or full softmax.
        batch: On the CPU.
        items: Features of the whole catalogue, on the device.
        log_q_N: log of each catalogue item's sampling probability; None without correction.
        device: Where the model is.

    Returns:
        A scalar with a gradient.
    """
    queries_BD = model.encode_queries({name: column_to(column, device) for name, column in batch.queries.items()})
    rows = None if batch.candidate_rows is None else batch.candidate_rows.to(device)
    candidates = items if rows is None else {name: take_column(column, rows) for name, column in items.items()}
    candidates_CD = model.encode_candidates(candidates)
    value: Tensor = loss(
        queries_BD,
        candidates_CD,
        batch.positives.to(device),
        counts_C=None if batch.counts is None else batch.counts.to(device),
        log_q_C=None if log_q_N is None else (log_q_N if rows is None else log_q_N[rows]),
        masked=None if batch.masked is None else (batch.masked[0].to(device), batch.masked[1].to(device)),
        weights_B=None if batch.weights is None else batch.weights.to(device),
    )
    return value


def explain_divergence(
    what: str, model: TwoTower, batch: Batch, *, epoch: int, index: int, step: int, learning_rate: float
) -> TrainingError:
    """The error for a loss or gradient that is not finite: where it happened and what most likely caused it."""
    bad_inputs = [
        name
        for name, column in batch.queries.items()
        if not isinstance(column, Ragged) and column.is_floating_point() and not bool(column.isfinite().all())
    ]
    bad_weights = [name for name, parameter in model.named_parameters() if not bool(parameter.isfinite().all())]
    if bad_inputs:
        cause = f"the query features {', '.join(bad_inputs)} hold values that are not finite: declare how they are filled"
    elif batch.weights is not None and float(batch.weights.sum()) == 0:
        cause = "all sample weights of the batch are 0"
    elif bad_weights:
        cause = (
            f"the weights {', '.join(bad_weights[:3])} are no longer finite: the learning rate ({learning_rate:g}) is "
            "too large; lower it, add warm-up (training.schedule.warmup_steps) or training.clip_norm"
        )
    else:
        cause = (
            "the scores are too large for the softmax: raise loss.temperature, normalise the vectors "
            "(l2_normalise = true) or set training.clip_norm"
        )
    return TrainingError(
        f"{what} is not a finite number in epoch {epoch + 1}, batch {index + 1} (step {step + 1}, rows "
        f"{int(batch.rows.min())} to {int(batch.rows.max())} of the training examples); most likely {cause}. "
        "The last checkpoint from before is kept"
    )
