"""Parquet, batch by batch."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from twotower.data.parquet_file import read_parquet_batches
from twotower.data.source_files import SourceFile, find_files
from twotower.errors import TableReadError


def source(path: Path) -> SourceFile:
    return find_files(path, noun="log")[0]


def test_rows_come_in_batches_with_the_columns_first(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": range(300_000)})
    frame.write_parquet(tmp_path / "x.parquet", row_group_size=200_000)
    found = list(read_parquet_batches(source(tmp_path / "x.parquet"), noun="log"))
    assert found[0][0].height == 0
    assert found[0][0].schema == frame.schema
    assert max(part.height for part, _ in found) <= 131_072
    assert pl.concat([part for part, _ in found]).equals(frame)
    read = [count for _, count in found]
    assert read == sorted(read)
    assert read[-1] == (tmp_path / "x.parquet").stat().st_size


def test_categories_become_text(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {"c": pl.Series(["a", "b", "a"], dtype=pl.Categorical), "e": pl.Series(["a"] * 3, dtype=pl.Enum(["a"]))}
    )
    frame.write_parquet(tmp_path / "x.parquet")
    found = pl.concat([part for part, _ in read_parquet_batches(source(tmp_path / "x.parquet"), noun="log")])
    assert found.rows() == [("a", "a"), ("b", "a"), ("a", "a")]
    assert found.dtypes == [pl.String, pl.String]


def test_a_file_without_rows(tmp_path: Path) -> None:
    pl.DataFrame(schema={"a": pl.Int64}).write_parquet(tmp_path / "x.parquet")
    found = list(read_parquet_batches(source(tmp_path / "x.parquet"), noun="log"))
    assert sum(part.height for part, _ in found) == 0
    assert found[0][0].columns == ["a"]


@pytest.mark.parametrize("keep", [4, -20])
def test_a_truncated_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.parquet"
    pl.DataFrame({"n": range(1000)}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TableReadError, match=r"log .*x.parquet: can't be read as Parquet"):
        list(read_parquet_batches(source(path), noun="log"))
