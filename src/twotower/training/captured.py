"""A training step as a CUDA graph: launched as one, where a small model's step is mostly the launching of its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch

from twotower.data.batches import Batches
from twotower.data.filled_examples import longest_rows
from twotower.errors import ConfigError
from twotower.losses import RetrievalLoss
from twotower.models import TwoTower
from twotower.optim import OptimizerConfig
from twotower.training.tasks import Objective
from twotower.types import Features, Ragged

__all__ = ["CAPTURES", "WARM_UP", "Capture", "another_stream", "checked_capture", "cuda_graph", "on_stream", "why_not_captured"]

Capture: TypeAlias = Callable[[Callable[[], None], torch.device], Callable[[], None]]
"""From work on tensors of a device that stay where they are to what repeats it on what they hold by then; may do it or not."""

_MOST_VALUES = 2**23
"""Of one list or history in a batch that is filled up: with 64 numbers each, 2 GiB of gradients."""

WARM_UP = 3
"""Steps before the one that is captured: whatever is made at a first step is made by then, and is no part of the graph."""


def cuda_graph(work: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Capture work on a CUDA device, which is not done by that."""
    with torch.cuda.device(device):
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.Stream(device)):  # type: ignore[no-untyped-call]
            work()
    return graph.replay


CAPTURES: dict[str, Capture] = {"cuda": cuda_graph}
"""By type of the device: what captures work there."""


def another_stream(device: torch.device) -> torch.cuda.Stream | None:
    """What work is done on before it is captured; None where there are no such streams."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def on_stream(work: Callable[[], None], stream: torch.cuda.Stream | None) -> None:
    """Do work as it must be done before it is captured, on a stream that is not the default one; at once without one."""
    if stream is None:
        work()
        return
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        work()
    current.wait_stream(stream)


def checked_capture(
    asked: bool,
    model: TwoTower,
    loss: RetrievalLoss,
    batches: Batches,
    items: Features,
    objective: Objective,
    *,
    optimizer: OptimizerConfig,
    device: torch.device,
    ranks: int,
    streamed_log_q: bool,
) -> Capture | None:
    """What captures steps, where that was asked for.

    Args:
        asked: ``training.cuda_graph``.
        model: The model.
        loss: The loss.
        batches: The feed, on the CPU.
        items: Features of the whole catalogue, on the CPU.
        objective: What is learned.
        optimizer: Which one.
        device: Where steps are.
        ranks: How many processes train.
        streamed_log_q: Whether a sketch counts what is drawn.

    Raises:
        ConfigError: If steps can't be captured; says why.
    """
    if not asked:
        return None
    capture = CAPTURES.get(device.type)
    why_not = f"the device is {device.type}" if capture is None else None
    why_not = why_not or (f"{ranks} processes train" if ranks > 1 else None)
    why_not = why_not or why_not_captured(
        model, loss, batches, items, objective, optimizer=optimizer, streamed_log_q=streamed_log_q
    )
    if why_not is not None:
        raise ConfigError(f"training.cuda_graph: the step can't be captured: {why_not}; set it to false")
    return capture


def why_not_captured(
    model: TwoTower,
    loss: RetrievalLoss,
    batches: Batches,
    items: Features,
    objective: Objective,
    *,
    optimizer: OptimizerConfig,
    streamed_log_q: bool,
) -> str | None:
    """What of a step depends on values, and is of another size each time; None: nothing, so that steps can be captured.

    Arguments as for `checked_capture`, whose message this is a part of.
    """
    examples = batches.examples
    ordered = [entry.name for entry in examples.history_inputs if entry.in_order]
    if ordered:
        return f"the history {ordered[0]!r} is read in order, and sequences are shared by as many rows as they are"
    if model.item_columns or model.embeddings.propagation is not None or model.embeddings.distant is not None:
        return "the towers read vectors of items, propagated tables or tables of other processes"
    if objective.tasks:
        return f"the task {objective.tasks[0].name!r} learns from the rows that have an outcome, however many these are"
    if batches.mask_known_positives:
        return "known positives are masked, as many as there are"
    if streamed_log_q:
        return "the sketch of log-Q counts on the host"
    if not getattr(loss, "recordable", False):  # anyone's loss may lack it
        return f"the loss {type(loss).__name__} picks out of the batch what it learns from"
    dropped = [entry.column for entry in model.spec.candidate.inputs if entry.id_dropout and entry.table is not None]
    if optimizer.sparse_kind == "lazy_adam" and dropped and batches.most_candidates is not None:
        return (
            f"lazy_adam moves every row that is looked up, and ids of {dropped[0]!r} would be dropped to the unknown row of "
            "candidates that only fill: set its embedding.id_dropout = 0, or another sparse_kind"
        )
    return _too_long(batches, items)


def _too_long(batches: Batches, items: Features) -> str | None:
    """Which list has so long a row that filling all rows up to it would look up too many values."""
    size, candidates = batches.batch_size, batches.most_candidates
    lists = [(name, column.lengths) for name, column in items.items() if isinstance(column, Ragged)]
    # of the whole catalogue nothing is filled up
    of_items = [(name, int(lengths.max()), candidates or 0) for name, lengths in lists if len(lengths)]
    for name, longest, rows in (*((name, longest, size) for name, longest in longest_rows(batches.examples)), *of_items):
        if longest * rows > _MOST_VALUES:
            return (
                f"the {rows:,} rows of a batch may have {longest:,} values of {name!r} each, all of which would be looked up: "
                "set max_length, or a smaller batch_size"
            )
    return None
