"""The account of a table's rows."""

from __future__ import annotations

from twotower.data import DataReport, DroppedRows


def test_sentences() -> None:
    report = DataReport(
        rows_read=1200,
        rows_kept=1000,
        negatives=150,
        dropped=(
            DroppedRows(reason="item not in the catalogue", rows=50, examples=("x", 7)),
            DroppedRows(reason="other", rows=0),
        ),
        repeats=3,
        repeats_rule="keep",
        users=10,
        items=20,
        unknown_users=2,
        first_time=0.0,
        last_time=86_400.5,
    )
    assert report.lines() == [
        "1,200 rows read, 1,000 kept: 10 users, 20 items",
        "150 rows are negatives and kept apart",
        "50 rows dropped: item not in the catalogue (for instance 'x', 7)",
        "0 rows dropped: other",
        "3 rows repeat a (user, item) pair; rule: keep",
        "2 users are not in the users table",
        "times from 1970-01-01 00:00:00 UTC to 1970-01-02 00:00:00 UTC",
    ]
    assert DataReport.model_validate_json(report.model_dump_json()) == report


def test_nothing_to_say() -> None:
    report = DataReport(rows_read=1, rows_kept=1, negatives=0, dropped=(), repeats=0, repeats_rule="last", users=1, items=1)
    assert report.lines() == ["1 rows read, 1 kept: 1 users, 1 items"]


def test_what_became_of_rows_and_columns_before() -> None:
    lines = DataReport(
        rows_read=90,
        rows_kept=90,
        negatives=0,
        dropped=(),
        repeats=0,
        repeats_rule="keep",
        users=3,
        items=4,
        skipped=(DroppedRows(reason="12 fields in place of 18", rows=2, examples=("log.csv row 7",)),),
        sampled_from=900,
        ignored_columns=("network", "note"),
        filled={"age": 1200},
        conflicts={"country": 5, "age": 0},
    ).lines()
    assert lines == [
        "a sample of 900 rows: 90 rows read, 90 kept: 3 users, 4 items",
        "2 rows skipped: 12 fields in place of 18 (for instance 'log.csv row 7')",
        "missing values filled: age 1,200",
        "items with more than one value: country 5, age 0",
        "columns that nothing reads: network, note",
    ]
