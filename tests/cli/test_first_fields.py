"""The first line of a file, however it is packed."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from twotower.cli.first_fields import first_fields
from twotower.errors import TableReadError


def test_fields_by_separator_and_quotes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbf,"a,b",c\r\n1,2,3\r\n')
    assert first_fields(str(tmp_path / "a.csv"), None) == ["", "a,b", "c"]
    assert first_fields(str(tmp_path / "a.csv"), ";") == [',"a,b",c']
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"x\ty,z\n" + b"1\t2\n" * 100_000))
    assert first_fields(str(tmp_path / "a.tsv.gz"), None) == ["x", "y,z"]
    (tmp_path / "b.csv").write_bytes(b"")
    assert first_fields(str(tmp_path / "b.csv"), None) == []


def test_parquet_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert first_fields(str(tmp_path / "a.parquet"), None) is None


def test_faults(tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"a,b\n" * 9)[:12])
    with pytest.raises(TableReadError, match=r"cut.csv.gz: the gzip file is damaged \(.*\); fetch it again"):
        first_fields(str(tmp_path / "cut.csv.gz"), None)
    with pytest.raises(TableReadError, match="no such file"):
        first_fields(str(tmp_path / "none.csv"), None)
