"""Bad rows: stopped at, or counted and shown."""

from __future__ import annotations

import pytest

from twotower.data.bad_rows import BadRows
from twotower.errors import TableReadError


def test_the_policy_decides() -> None:
    with pytest.raises(TableReadError, match=r"^row 3 is bad, or declare on_bad_rows = 'skip'$"):
        BadRows("error").refuse("row 3 is bad")
    BadRows("skip").refuse("row 3 is bad")


def test_every_row_is_counted_and_the_first_five_are_shown_in_order() -> None:
    bad = BadRows("skip")
    for row in (9, 11):
        bad.add(file=1, name="b.csv", row=row, reason="wrong number of fields", text="x")
    for row in range(7):
        bad.add(file=0, name="a.csv", row=row * 2, reason="value of another type", text="y", column="n")
    bad.add(file=0, name="a.csv", row=3, reason="not UTF-8", text="z" * 500, column="u")
    account = bad.skipped()
    assert account.counts == {"not UTF-8": 1, "value of another type": 7, "wrong number of fields": 2}
    assert account.rows == 10
    assert [(row.file, row.row) for row in account.sample] == [("a.csv", n) for n in (0, 2, 3, 4, 6)]
    assert account.sample[2].text == "z" * 200 + "..."


def test_nothing_was_skipped() -> None:
    account = BadRows("skip").skipped()
    assert (account.rows, account.counts, account.sample) == (0, {}, ())
