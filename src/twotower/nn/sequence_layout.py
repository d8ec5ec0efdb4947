"""Sequences of different lengths as one tensor, and back: what encoders that read in order have in common."""

from __future__ import annotations

import torch
from torch import Tensor

from twotower.types import Prefixes, Ragged

__all__ = ["as_prefixes", "pad", "take_states"]


def as_prefixes(column: Ragged | Prefixes) -> Prefixes:
    """A column of sequences, each row of a ragged one being the whole of its own."""
    if isinstance(column, Prefixes):
        return column
    lengths = column.lengths
    return Prefixes(column, torch.arange(len(lengths), device=lengths.device), lengths)


def pad(vectors_VD: Tensor, offsets: Tensor) -> Tensor:
    """Vectors of sequences that lie end to end, each sequence in a row of its own, zeros behind it.

    Args:
        vectors_VD: ``[total, D]``.
        offsets: int64 ``[S + 1]``, where each sequence begins, and the end.

    Returns:
        ``[S, L, D]``, where L is the length of the longest.
    """
    lengths = offsets[1:] - offsets[:-1]
    longest = int(lengths.max()) if len(lengths) else 0
    starts = torch.arange(len(lengths), device=offsets.device) * longest - offsets[:-1]
    places = torch.arange(len(vectors_VD), device=offsets.device) + torch.repeat_interleave(starts, lengths)
    padded = vectors_VD.new_zeros(len(lengths) * longest, vectors_VD.shape[1])
    return padded.index_copy(0, places, vectors_VD).view(len(lengths), longest, vectors_VD.shape[1])


def take_states(states_SLD: Tensor, rows: Tensor, places: Tensor) -> Tensor:
    """``states_SLD[rows, places]``, ``[n, D]``; both int64 ``[n]``."""
    return states_SLD.flatten(0, 1).index_select(0, rows * states_SLD.shape[1] + places)
