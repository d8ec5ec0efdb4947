"""Common users of items, against the dense product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from twotower.baselines.cooccurrences import cooccurrences

MakeWorld = Callable[..., Any]


@pytest.mark.parametrize(("cells", "blocks"), [(1, 12), (12, 12), (40, 4), (10**6, 1)])
def test_every_block_size_gives_the_dense_product(make_world: MakeWorld, cells: int, blocks: int) -> None:
    rows, matrix_UN = make_world(2)
    parts = list(cooccurrences(rows.distinct(), 12, cells=cells))
    assert len(parts) == blocks
    assert [first for first, _ in parts] == list(range(0, 12, 12 // blocks))
    assert torch.cat([counts_BN for _, counts_BN in parts]).tolist() == (matrix_UN.T @ matrix_UN).tolist()
