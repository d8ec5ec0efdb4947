"""One training step, as a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from twotower.data.batches import Batch
from twotower.distributed import ALONE, Ranks
from twotower.errors import TrainingError
from twotower.losses import RetrievalLoss, StreamedLogQ
from twotower.models import TwoTower, rows_read, with_places
from twotower.training.over_ranks import encoded_over_ranks, outcome_parts, retrieval_part
from twotower.training.tasks import RETRIEVAL, RETRIEVAL_ALONE, Objective, outcome_losses
from twotower.types import Events, Features, Prefixes, QueryColumn, QueryFeatures, Ragged, take_column

__all__ = ["Place", "batch_loss", "batch_losses", "explain_divergence"]


@dataclass(frozen=True)
class Place:
    """Where in training something happened; epoch, batch and step are counted from 0."""

    epoch: int
    batch: int
    step: int
    learning_rate: float


def batch_loss(
    model: TwoTower, loss: RetrievalLoss, batch: Batch, items: Features, *, log_q_N: Tensor | None, device: torch.device
) -> Tensor:
    """The retrieval loss of one batch, a scalar with a gradient; arguments as for `batch_losses`."""
    return batch_losses(model, loss, batch, items, log_q_N=log_q_N, device=device)[RETRIEVAL]


def batch_losses(
    model: TwoTower,
    loss: RetrievalLoss,
    batch: Batch,
    items: Features,
    *,
    log_q_N: Tensor | None,
    device: torch.device,
    objective: Objective = RETRIEVAL_ALONE,
    streamed_log_q: StreamedLogQ | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Tensor]:
    """The loss of every task on one batch: each of its candidates is encoded once, however often it occurs.

    So is each item that its histories hold as the candidate tower gives it: it and the candidates are encoded together, the
    vector that a history reads is the one that competes, dropout included, and gradients reach the tower from both.

    Args:
        model: In training mode.
        loss: In-batch or full softmax.
        batch: On the CPU or on the device.
        items: Features of the whole catalogue, on the device.
        log_q_N: log of each catalogue item's sampling probability; None without correction.
        device: Where the model is.
        objective: The tasks; a retrieval that weighs 0 has no loss here.
        streamed_log_q: In place of ``log_q_N``: counts the batch, and says how likely its candidates were.
        ranks: The processes that share the batch; all of them call this.

    Returns:
        Scalars with a gradient, by name of the task, not weighted yet; of several ranks each one's part of them, which add up.
    """
    queries = {name: column.to(device) for name, column in batch.queries.items()}
    rows = None if batch.candidate_rows is None else batch.candidate_rows.to(device)
    with model.embeddings.propagated():
        queries_BD, candidates_CD = _encoded(model, queries, rows, items, ranks)
    positives_B = batch.positives.to(device)
    found: dict[str, Tensor] = {}
    if objective.retrieval > 0:
        log_q_C = None if log_q_N is None else (log_q_N if rows is None else log_q_N[rows])
        if streamed_log_q is not None:
            candidate_rows = torch.arange(len(candidates_CD)) if batch.candidate_rows is None else batch.candidate_rows.cpu()
            positives = batch.positives if batch.whole is None else batch.whole.positives
            log_q_C = streamed_log_q(candidate_rows, positives.cpu()).to(device)  # which counts on the CPU
        beside: dict[str, Any] = {}
        if loss.needs_users:
            beside["users_B"] = None if batch.users is None else batch.users.to(device)
            if ranks.size > 1:
                beside["all_rows"] = ranks.gather
        value = (
            None
            if ranks.size > 1 and not loss.needs_users and not _weighs(batch)
            else loss(
                queries_BD,
                candidates_CD,
                positives_B,
                counts_C=None if batch.counts is None else batch.counts.to(device),
                log_q_C=log_q_C,
                masked=None if batch.masked is None else (batch.masked[0].to(device), batch.masked[1].to(device)),
                weights_B=None if batch.weights is None else batch.weights.to(device),
                **beside,
            )
        )
        if value is None:  # nothing to take a loss of here, but others need this rank's candidates
            value = (queries_BD * 0).sum() + (candidates_CD * 0).sum()
        found[RETRIEVAL] = value if loss.needs_users or ranks.size == 1 else retrieval_part(loss, value, batch)
    if objective.tasks:
        own_BD = candidates_CD[positives_B]
        losses = outcome_losses(model, objective.tasks, batch, queries_BD, own_BD, reduction=loss.reduction)
        if ranks.size > 1:
            losses = outcome_parts(
                losses, model, objective.tasks, batch, queries_BD, own_BD, reduction=loss.reduction, ranks=ranks
            )
        found |= losses
    return found


def _weighs(batch: Batch) -> bool:
    return len(batch.rows) > 0 and (batch.weights is None or float(batch.weights.sum()) > 0)


def _encoded(
    model: TwoTower, queries: QueryFeatures, rows: Tensor | None, items: Features, ranks: Ranks
) -> tuple[Tensor, Tensor]:
    """Vectors of the queries, and of the candidates: those at ``rows``, or all of the catalogue."""
    if ranks.size > 1:
        return encoded_over_ranks(model, queries, rows, items, ranks)
    if not model.item_columns:
        candidates = items if rows is None else _taken(items, rows)
        with model.fetched(queries, candidates):
            queries_BD = model.encode_queries(queries)
            return queries_BD, model.encode_candidates(candidates)
    if rows is None:
        with model.fetched(queries, items):
            vectors_ND = model.encode_candidates(items)
            return model.encode_queries_with_items(queries, vectors_ND), vectors_ND
    read = rows_read(queries, model.item_columns)
    every = torch.cat([rows, read[~torch.isin(read, rows)]])
    candidates = _taken(items, every)
    with model.fetched(queries, candidates):
        vectors_VD = model.encode_candidates(candidates)
        queries_BD = model.encode_queries_with_items(with_places(queries, model.item_columns, every), vectors_VD)
        return queries_BD, vectors_VD[: len(rows)]


def _taken(items: Features, rows: Tensor) -> Features:
    return {name: take_column(column, rows) for name, column in items.items()}


def explain_divergence(
    what: str, modules: Mapping[str, nn.Module], batch: Batch, items: Features, where: Place, *, late: bool = False
) -> TrainingError:
    """The error for a figure that is not a finite number: where it came up and what most likely caused it.

    Args:
        what: The figure: ``the loss``, ``a gradient``, ``a weight``.
        modules: Those that are trained, by name.
        batch: The one in which it came up.
        items: Features of the whole catalogue.
        where: Epoch, batch, step and learning rate.
        late: Whether steps were taken since: then the weights say nothing of what came first.
    """
    bad_queries = [f"query feature {name!r} (rows {rows})" for name, rows in _not_finite(batch.queries, batch.rows)]
    bad_items = [f"item feature {name!r} (rows {rows} of the catalogue)" for name, rows in _not_finite(items, None)]
    bad_weights = [
        name
        for module in modules.values()
        for name, parameter in module.named_parameters()
        if not bool(parameter.isfinite().all())
    ]
    if bad_queries or bad_items:
        cause = f"a cause in the data: not finite in {', '.join((bad_queries + bad_items)[:3])}; declare how they are filled"
    elif batch.weights is not None and not float(batch.weights.sum()) > 0:
        cause = "that all sample weights of the batch are 0: leave such rows out, or set loss.reduction = 'sum'"
    elif late:
        cause = (
            f"that the learning rate ({where.learning_rate:g}) is too large (lower it, add training.schedule.warmup_steps), or "
            "scores are for the softmax (raise loss.temperature, set model.l2_normalise = true); training.clip_norm helps with "
            "both, and --device cpu tells them apart"
        )
    elif bad_weights:
        cause = (
            f"that the learning rate ({where.learning_rate:g}) is too large: the weights {', '.join(bad_weights[:3])} are no "
            "longer finite; lower it, add warm-up (training.schedule.warmup_steps) or training.clip_norm"
        )
    else:
        cause = (
            f"scores too large for the softmax: lower the learning rate ({where.learning_rate:g}), raise loss.temperature, "
            "normalise the vectors (model.l2_normalise = true) or set training.clip_norm"
        )
    return TrainingError(
        f"{what} is not a finite number in epoch {where.epoch + 1}, batch {where.batch + 1} (step {where.step + 1}); "
        f"most likely {cause}"
    )


def _not_finite(features: QueryFeatures, rows: Tensor | None) -> list[tuple[str, str]]:
    """Columns of floats that hold NaN or infinity, each with the first few rows where."""
    found = []
    for name, column in features.items():
        wrong = _wrong_rows(column)
        if len(wrong):
            shown = wrong if rows is None else rows.cpu()[wrong].sort().values
            found.append((name, ", ".join(map(str, shown[:3].tolist())) + (", ..." if len(shown) > 3 else "")))
    return found


def _wrong_rows(column: QueryColumn | Prefixes) -> Tensor:
    if isinstance(column, Ragged | Prefixes | Events) or not column.is_floating_point():
        return torch.empty(0, dtype=torch.int64)
    return (~column.isfinite().reshape(len(column), -1).all(1)).nonzero().flatten().cpu()
