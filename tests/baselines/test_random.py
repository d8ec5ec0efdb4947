"""Chance: uniform, independent, the same for the same row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.baselines import RandomScorer


def scores(scorer: RandomScorer, rows: list[int], tile_size: int) -> Tensor:
    return torch.cat([tile_BT for _, tile_BT in scorer.tiles(torch.tensor(rows), tile_size)], dim=1)


@pytest.mark.parametrize("tile_size", [1, 7, 20, 50])
def test_a_row_has_its_scores_whatever_it_comes_with(tile_size: int) -> None:
    scorer = RandomScorer(20, seed=5)
    whole_BN = scores(scorer, [0, 1, 2, 3, 4], 20)
    assert whole_BN.shape == (5, 20)
    assert torch.equal(scores(scorer, [3, 1], tile_size), whole_BN[[3, 1]])


def test_rows_items_and_seeds_differ() -> None:
    scores_BN = scores(RandomScorer(50, seed=0), list(range(50)), 50)
    assert len(np.unique(scores_BN)) == 2500
    assert len(np.unique(torch.cat([scores_BN, scores(RandomScorer(50, seed=1), list(range(50)), 50)]))) == 5000


def test_scores_are_uniform_and_independent() -> None:
    scores_BN = scores(RandomScorer(400, seed=1), list(range(500)), 400).numpy()
    assert 0 <= scores_BN.min() <= scores_BN.max() < 1
    counts = np.histogram(scores_BN, bins=20, range=(0, 1))[0]
    expected = scores_BN.size / 20
    assert ((counts - expected) ** 2 / expected).sum() < 50  # chi-squared of 19 degrees; beyond 50 is one in ten thousand
    assert abs(np.corrcoef(scores_BN[:-1].ravel(), scores_BN[1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(scores_BN[:, :-1].ravel(), scores_BN[:, 1:].ravel())[0, 1]) < 0.01


def test_each_item_is_first_as_often_as_any() -> None:
    """A positive is among the first k of N with probability k / N."""
    scores_BN = scores(RandomScorer(50, seed=2), list(range(4000)), 50).numpy()
    ranks = (scores_BN > scores_BN[:, 17:18]).sum(axis=1)
    for k in (1, 10, 25):
        share, chance = (ranks < k).mean(), k / 50
        assert abs(share - chance) < 4 * np.sqrt(chance * (1 - chance) / 4000)
