"""The first rows of a table, drawn in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from twotower.spec import TableSpec

__all__ = ["drawn_rows"]

_BLOCK_NUMBERS = 2**20


def drawn_rows(spec: TableSpec, generator: torch.Generator) -> Iterator[tuple[int, Tensor]]:
    """Blocks of rows, uniform in plus and minus ``init_scale``, one after the other; each with its first row's number.

    They are the rows that one call for the whole table draws, which torch does number by number; a block is at most 4 MiB
    (or one row). A block is good until the next one is asked for.
    """
    rows = max(1, _BLOCK_NUMBERS // spec.embedding_dim)
    block = torch.empty(min(rows, spec.vocabulary_size), spec.embedding_dim)
    for first in range(0, spec.vocabulary_size, rows):
        part = block[: spec.vocabulary_size - first]
        yield first, part.uniform_(-spec.init_scale, spec.init_scale, generator=generator)
