"""MovieLens out of GroupLens' archives: tiny ones, made here."""

from __future__ import annotations

import zipfile
from pathlib import Path

import polars as pl
import pytest

from twotower.datasets.grouplens import read_archive
from twotower.errors import DatasetError

GENRES = ["unknown", "Action", "Drama"]


def make_100k(path: Path, *, leave_out: str = "", rating: str = "3") -> Path:
    files = {
        "u.genre": "unknown|0\nAction|1\nDrama|2\n\n",
        "u.data": f"2\t1\t{rating}\t881250949\n1\t3\t5\t7\n",
        "u.item": "1|Misérables, Les (1995)|01-Jan-1995||http://x|0|1|1\n2|unknown||||1|0|0\n"
        "3|Heidi (1996) |09-Feb-1996||http://y|0|0|1\n4|Land (1995) (V)|x||z|0|0|1\n",
        "u.user": "1|24|M|technician|02215\n2|53|F|other|T8H1N\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            if name != leave_out:
                archive.writestr(f"ml-100k/{name}", text.encode("latin-1"))
    return path


def test_100k(tmp_path: Path) -> None:
    tables = read_archive(make_100k(tmp_path / "ml-100k.zip"), "100k")
    assert tables["interactions"].rows() == [("2", "Misérables, Les (1995)", 3.0, 881250949), ("1", "Heidi (1996)", 5.0, 7)]
    assert tables["interactions"].dtypes == [pl.String, pl.String, pl.Float64, pl.Int64]
    assert tables["items"].rows() == [
        ("Misérables, Les (1995)", 1995, ["Action", "Drama"]),
        ("unkonwn (unkonwn)", None, ["unknown"]),
        ("Heidi (1996)", 1996, ["Drama"]),
        ("Land (1995) (V)", None, ["Drama"]),
    ]
    assert tables["users"].rows() == [("1", 24, "M", "technician", "02215"), ("2", 53, "F", "other", "T8H1N")]
    assert tables["users"].columns == ["user_id", "age", "gender", "occupation", "zip_code"]


def test_1m(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::10::5::978300760\r\n2::11::3::978302109\r\n")
        archive.writestr(
            "ml-1m/movies.dat", "10::Caf\xe9 (1993)::Comedy|Drama\r\n11::Who (L'Un)(1982)::Comedy\r\n".encode("latin-1")
        )
        archive.writestr("ml-1m/users.dat", "1::F::1::10::48067\r\n2::M::56::16::02215-1234\r\n")
    tables = read_archive(tmp_path / "ml-1m.zip", "1m")
    assert tables["interactions"].rows() == [("1", "Café (1993)", 5.0, 978300760), ("2", "Who (L'Un (1982)", 3.0, 978302109)]
    assert tables["items"].rows() == [("Café (1993)", 1993, ["Comedy", "Drama"]), ("Who (L'Un (1982)", 1982, ["Comedy"])]
    assert tables["users"].rows() == [("1", 1, "F", "10", "48067"), ("2", 56, "M", "16", "02215-1234")]


def test_archives_that_are_others(tmp_path: Path) -> None:
    for path in (make_100k(tmp_path / "a.zip", leave_out="u.user"), make_100k(tmp_path / "b.zip", rating="good")):
        with pytest.raises(DatasetError, match=rf"{path.name}: can't be read as MovieLens 100k"):
            read_archive(path, "100k")
    (tmp_path / "c.zip").write_bytes(b"no zip")
    with pytest.raises(DatasetError, match=r"c\.zip: can't be read as MovieLens 1m"):
        read_archive(tmp_path / "c.zip", "1m")
