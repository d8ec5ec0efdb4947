"""The account of a table, in sentences."""

from __future__ import annotations

from twotower.data.bad_rows import BadRows
from twotower.data.table_report import TableReport


def test_nothing_to_say() -> None:
    assert TableReport(rows=3, skipped=BadRows("skip").skipped(), filled={"age": 0}).lines() == []


def test_what_was_skipped_ignored_and_filled() -> None:
    bad = BadRows("skip")
    bad.add(file=0, name="log.csv", row=1234, reason="value of another type", text="a,b", column="age")
    for row in (7, 8):
        bad.add(file=0, name="log.csv", row=row, reason="wrong number of fields", text="a")
    report = TableReport(rows=10, skipped=bad.skipped(), ignored=("x", "y"), filled={"age": 2000, "lang": 0})
    assert report.lines("log") == [
        "3 bad rows of the log skipped (1 value of another type, 2 wrong number of fields), for instance:",
        "  data row 7 of log.csv: wrong number of fields: a",
        "  data row 8 of log.csv: wrong number of fields: a",
        "  data row 1,234 of log.csv: value of another type in 'age': a,b",
        "columns of the log that nothing reads: x, y",
        "missing values of the log filled: age 2,000",
    ]
    assert TableReport.model_validate_json(report.model_dump_json()) == report
