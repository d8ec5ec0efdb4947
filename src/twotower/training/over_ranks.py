"""One step by several processes: each has a share of the batch, and together they do what one would do alone.

The loss of a batch is the sum of what its ranks return, and the gradient of a parameter the sum of theirs; nothing is a mean
over ranks, for a rank may have fewer rows than another, or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from twotower.data.batches import Batch
from twotower.distributed import Ranks, share_sizes
from twotower.losses import RetrievalLoss
from twotower.losses.cross_entropy import Reduction
from twotower.models import TwoTower, rows_read, with_places
from twotower.optim.coalesced import coalesced
from twotower.training.tasks import OutcomeTask
from twotower.types import Features, QueryFeatures, take_column

__all__ = ["encoded_over_ranks", "outcome_parts", "retrieval_part", "sum_gradients"]


def encoded_over_ranks(
    model: TwoTower, queries: QueryFeatures, rows: Tensor | None, items: Features, ranks: Ranks
) -> tuple[Tensor, Tensor]:
    """Vectors of this rank's queries, and of all candidates, of which each rank encodes its share.

    Items that histories hold and that do not compete are encoded by the rank whose histories they are.

    Args:
        model: The same on all ranks.
        queries: Of this rank's rows.
        rows: int64 ``[C]``, catalogue rows of the candidates; None: all of the catalogue.
        items: Features of the whole catalogue.
        ranks: All of them.

    Returns:
        ``[B, D]`` and ``[C, D]``, the latter the same on all ranks; gradients of it go back to the rank that encoded it.
    """
    total = len(next(iter(items.values()))) if rows is None else len(rows)
    share = ranks.share(total)
    mine = torch.arange(share.start, share.stop) if rows is None else rows[share.start : share.stop]
    mine = mine.to(_device(items))
    others = mine[:0]
    if model.item_columns and rows is not None:
        read = rows_read(queries, model.item_columns)
        others = read[~torch.isin(read, rows)]
    with model.fetched(queries, _taken(items, torch.cat([mine, others]))):
        own_CD = model.encode_candidates(_taken(items, mine))
        candidates_CD = ranks.gather(own_CD, share_sizes(total, ranks.size))
        if not model.item_columns:
            return model.encode_queries(queries), candidates_CD
        if rows is None:
            return model.encode_queries_with_items(queries, candidates_CD), candidates_CD
        vectors_VD = torch.cat([candidates_CD, model.encode_candidates(_taken(items, others))])
        placed = with_places(queries, model.item_columns, torch.cat([rows, others]))
        return model.encode_queries_with_items(placed, vectors_VD), candidates_CD


def retrieval_part(loss: RetrievalLoss, value: Tensor, batch: Batch) -> Tensor:
    """What the loss of a rank's rows adds to that of the whole batch."""
    if loss.reduction == "sum":
        return value
    own = float(len(batch.rows)) if batch.weights is None else float(batch.weights.sum())
    return _part_of_mean(value, own, batch.total_weight)


def outcome_parts(
    losses: Mapping[str, Tensor],
    model: TwoTower,
    tasks: Sequence[OutcomeTask],
    batch: Batch,
    queries_BD: Tensor,
    own_BD: Tensor,
    *,
    reduction: Reduction,
    ranks: Ranks,
) -> dict[str, Tensor]:
    """What the losses of a rank's outcomes add to those of the whole batch; ``losses`` and arguments as for `outcome_losses`.

    Where a rank has no outcome of a task and others have some, its part is 0, with the graph that theirs have: the backward
    pass goes through the gathered candidates on all ranks, or on none.
    """
    weights = torch.ones(len(batch.rows)) if batch.weights is None else batch.weights
    own = [float(weights[~batch.outcomes[task.column].isnan()].sum(dtype=torch.float64)) for task in tasks]
    totals = ranks.sum_(torch.tensor(own, dtype=torch.float64)).tolist()
    found = {}
    for task, weight, total in zip(tasks, own, totals, strict=True):
        if total > 0 and not weight > 0:
            found[task.name] = model.head(task.name)(queries_BD[:0], own_BD[:0]).sum()
        else:
            value = losses[task.name]
            found[task.name] = value if reduction == "sum" else _part_of_mean(value, weight, total)
    return found


def _part_of_mean(value: Tensor, weight: float, total: float) -> Tensor:
    """What a mean over some rows adds to the mean over all; 0 where no row weighs anything."""
    return value * (weight / total if total > 0 else 0.0)


def sum_gradients(parameters: Sequence[Tensor], ranks: Ranks) -> None:
    """Sum the gradient of every parameter over all ranks, in place: all have the same bits afterwards.

    Dense ones go together, so that a step pays for one collective and not for one for each; of sparse ones the touched rows are
    gathered. A parameter that no rank has a gradient of keeps none.

    Args:
        parameters: The same, in the same order, on all ranks.
        ranks: All of them.
    """
    if ranks.size == 1 or not parameters:
        return
    kinds = torch.zeros(len(parameters), dtype=torch.int64)
    for at, parameter in enumerate(parameters):
        if parameter.grad is not None:
            kinds[at] = 1 << 32 if parameter.grad.is_sparse else 1
    ranks.sum_(kinds)
    dense = [parameter for parameter, kind in zip(parameters, kinds.tolist(), strict=True) if 0 < kind < 1 << 32]
    sparse = [parameter for parameter, kind in zip(parameters, kinds.tolist(), strict=True) if kind >= 1 << 32]
    for dtype in sorted({parameter.dtype for parameter in dense}, key=str):
        _sum_dense([parameter for parameter in dense if parameter.dtype == dtype], ranks)
    for parameter in sparse:
        parameter.grad = _summed_sparse(parameter, ranks)


def _sum_dense(parameters: Iterable[Tensor], ranks: Ranks) -> None:
    gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach() for parameter in parameters]
    flat = ranks.sum_(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    for parameter, part in zip(parameters, torch.split(flat, [each.numel() for each in gradients]), strict=True):
        parameter.grad = part.view(parameter.shape)


def _summed_sparse(parameter: Tensor, ranks: Ranks) -> Tensor:
    gradient = parameter.grad
    if gradient is None:
        indices = torch.zeros(1, 0, dtype=torch.int64, device=parameter.device)
        values = parameter.detach().new_zeros(0, *parameter.shape[1:])
    else:
        summed = coalesced(gradient)
        indices, values = summed.indices(), summed.values()
    lengths = ranks.lengths(indices.shape[1])
    with torch.no_grad():
        rows = ranks.gather(indices[0], lengths)
        found = torch.sparse_coo_tensor(rows[None], ranks.gather(values, lengths), parameter.shape, check_invariants=False)
    return coalesced(found)


def _taken(items: Features, rows: Tensor) -> Features:
    return {name: take_column(column, rows) for name, column in items.items()}


def _device(items: Features) -> torch.device:
    column = next(iter(items.values()))
    return column.device if isinstance(column, Tensor) else column.values.device
