"""When the events of sequences were, as encoders read it: buckets of the time between things, on a scale of logarithms."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from twotower.nn.sequence_layout import pad
from twotower.types import Events, Ragged

__all__ = ["TIME_STEP", "Clock", "clock_of", "gap_buckets", "pair_buckets", "time_bounds", "time_buckets"]

TIME_STEP = 0.301
"""Of one bucket to the next, in natural logarithms of seconds (Zhai et al. 2024)."""

_PAIRS_AT_ONCE = 2**17
_CELL_BITS = 19


class Clock(NamedTuple):
    """The times of padded sequences, of which place 0 is the start, before any event, and place i is the i-th event.

    Attributes:
        events_ST: When each event was, ``[S, L + 1]``, int64 or float64; at place 0, and behind the end, anything.
        known_ST: The latest time that the state at a place knows of: that of its event, or where the time of a request is
            known, that at which the next item is asked for.
        requested: Whether it is.
    """

    events_ST: Tensor
    known_ST: Tensor
    requested: bool


def clock_of(events: Events, *, requested: bool) -> Clock:
    """The times of sequences.

    Args:
        events: Whose items are ragged, with times, and where requests have one, ``asked``.
        requested: Whether the time of a request is known.
    """
    assert isinstance(events.items, Ragged)
    assert events.times is not None
    offsets, lengths = events.items.offsets, events.items.lengths
    times_SL = pad(events.times.unsqueeze(1), offsets).squeeze(2)
    events_ST = torch.cat([times_SL.new_zeros(len(lengths), 1), times_SL], dim=1)
    if not requested:
        return Clock(events_ST, events_ST, requested=False)
    assert events.asked is not None
    known_ST = torch.cat([times_SL, times_SL.new_zeros(len(lengths), 1)], dim=1)
    asked_S1 = events.asked.to(known_ST.dtype).unsqueeze(1)
    return Clock(events_ST, known_ST.scatter(1, lengths.unsqueeze(1), asked_S1), requested=True)


@lru_cache
def time_bounds(count: int) -> Tensor:
    """From how many seconds on bucket 1, 2, ... it is, float64 ``[count - 1]``."""
    return torch.exp(TIME_STEP * torch.arange(1, count, dtype=torch.float64))


def time_buckets(between: Tensor, count: int) -> Tensor:
    """The bucket of times between things, ``min(count - 1, floor(log(max(1, |seconds|)) / 0.301))``.

    Each is a third longer than the one before; half a day is in bucket 35, a month in bucket 49.

    Args:
        between: Seconds, int64 or float64.
        count: How many buckets there are; the last one has no end.

    Returns:
        int32, of the same shape.

    Example:
        >>> time_buckets(torch.tensor([0, 1, 2, -60, 86_400, 10**9]), 64).tolist()
        [0, 0, 2, 13, 37, 63]
    """
    # logarithms are slow: float32 has its exponent, and the beginning of its fraction, in its upper bits, and cells that have
    # these in common are so narrow that no more than one bound is within one
    below, bound = _cells(count, between.device)
    seconds = between.abs()
    cells = seconds.clamp(min=1).to(torch.float32).view(torch.int32).bitwise_right_shift_(_CELL_BITS).flatten()
    found = below.index_select(0, cells)
    found += seconds.flatten() >= bound.index_select(0, cells)
    return found.view(between.shape)


@lru_cache
def _cells(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """By cell, the bucket in which it begins, and where the next one begins; past the last bound, what no time reaches."""
    # infinity among them, which a double beyond all float32 becomes
    cells = torch.arange((255 << (23 - _CELL_BITS)) + 1, dtype=torch.int32)
    starts = (cells << _CELL_BITS).view(torch.float32).double()
    bounds = time_bounds(count)
    # a time just below a cell may have been rounded up to where the cell begins; what lies there is compared with the bound
    below = torch.bucketize(starts, bounds, right=False)
    bound = torch.cat([bounds, torch.tensor([math.nan], dtype=torch.float64)])[below]
    return below.to(torch.int32).to(device), bound.to(device)


def pair_buckets(clock: Clock, count: int) -> Tensor:
    """For each place and each place before it, the bucket of the time from the event there to what is known here.

    Args:
        clock: Of S sequences.
        count: How many buckets there are.

    Returns:
        int32 ``[S, L + 1, L + 1]``: the bucket; ``count`` where one of the two is the start, which has no time; ``count + 1``
        for places behind.
    """
    num_sequences, places = clock.events_ST.shape
    device = clock.events_ST.device
    found_STT = torch.empty(num_sequences, places, places, dtype=torch.int32, device=device)
    later_TT = torch.ones(places, places, dtype=torch.bool, device=device).triu_(1)
    for part in parts(num_sequences, places):
        between = clock.known_ST[part].unsqueeze(2) - clock.events_ST[part].unsqueeze(1)
        found_STT[part] = time_buckets(between, count)
    found_STT[:, :, 0] = count  # the start is the only place that it reads itself
    return found_STT.masked_fill_(later_TT, count + 1)


def gap_buckets(clock: Clock, count: int) -> Tensor:
    """For each place the bucket of the time from its event to the request, or where that is not known, from the event before.

    Returns:
        int32 ``[S, L + 1]``; ``count`` where there is no such time: at the start, and without a request at the first event.
    """
    before_ST = clock.events_ST if clock.requested else clock.events_ST.roll(1, dims=1)
    found_ST = time_buckets(clock.known_ST - before_ST, count)
    found_ST[:, : 1 if clock.requested else 2] = count
    return found_ST


def parts(num_sequences: int, places: int) -> list[slice]:
    """A few sequences at a time, whose pairs of places stay in the processor's cache."""
    width = max(1, _PAIRS_AT_ONCE // max(1, places * places))
    return [slice(start, min(start + width, num_sequences)) for start in range(0, num_sequences, width)]
