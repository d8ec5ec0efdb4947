"""What users did as sequences to learn from: where they begin, who shares them, and in which order an epoch takes them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.types import Prefixes, gather_slices

__all__ = ["SequenceOrder", "sequence_starts", "share_sequences"]

_SORTED_TOGETHER = 64


def sequence_starts(first: Tensor, before: Tensor, max_length: int) -> Tensor:
    """Where the sequence of each row begins when it is trained on.

    At the user's first item while no more than ``max_length`` lie before the row; then at every half ``max_length`` of what
    the user did, the earliest from which the row is reached. So a row of a long history reads at least half of
    ``max_length`` items, and the rows of one half share their sequence.

    Args:
        first: int64 ``[m]``: where the user's items begin.
        before: int64 ``[m]``: where the row is; what lies in front of it may be read.
        max_length: The most items of a sequence.

    Returns:
        int64 ``[m]``, at least ``first``; ``before`` less this is at most ``max_length``.
    """
    step = max(1, max_length // 2)
    too_many = (before - first - max_length).clamp(min=0)
    return first + (too_many + step - 1) // step * step


def share_sequences(values: Tensor, starts: Tensor, lengths: Tensor) -> Prefixes:
    """Slices of a column, those that begin in one place as beginnings of one sequence.

    Args:
        values: Any dtype, ``[total]``.
        starts: int64 ``[m]``.
        lengths: int64 ``[m]``.
    """
    distinct, sequence_of = torch.unique(starts, return_inverse=True)
    longest = torch.zeros_like(distinct).scatter_reduce(0, sequence_of, lengths, "amax")
    return Prefixes(gather_slices(values, distinct, longest), sequence_of, lengths)


class SequenceOrder:
    """Rows in batches: those of one sequence are in one batch, and the sequences of a batch are of about one length.

    Sequences are shuffled, then sorted by length among those of 64 batches, and the batches are shuffled again: what is padded
    is little, and which sequences meet is chance.

    Args:
        starts: int64 ``[n]``: where each row's sequence begins; rows of one number share it.
        lengths: int64 ``[n]``: how much of it the row reads.
        batch_size: About so many rows a batch: no sequence is cut. The last one takes what is left, less than twice as many.
        seed: Of the order.

    Attributes:
        num_batches: In an epoch.

    Raises:
        ValueError: If one sequence has more rows than a batch.
    """

    def __init__(self, starts: Tensor, lengths: Tensor, *, batch_size: int, seed: int) -> None:
        order = torch.argsort(starts, stable=True)
        distinct, counts = torch.unique_consecutive(starts[order], return_counts=True)
        self._rows = order.numpy()
        self._counts = counts.numpy()
        self._first = np.cumsum(self._counts) - self._counts
        longest = torch.zeros_like(distinct)
        longest.scatter_reduce_(0, torch.repeat_interleave(torch.arange(len(distinct)), counts), lengths[order], "amax")
        self._longest = longest.numpy()
        self._seed, self._batch_size = seed, batch_size
        most = int(self._counts.max())
        if most > batch_size:
            raise ValueError(
                f"batches of {batch_size:,} rows are too small for sequences that {most:,} rows share: raise the batch size, "
                "or lower max_length"
            )
        self.num_batches = max(1, len(order) // batch_size)
        self._epoch: tuple[int, Tensor, NDArray[np.int64]] | None = None

    def order(self, epoch: int) -> Tensor:
        """The rows of an epoch, batch after batch, int64 ``[n]``: a function of the seed and the epoch alone."""
        return self._made(epoch)[0]

    def batch(self, epoch: int, index: int) -> Tensor:
        """The rows of a batch, int64; those of a sequence follow one another."""
        rows, ends = self._made(epoch)
        return rows[ends[index - 1] if index else 0 : ends[index]]

    def _made(self, epoch: int) -> tuple[Tensor, NDArray[np.int64]]:
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, *self._make(np.random.default_rng([self._seed, epoch])))
        return self._epoch[1:]

    def _make(self, generator: np.random.Generator) -> tuple[Tensor, NDArray[np.int64]]:
        chosen = generator.permutation(len(self._counts))
        together = (np.cumsum(self._counts[chosen]) - self._counts[chosen]) // (self._batch_size * _SORTED_TOGETHER)
        chosen = chosen[np.lexsort((self._longest[chosen], together))]
        counts = self._counts[chosen]
        batch = np.minimum((np.cumsum(counts) - counts) // self._batch_size, self.num_batches - 1)
        place = generator.permutation(self.num_batches)[batch]
        sorted_by_place = np.argsort(place, kind="stable")
        chosen, counts, place = chosen[sorted_by_place], counts[sorted_by_place], place[sorted_by_place]
        ends = np.cumsum(np.bincount(place, weights=counts, minlength=self.num_batches).astype(np.int64))
        within = np.arange(len(self._rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return torch.from_numpy(self._rows[np.repeat(self._first[chosen], counts) + within]), ends
