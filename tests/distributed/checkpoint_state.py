"""A training's state for tests of checkpoints: tensors of all kinds, cut over ranks in all ways."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from twotower.distributed import Ranks, Shard, TrainingState, share_of

__all__ = ["REPLICATED", "SHARDED", "bits", "blank", "differing", "full", "state_of"]

REPLICATED = ["weights", "half", "mask", "sketch", "step", "nothing", "random", "large"]
SHARDED = ["rows", "rows_sum", "whole_table", "columns", "no_rows"]


def full(seed: int) -> dict[str, Tensor]:
    """Whole tensors, with numbers that compare badly."""
    made = torch.Generator().manual_seed(seed)
    weights = torch.randn(7, 3, generator=made)
    weights[0, 0], weights[0, 1], weights[1, 0] = float("nan"), -0.0, float("inf")
    return {
        "weights": weights,
        "half": torch.randn(5, generator=made).to(torch.bfloat16),
        "mask": torch.rand(3, 2, generator=made) < 0.5,
        "sketch": torch.randint(1 << 40, (4, 5), generator=made),
        "step": torch.tensor(float(seed)),
        "nothing": torch.empty(0, 4),
        "random": made.get_state(),
        "large": torch.randn(701, 1024, generator=made),  # is cut over ranks
        "rows": torch.randn(11, 4, generator=made),
        "rows_sum": torch.rand(11, generator=made, dtype=torch.float64),
        "whole_table": torch.randn(6, 2, generator=made),
        "columns": torch.randn(5, 6, generator=made),
        "no_rows": torch.empty(0, 3),
    }


def shards_of(name: str, whole: Tensor, ranks: Ranks) -> list[Shard]:
    """By rows, but for a table that the last rank has alone and one that is cut by columns and rows."""
    shape = tuple(whole.shape)
    if name == "whole_table":
        return [Shard(shape, (0, 0), whole)] if ranks.rank == ranks.size - 1 else []
    if name == "columns":
        mine = share_of(shape[1], ranks.rank, ranks.size)
        blocks = [(0, 2), (2, shape[0])]
        return [Shard(shape, (top, mine.start), whole[top:end, mine.start : mine.stop]) for top, end in blocks]
    mine = share_of(shape[0], ranks.rank, ranks.size)
    return [Shard(shape, (mine.start, *[0] * (whole.dim() - 1)), whole[mine.start : mine.stop])]


def state_of(tensors: dict[str, Tensor], ranks: Ranks, values: dict[str, Any] | None = None) -> TrainingState:
    """One rank's part of whole tensors; shards are views of them."""
    return TrainingState(
        replicated={name: tensors[name] for name in REPLICATED},
        sharded={name: shards_of(name, tensors[name], ranks) for name in SHARDED},
        values=values or {},
    )


def blank() -> dict[str, Tensor]:
    """To be filled."""
    return {name: torch.full_like(tensor, 1) for name, tensor in full(0).items()}


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def differing(found: TrainingState, expected: TrainingState) -> list[str]:
    """Names of tensors that do not have the same bits."""
    names = [name for name, tensor in expected.replicated.items() if bits(found.replicated[name]) != bits(tensor)]
    for name, shards in expected.sharded.items():
        pairs = zip(found.sharded[name], shards, strict=True)
        names += [name for mine, theirs in pairs if bits(mine.values) != bits(theirs.values)]
    return names
