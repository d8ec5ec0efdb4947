from __future__ import annotations

import torch

from twotower.nn import drop_to_row, drop_values
from twotower.types import Ragged


def seeded(seed: int = 0) -> None:
    torch.manual_seed(seed)


def ragged(rows: int, length: int) -> Ragged:
    return Ragged(torch.arange(1, rows * length + 1), torch.arange(0, rows * length + 1, length))


def test_probability_zero_is_the_column_itself() -> None:
    column, rows = ragged(3, 2), torch.tensor([1, 2])
    assert drop_to_row(rows, 0.0) is rows
    assert drop_to_row(column, 0.0) is column
    assert drop_values(column, 0.0) is column


def test_dropped_ids_become_the_given_row_at_the_given_rate() -> None:
    with torch.random.fork_rng():
        seeded()
        rows = torch.arange(1, 20_001, dtype=torch.int32)
        for row in (0, 7):
            dropped = drop_to_row(rows, 0.3, row=row)
            assert isinstance(dropped, torch.Tensor)
            assert dropped.dtype == torch.int32
            changed = dropped != rows
            assert set(dropped[changed].tolist()) == {row}
            # 5 standard deviations of a binomial of 20,000 draws
            assert abs(float(changed.float().mean()) - 0.3) < 5 * (0.3 * 0.7 / 20_000) ** 0.5


def test_each_value_of_a_ragged_column_is_dropped_for_itself() -> None:
    with torch.random.fork_rng():
        seeded()
        column = ragged(2_000, 4)
        dropped = drop_to_row(column, 0.5)
        assert isinstance(dropped, Ragged)
        assert torch.equal(dropped.offsets, column.offsets)
        per_row = (dropped.values == 0).reshape(2_000, 4).sum(1)
        assert set(per_row.tolist()) == {0, 1, 2, 3, 4}
        assert torch.equal(dropped.values[dropped.values != 0], column.values[dropped.values != 0])


def test_left_out_values_shorten_their_rows() -> None:
    with torch.random.fork_rng():
        seeded()
        column = ragged(5_000, 3)
        shorter = drop_values(column, 0.2)
        assert abs(len(shorter.values) / 15_000 - 0.8) < 5 * (0.2 * 0.8 / 15_000) ** 0.5
        assert shorter.num_rows == 5_000
        assert set(shorter.lengths.tolist()) == {0, 1, 2, 3}
        for row in range(50):
            own = column.values[3 * row : 3 * row + 3].tolist()
            kept = shorter.values[int(shorter.offsets[row]) : int(shorter.offsets[row + 1])].tolist()
            assert kept == [value for value in own if value in kept]
