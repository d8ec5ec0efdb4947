"""Batches over several files: rows by number and file, one set of columns, one type each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.data.bad_rows import BadRows
from twotower.data.first_record import TextFormat
from twotower.data.source_files import find_files
from twotower.data.table_batches import read_batches
from twotower.errors import TableReadError


def read(
    path: Path, bad_rows: BadRows | None = None, types: Any = None, block_bytes: int = 32
) -> tuple[pl.DataFrame, list[int]]:
    files = find_files(path, noun="log")
    batches = list(
        read_batches(
            files, TextFormat(), types or {}, noun="log", bad_rows=bad_rows or BadRows("error"), block_bytes=block_bytes
        )
    )
    return pl.concat([batch.frame for batch in batches]), [batch.bytes_read for batch in batches]


def test_files_follow_one_another_and_their_bytes_add_up(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n" + "1,x\n" * 20)
    (tmp_path / "2.csv").write_text("b,a\ny,2\n")
    frame, read_bytes = read(tmp_path)
    assert frame.rows() == [("1", "x")] * 20 + [("2", "y")]
    assert read_bytes == sorted(read_bytes)
    assert read_bytes[-1] == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_a_bad_value_is_found_in_its_file_and_row_over_blocks(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n" + "1,x\n" * 20)
    (tmp_path / "2.csv").write_text("a,b\n" + "\n1,x\n" * 20 + "one,z\n")
    with pytest.raises(
        TableReadError, match=r"2.csv: column 'a' is declared integer, but data row 20 \(counted from 0\) holds 'one'.*'skip'"
    ):
        read(tmp_path, types={"a": "integer"})
    bad = BadRows("skip")
    frame, _ = read(tmp_path, bad, types={"a": "integer"})
    assert frame.height == 40
    (row,) = bad.skipped().sample
    assert (row.file, row.row, row.reason, row.column, row.text) == (
        str(tmp_path / "2.csv"),
        20,
        "value of another type",
        "a",
        "one,z",
    )


def test_a_row_with_two_faults_is_one_bad_row(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\nx,y\n")
    bad = BadRows("skip")
    frame, _ = read(tmp_path, bad, types={"a": "integer", "b": "float"})
    assert frame.rows() == [(1, 2.0)]
    assert bad.skipped().counts == {"value of another type": 1}
    assert bad.skipped().sample[0].column == "a"


def test_files_that_disagree(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,x\n")
    (tmp_path / "2.csv").write_text("a,c\n1,x\n")
    with pytest.raises(TableReadError, match=r"1.csv and .*2.csv must have the same columns; only one has: b, c"):
        read(tmp_path)


def test_a_declared_column_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,x\n")
    with pytest.raises(TableReadError, match=r"1.csv: no column 'bb', which `types` declares; did you mean 'b'"):
        read(tmp_path, types={"bb": "integer"})


def test_a_source_without_rows_has_its_columns(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n")
    frame, _ = read(tmp_path)
    assert (frame.height, frame.columns) == (0, ["a", "b"])
