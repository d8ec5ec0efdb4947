"""Whether an embedding table is cheaper to update by its touched rows."""

from __future__ import annotations

__all__ = ["LEAST_NUMBERS", "ROWS_PER_TOUCHED", "rows_pay"]

LEAST_NUMBERS = 2**19
"""Numbers of a table below which all of its passes stay in the processor's cache."""

ROWS_PER_TOUCHED = 3
"""Rows that a table has for each that a step touches, from which on the dense passes over all cost more."""


def rows_pay(num_rows: int, width: int, touched: float) -> bool:
    """Whether updates by rows make a step of Adagrad cheaper than dense ones.

    A dense step fills a gradient of the whole table, adds its squares to the accumulators and moves every weight: its cost
    grows with ``num_rows * width``. By rows it grows with what was touched, but what was looked up is sorted and added up
    first, in a dozen small operations. ``benchmarks/table_updates.py`` measured both (here in processor time, one thread), for
    tables of 4,096 to 262,144 rows, 16 to 128 wide, with 2,048 to 65,536 rows looked up by Zipf's law: both cost the same near
    three to four rows for each touched one, and hardly before 2**19 numbers. Of 144 such cases the rule costs 5% more than the
    better of both on average; where it says rows, 1.7 times as much at most.

    Args:
        num_rows: Rows of the table.
        width: Numbers in each.
        touched: Distinct rows that a step looks up.

    Example:
        >>> rows_pay(1_000_000, 64, touched=8_000), rows_pay(1_664, 64, touched=1_000), rows_pay(20_000, 64, touched=15_000)
        (True, False, False)
    """
    return num_rows * width >= LEAST_NUMBERS and num_rows >= ROWS_PER_TOUCHED * touched
