from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from twotower.errors import DataError
from twotower.evaluation.tiles import checked_tiles


class Told:
    """Gives the tiles that it was told to give."""

    def __init__(self, num_items: int, tiles: list[tuple[int, Tensor]]) -> None:
        self.num_items = num_items
        self.told = tiles

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        assert (rows.tolist(), tile_size) == ([5, 6], 3)
        yield from self.told


def test_tiles_that_are_right_pass_through() -> None:
    tiles = [(0, torch.ones(2, 3)), (3, torch.zeros(2, 1))]
    found = list(checked_tiles(Told(4, tiles), torch.tensor([5, 6]), 3))
    assert [(first, tile_BT.tolist()) for first, tile_BT in found] == [(0, [[1.0] * 3] * 2), (3, [[0.0]] * 2)]


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ([(1, torch.ones(2, 3))], r"after 0 items came \[2, 3\] scores from item 1"),
        ([(0, torch.ones(2, 2)), (3, torch.ones(2, 1))], r"after 2 items came \[2, 1\] scores from item 3"),
        ([(0, torch.ones(1, 4))], r"have 2 rows; after 0 items came \[1, 4\]"),
        ([(0, torch.ones(8))], r"after 0 items came \[8\]"),
        ([(0, torch.ones(2, 3))], r"cover its 4 items; came 3"),
        ([(0, torch.ones(2, 5))], r"cover its 4 items; came 5"),
        ([], r"cover its 4 items; came 0"),
    ],
)
def test_tiles_that_would_leave_items_out_are_refused(tiles: list[tuple[int, Tensor]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(checked_tiles(Told(4, tiles), torch.tensor([5, 6]), 3))


def test_a_score_that_is_no_number_is_refused() -> None:
    tile_BT = torch.tensor([[0.0, 1.0], [2.0, float("nan")]])
    with pytest.raises(DataError, match=r"query row 6 is NaN \(catalogue rows 0 to 1\)"):
        list(checked_tiles(Told(2, [(0, tile_BT)]), torch.tensor([5, 6]), 3))
