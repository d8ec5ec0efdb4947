"""Popularity within a segment: against counts in plain Python, and its back-off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.baselines import FitRows, SegmentPopularityScorer, fit_segment_popularity

MakeWorld = Callable[..., Any]


def scores(scorer: SegmentPopularityScorer, rows: list[int], tile_size: int) -> Tensor:
    return torch.cat([tile_BT for _, tile_BT in scorer.tiles(torch.tensor(rows), tile_size)], dim=1)


@pytest.mark.parametrize("tile_size", [1, 5, 12, 40])
@pytest.mark.parametrize("strength", [0.5, 30.0])
def test_counts_and_smoothing(make_world: MakeWorld, tile_size: int, strength: float) -> None:
    rows = make_world(12).rows
    segments = np.random.default_rng(0).integers(-1, 4, 150)
    state = fit_segment_popularity(rows, torch.from_numpy(segments), num_segments=6)
    asked = [3, -1, 0, 5, 4, 1, 2]
    scorer = SegmentPopularityScorer(state, torch.tensor(asked), strength=strength)
    assert scorer.num_items == 12
    items = rows.item_rows.tolist()
    found = scores(scorer, [0, 1, 2, 3, 4, 5, 6], tile_size)
    for query, segment in enumerate(asked):
        inside = [i for i, s in zip(items, segments.tolist(), strict=True) if s == segment and s >= 0]
        expected = [inside.count(item) + strength * items.count(item) / 150 for item in range(12)]
        assert found[query].tolist() == pytest.approx(expected)
    assert torch.equal(scores(scorer, [4, 2], tile_size), found[[4, 2]])


def test_ties_in_a_segment_and_unknown_segments_are_told_apart_by_popularity() -> None:
    rows = FitRows(torch.zeros(6, dtype=torch.int64), torch.tensor([2, 2, 2, 1, 0, 1]), num_users=1, num_items=4)
    state = fit_segment_popularity(rows, torch.tensor([0, 0, 0, 0, 1, -1]), num_segments=2)
    scorer = SegmentPopularityScorer(state, torch.tensor([1, -1]), strength=1e-3)
    found = scores(scorer, [0, 1], 4)
    assert found[0].argsort(descending=True).tolist() == [0, 2, 1, 3]
    assert found[1].argsort(descending=True).tolist() == [2, 1, 0, 3]


def test_what_is_refused(make_world: MakeWorld) -> None:
    rows = make_world(0).rows
    with pytest.raises(ValueError, match=r"must be \[150\], one per row; came \[3\]"):
        fit_segment_popularity(rows, torch.tensor([0, 1, 2]), num_segments=3)
    with pytest.raises(ValueError, match=r"in \[0, 1\), or -1 for none; came 0 to 1"):
        fit_segment_popularity(rows, torch.arange(150) % 2, num_segments=1)
    state = fit_segment_popularity(rows, torch.zeros(150, dtype=torch.int64), num_segments=1)
    with pytest.raises(ValueError, match="strength must be above 0, or ties are not backed off; came 0"):
        SegmentPopularityScorer(state, torch.tensor([0]), strength=0)
