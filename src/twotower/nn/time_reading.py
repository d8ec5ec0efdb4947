"""The parts by which encoders read when events were: a bias of the attention, and a vector of the time since the latest."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from twotower.nn.biased_attention import biased_attention
from twotower.nn.event_times import Clock, gap_buckets, pair_buckets
from twotower.nn.pooling import look_up_rows
from twotower.spec import HSTUEncoderSpec, TransformerEncoderSpec

__all__ = ["AttentionBias", "TimeGap", "bias_of", "read_by_blocks"]


class AttentionBias(nn.Module):
    """Attention with a learned bias of each head by bucket of time and by distance, which start at 0.

    Args:
        times: Buckets and heads; None: no bias by time.
        distances: Distances and heads; None: no bias by distance.
    """

    def __init__(self, times: tuple[int, int] | None, distances: tuple[int, int] | None) -> None:
        super().__init__()
        # the last row is of pairs that have no time between them
        self.times = None if times is None else nn.Parameter(torch.zeros(times[0] + 1, times[1]))
        self.distances = None if distances is None else nn.Parameter(torch.zeros(distances))

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, buckets_STT: Tensor | None, *, softmax: bool, scale: float
    ) -> Tensor:
        """See `biased_attention`.

        Raises:
            ValueError: If there is a bias by time, and no buckets came.
        """
        if self.times is not None and buckets_STT is None:
            raise ValueError("a bias by time needs the buckets of pairs")
        return biased_attention(
            queries,
            keys,
            values,
            times_BH=self.times,
            buckets_STT=None if self.times is None else buckets_STT,
            distances_TH=self.distances,
            softmax=softmax,
            scale=scale,
        )


class TimeGap(nn.Module):
    """A learned vector of the time since the latest event, by its bucket; all start at 0.

    Args:
        buckets: How many; one more is of states that know no such time.
        width: D.
    """

    def __init__(self, buckets: int, width: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.table = nn.Parameter(torch.zeros(buckets + 1, width))

    def forward(self, clock: Clock) -> Tensor:
        """``[S, L + 1, D]``."""
        rows_ST = gap_buckets(clock, self.buckets)
        return look_up_rows(self.table, rows_ST.flatten()).view(*rows_ST.shape, -1)


def read_by_blocks(
    items_SLD: Tensor,
    clock: Clock | None,
    *,
    start_D: Tensor,
    positions_PD: Tensor,
    gap: TimeGap | None,
    buckets: int | None,
    dropout: nn.Module,
    blocks: Iterable[nn.Module],
    norm: nn.Module,
) -> Tensor:
    """The states of an encoder of blocks of attention, ``[S, L + 1, D]``; see `SequenceEncoder.states`.

    Args:
        items_SLD: Vectors of the items.
        clock: When they were, where times are read.
        start_D: What is read before any item.
        positions_PD: Is added to what is read, by place.
        gap: Is added too.
        buckets: Of time between two places, where blocks have a bias by them.
        dropout: On what is read.
        blocks: Are given what is hidden, and the buckets of pairs.
        norm: At the end.
    """
    num_sequences, longest, width = items_SLD.shape
    # as long as the vectors of a table that starts small, the items are what a position is added to
    read_SLD = torch.cat([start_D.expand(num_sequences, 1, width), items_SLD * width**0.5], dim=1)
    read_SLD = read_SLD + positions_PD[: longest + 1]
    hidden_SLD = dropout(read_SLD if gap is None or clock is None else read_SLD + gap(clock))
    buckets_STT = None if buckets is None or clock is None else pair_buckets(clock, buckets)
    for block in blocks:
        hidden_SLD = block(hidden_SLD, buckets_STT)
    output: Tensor = norm(hidden_SLD)
    return output


def bias_of(spec: TransformerEncoderSpec | HSTUEncoderSpec, max_length: int) -> AttentionBias | None:
    """The bias of a block; None where there is none."""
    if not (spec.relative_time or spec.relative_position):
        return None
    return AttentionBias(
        (spec.time_buckets, spec.heads) if spec.relative_time else None,
        (max_length + 1, spec.heads) if spec.relative_position else None,
    )
