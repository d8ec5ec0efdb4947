from __future__ import annotations

import pytest

from twotower.optim import rows_pay


@pytest.mark.parametrize(
    ("num_rows", "width", "touched", "pays"),
    [
        (300_000, 64, 100_000, True),
        (299_999, 64, 100_000, False),  # fewer than three for each touched one
        (32_768, 16, 1, True),
        (32_767, 16, 1, False),  # two mebibytes of float32 less a row
        (1_000_000, 64, 0.0, True),
    ],
)
def test_rows_pay_in_large_tables_of_which_little_is_touched(num_rows: int, width: int, touched: float, pays: bool) -> None:
    assert rows_pay(num_rows, width, touched) is pays
