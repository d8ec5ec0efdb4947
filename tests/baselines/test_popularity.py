"""Popularity: counts as scores, exactly."""

from __future__ import annotations

import pytest
import torch

from twotower.baselines import PopularityScorer


def test_every_query_has_the_counts() -> None:
    scorer = PopularityScorer(torch.tensor([4, 0, 4, 7, 1]))
    assert scorer.num_items == 5
    tiles = list(scorer.tiles(torch.tensor([9, 2]), 2))
    assert [first for first, _ in tiles] == [0, 2, 4]
    assert torch.cat([tile_BT for _, tile_BT in tiles], dim=1).tolist() == [[4.0, 0.0, 4.0, 7.0, 1.0]] * 2


def test_large_counts_are_not_merged() -> None:
    ((_, scores_BT),) = PopularityScorer(torch.tensor([2**24, 2**24 + 1])).tiles(torch.tensor([0]), 2)
    assert scores_BT[0, 1] > scores_BT[0, 0]


def test_counts_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"none negative; came \[2\], the least -1"):
        PopularityScorer(torch.tensor([3, -1]))
    with pytest.raises(ValueError, match=r"shape \[N\], none negative; came \[1, 2\]"):
        PopularityScorer(torch.tensor([[3, 1]]))
