"""What a checkpoint holds of a training over ranks: what all have alike, what each has a piece of, and small values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from twotower.distributed.ranks import Ranks
from twotower.distributed.shares import share_of
from twotower.errors import CheckpointError

__all__ = ["Pieces", "Shard", "TrainingState", "pieces_to_fill", "pieces_to_write", "values_text"]

_LEAST_BYTES = 1 << 20


@dataclass(frozen=True)
class Shard:
    """A rank's piece of a tensor that is cut over ranks: a block of rows, of columns, or of both.

    Attributes:
        shape: Of the whole tensor.
        offsets: Where the piece begins in it, for every dimension.
        values: The piece; its shape says how far it goes. It may have no rows.
    """

    shape: tuple[int, ...]
    offsets: tuple[int, ...]
    values: Tensor

    def __post_init__(self) -> None:
        ends = [offset + length for offset, length in zip(self.offsets, self.values.shape, strict=False)]
        fits = len(self.shape) == len(self.offsets) == self.values.dim()
        if (
            not fits
            or any(end > length for end, length in zip(ends, self.shape, strict=True))
            or min(self.offsets, default=0) < 0
        ):
            raise CheckpointError(
                f"a shard lies within its tensor; came {tuple(self.values.shape)} at {self.offsets} of {tuple(self.shape)}"
            )


Pieces = dict[str, list[Shard]]
"""Of every tensor, by name, what one rank writes or reads."""


@dataclass(frozen=True)
class TrainingState:
    """All that the next step depends on, as one rank has it.

    To save, tensors are read; to load, they are filled in place. A name stands for one tensor, whoever holds it: what was saved
    from shards can be loaded whole, and the other way round.

    Attributes:
        replicated: Tensors that are the same on all ranks, by name: weights, optimiser states, counters of a sketch. Every rank
            gives all of them; each is written once.
        sharded: Of tensors that are cut over ranks, by name, the pieces that this rank has; none, or no such name, where it has
            none. All ranks' pieces together are the whole tensor, each number once (or the same shard on several ranks).
        values: What JSON can hold, the same on all ranks: counters, records, the position in the order of rows. Keys are text;
            a tuple comes back as a list. Not looked at when loading.
    """

    replicated: Mapping[str, Tensor] = field(default_factory=dict)
    sharded: Mapping[str, Sequence[Shard]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        both = sorted(set(self.replicated) & set(self.sharded))
        if both:
            raise CheckpointError(f"a tensor is replicated or sharded; came as both: {', '.join(both)}")
        for name, tensor in self._all():
            if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
                what = tensor.layout if isinstance(tensor, Tensor) else type(tensor).__name__
                raise CheckpointError(f"a checkpoint holds dense tensors; {name!r} is {what}")

    def _all(self) -> list[tuple[str, Tensor]]:
        pieces = [(name, shard.values) for name, shards in self.sharded.items() for shard in shards]
        return [*self.replicated.items(), *pieces]


def values_text(values: Mapping[str, Any]) -> str:
    """Small values as JSON.

    Raises:
        CheckpointError: If they hold what JSON does not have.
    """
    try:
        return json.dumps(values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the values of a checkpoint are numbers, text, lists and dicts of them: {error}") from error


def pieces_to_write(state: TrainingState, ranks: Ranks, *, copied: bool) -> Pieces:
    """What one rank writes: its shards, and its part of what all have alike.

    Replicated tensors are cut by rows, so that ranks write about the same; small ones go whole to one rank, in turn.

    Args:
        state: As this rank has it.
        ranks: All of them.
        copied: Give copies in memory of the host, which later steps do not change.
    """

    def kept(tensor: Tensor) -> Tensor:
        still = tensor.detach()
        return torch.empty(still.shape, dtype=still.dtype).copy_(still) if copied else still

    found: Pieces = {}
    for position, (name, tensor) in enumerate(sorted(state.replicated.items())):
        parts = min(ranks.size, max(1, tensor.numel() * tensor.element_size() // _LEAST_BYTES)) if tensor.dim() else 1
        part = (ranks.rank - position) % ranks.size
        if part < parts:
            rows = share_of(len(tensor), part, parts) if tensor.dim() else range(0)
            offsets = (rows.start, *[0] * (tensor.dim() - 1)) if tensor.dim() else ()
            values = tensor[rows.start : rows.stop] if tensor.dim() else tensor
            found[name] = [Shard(tuple(tensor.shape), offsets, kept(values))]
    for name, shards in state.sharded.items():
        found[name] = [Shard(each.shape, each.offsets, kept(each.values)) for each in map(_normal, shards) if each is not None]
    return {name: shards for name, shards in found.items() if shards}


def pieces_to_fill(state: TrainingState) -> Pieces:
    """What one rank reads: all of what is replicated, and its shards."""
    found: Pieces = {
        name: [Shard(tuple(tensor.shape), (0,) * tensor.dim(), tensor.detach())] for name, tensor in state.replicated.items()
    }
    for name, shards in state.sharded.items():
        found[name] = [Shard(each.shape, each.offsets, each.values.detach()) for each in shards]
    return found


def _normal(shard: Shard) -> Shard | None:
    """Nothing for a piece without a number; of a tensor that has none at all, all pieces are the same one."""
    if shard.values.numel():
        return shard
    if 0 not in shard.shape:
        return None
    return Shard(shard.shape, (0,) * len(shard.shape), shard.values.new_empty(shard.shape))
