"""The processes of a training, and what they say to each other; of one process alone everything here does nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

from twotower.distributed.shares import share_of
from twotower.errors import RankLostError

__all__ = ["ALONE", "PATIENCE", "Ranks", "speaking"]

PATIENCE = timedelta(hours=12)
"""How long ranks wait for one that reads, judges or writes."""

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """All processes that train one model together, seen from one of them.

    Every method is called by all ranks, in the same order; that is what keeps them from waiting for each other for ever.

    Attributes:
        rank: Which of them this one is, in ``[0, size)``.
        size: How many there are.
        group: The process group whose collectives are used; None: one process alone.
        restarts: How often all were started again, after one had died.
        agents: What no other processes than those that started these ranks, and may start them again, are called.
    """

    rank: int = 0
    size: int = 1
    group: dist.ProcessGroup | None = None
    restarts: int = 0
    agents: tuple[str, ...] = ()

    @staticmethod
    def of(group: dist.ProcessGroup | None = None) -> Ranks:
        """Those of a process group that was opened before; None: the default group."""
        group = dist.group.WORLD if group is None else group
        return Ranks(dist.get_rank(group), dist.get_world_size(group), group)

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes and speaks."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """This rank's part of ``0, ..., total - 1``; see `share_of`."""
        return share_of(total, self.rank, self.size)

    def sum_(self, values: Tensor) -> Tensor:
        """Sum a tensor over all ranks, in place; all get the same bits."""
        if self.size > 1:
            with speaking(self):
                dist.all_reduce(values, group=self.group)
        return values

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            with speaking(self):
                dist.barrier(group=self.group)

    def tell(self, value: T | None) -> T:
        """What rank 0 has, to all; the others' values are passed over. For small things: settings, paths, figures."""
        told: list[Any] = [value]
        if self.size > 1:
            with speaking(self):
                dist.broadcast_object_list(told, src=0, group=self.group)
        found: T = told[0]
        return found

    def collect(self, value: T) -> list[T]:
        """What every rank has, to all, by rank. For small things."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with speaking(self):
            dist.all_gather_object(found, value, group=self.group)
        return found

    def gather(self, part: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
        """The parts of all ranks one after the other, to all; gradients go back to the rank that each part came from.

        A gradient is the sum of what all ranks have for the part: with a loss that is the sum of the ranks' losses it is the
        gradient of that sum.

        Args:
            part: ``[n, ...]``; ``n`` may be another on every rank, and 0.
            lengths: ``n`` of every rank, where it is known; None: they are asked for.

        Returns:
            ``[sum of n, ...]``.
        """
        if self.size == 1:
            return part
        lengths = self.lengths(len(part)) if lengths is None else list(lengths)
        gathered: Tensor = _Gather.apply(part, lengths, self)  # type: ignore[no-untyped-call]
        return gathered

    def lengths(self, length: int) -> list[int]:
        """A whole number of each rank, by rank."""
        if self.size == 1:
            return [length]
        found = torch.zeros(self.size, dtype=torch.int64)
        found[self.rank] = length
        return [int(each) for each in self.sum_(found)]


ALONE = Ranks()
"""One process."""


@contextmanager
def speaking(ranks: Ranks, *, among_others: bool = False) -> Iterator[None]:
    """What a lost connection is called.

    Args:
        ranks: Who is connected.
        among_others: The block does more than exchange, and has other errors too, which pass.
    """
    try:
        yield
    except RuntimeError as error:
        if ranks.size == 1 or (among_others and not _is_of_connection(error)):
            raise
        raise RankLostError(
            f"rank {ranks.rank} of {ranks.size} has lost the others: one of them died, or can't be reached "
            f"({str(error).splitlines()[0][:200]}); train again with --resume to go on from the last checkpoint"
        ) from error


def _is_of_connection(error: RuntimeError) -> bool:
    """Gloo's errors have no kind of their own: they name its files, and what the system said."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "Connection ", "NCCL"))


class _Gather(torch.autograd.Function):
    """All-gather of parts of different lengths; backward gives each rank the sum over all ranks of its part's gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, lengths: list[int], ranks: Ranks) -> Tensor:
        ctx.lengths, ctx.ranks = lengths, ranks
        return _gathered(part, lengths, ranks)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        lengths, ranks = ctx.lengths, ctx.ranks
        summed = ranks.sum_(grad.contiguous().clone())
        start = sum(lengths[: ranks.rank])
        return summed[start : start + lengths[ranks.rank]], None, None


def _gathered(part: Tensor, lengths: list[int], ranks: Ranks) -> Tensor:
    """Padded to the longest, for collectives want one shape, and cut again."""
    longest = max(lengths)
    padded = part.new_zeros(longest, *part.shape[1:])
    padded[: len(part)] = part
    parts = [torch.empty_like(padded) for _ in lengths]
    with speaking(ranks):
        dist.all_gather(parts, padded, group=ranks.group)
    return torch.cat([each[:length] for each, length in zip(parts, lengths, strict=True)])
