"""Blocks cover everything, in order, and none is larger than it has to be."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.baselines.blocks import blocks_of


@given(st.lists(st.integers(0, 9)), st.integers(1, 12))
def test_blocks_cover_and_are_as_long_as_fits(sizes: list[int], most: int) -> None:
    blocks = list(blocks_of(torch.tensor(sizes, dtype=torch.int64), most))
    assert [place for start, stop in blocks for place in range(start, stop)] == list(range(len(sizes)))
    for start, stop in blocks:
        assert stop - start == 1 or sum(sizes[start:stop]) <= most
        assert stop == len(sizes) or sum(sizes[start : stop + 1]) > most


@pytest.mark.parametrize("most", [1, 100])
def test_nothing_to_cut(most: int) -> None:
    assert list(blocks_of(torch.empty(0, dtype=torch.int64), most)) == []
