"""Some lines of a file, against the same rows of the whole of it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from twotower.data import sampled_lines as room
from twotower.data.first_record import TextFormat
from twotower.data.sampled_lines import Sample, sampled_lines
from twotower.data.source_files import find_files
from twotower.data.table import read_table_with_report
from twotower.errors import TableReadError

TYPES: dict[str, Any] = {"user": "string", "n": "integer", "x": "float32"}


def chosen(rows: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(1).choice(rows, rows // 3, replace=False))


SAMPLE = Sample(1 / 3, chosen)


@pytest.fixture
def frame() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 10**6, 500)
    return pl.DataFrame(
        {
            "user": [None if n % 7 == 0 else f"u{n}" for n in numbers],
            "note": ["x" * (1 + int(n % 40)) for n in numbers],
            "n": numbers,
            "x": pl.Series([None if n % 5 == 0 else n / 8 for n in numbers], dtype=pl.Float32),
        }
    )


@pytest.mark.parametrize("at_once", [64, 1000, 1 << 22])
@pytest.mark.parametrize(("header", "separator"), [(True, ","), ("skip", ","), (False, "|")])
def test_the_rows_are_those_of_the_whole_file(
    frame: pl.DataFrame, header: Any, separator: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_AT_ONCE", at_once)
    path = tmp_path / "log.csv"
    frame.write_csv(path, include_header=header is not False, separator=separator)
    form: dict[str, Any] = {
        "header": header,
        "columns": None if header is True else frame.columns,
        "separator": separator,
        "types": TYPES,
        "wanted": ["user", "n", "x"],
        "fill": {"x": 0.5},
    }
    whole = read_table_with_report(path, **form)
    found = read_table_with_report(path, **form, sample=SAMPLE)
    assert (whole.sampled_from, found.sampled_from) == (None, 500)
    assert found.frame.equals(whole.frame[chosen(500)])
    assert found.report.ignored == ("note",)


@pytest.mark.parametrize("preadv", ["with", "without"])
@pytest.mark.parametrize("native", ["0", "1"])
def test_the_kernel_takes_what_is_taken_without_it(
    frame: pl.DataFrame, native: str, preadv: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOTOWER_NATIVE", native)
    if preadv == "without":
        monkeypatch.delattr(os, "preadv")
    frame.write_csv(tmp_path / "log.csv")
    taken = sampled_lines(find_files(tmp_path / "log.csv", noun="log"), TextFormat(), SAMPLE, {"x", "user"})
    assert taken is not None
    assert (taken.names, taken.rows) == (("user", "note", "n", "x"), 500)
    assert taken.frame.equals(pl.read_csv(tmp_path / "log.csv", infer_schema=False)["user", "x"][chosen(500)])
    assert taken.frame["user"].null_count() > 0


PLAIN = "user,n\n" + "".join(f"u{n},{n}\n" for n in range(30))


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.replace("u7,", '"u7",'),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("u7", "\u00fc7"),
        PLAIN.replace("u7,7", "u7,7,7"),
        PLAIN.replace("u7,7", "u7"),
        PLAIN.replace("u7,7\n", "u7,7\n\n"),
        PLAIN[:-1],
        PLAIN.replace("\n", "\r"),
        "",
        "user,n\n",
        "user,n",
        "\n" + PLAIN,
        "user,user\n1,2\n",
        "user\na\nb\nc\n",
    ],
)
def test_of_a_file_that_is_not_plain_nothing_is_taken(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at_once in (8, 1 << 22):
        monkeypatch.setattr(room, "_AT_ONCE", at_once)
        (tmp_path / "log.csv").write_bytes(content.encode())
        assert sampled_lines(find_files(tmp_path / "log.csv", noun="log"), TextFormat(), SAMPLE) is None


def test_nor_of_several_files_other_files_and_large_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text(PLAIN, encoding="utf-8")
    one = find_files(tmp_path / "a.csv", noun="log")
    taken = sampled_lines(one, TextFormat(), SAMPLE)
    assert taken is not None
    assert taken.rows == 30
    assert sampled_lines(one, TextFormat(index_column=True), SAMPLE) is None
    monkeypatch.setattr(room, "_MOST_BYTES", 20)
    assert sampled_lines(one, TextFormat(), SAMPLE) is None
    monkeypatch.undo()
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(PLAIN.encode()))
    assert sampled_lines(find_files(tmp_path / "b.csv.gz", noun="log"), TextFormat(), SAMPLE) is None
    assert sampled_lines(find_files(tmp_path, noun="log"), TextFormat(), SAMPLE) is None
    pl.DataFrame({"user": ["a"]}).write_parquet(tmp_path / "c.parquet")
    assert sampled_lines(find_files(tmp_path / "c.parquet", noun="log"), TextFormat(), SAMPLE) is None


def test_a_line_that_fits_no_window_and_a_file_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.csv"
    path.write_text(PLAIN + "u," + "9" * 200 + "\n", encoding="utf-8")
    files = find_files(path, noun="log")
    assert sampled_lines(files, TextFormat(), SAMPLE) is not None
    monkeypatch.setattr(room, "_AT_ONCE", 64)
    assert sampled_lines(files, TextFormat(), SAMPLE) is None
    monkeypatch.undo()
    path.write_text(PLAIN, encoding="utf-8")  # shorter than it was when it was listed
    assert sampled_lines(files, TextFormat(), SAMPLE) is None
    path.unlink()
    assert sampled_lines(files, TextFormat(), SAMPLE) is None


def test_what_is_wrong_in_a_taken_row_is_told_with_its_row_in_the_file(tmp_path: Path) -> None:
    row = int(chosen(30)[-1])
    (tmp_path / "log.csv").write_text(PLAIN.replace(f"u{row},{row}\n", f"u{row},many\n"), encoding="utf-8")
    types: dict[str, Any] = {"user": "string", "n": "integer"}
    with pytest.raises(TableReadError, match=rf"data row {row} \(counted from 0\) holds 'many'"):
        read_table_with_report(tmp_path / "log.csv", types=types, sample=SAMPLE)
    # rows that are skipped are not rows to choose from
    found = read_table_with_report(tmp_path / "log.csv", types=types, sample=SAMPLE, on_bad_rows="skip")
    assert (found.sampled_from, found.frame.height) == (None, 29)


def test_a_type_of_a_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(PLAIN, encoding="utf-8")
    with pytest.raises(TableReadError, match="no column 'usr', which `types` declares"):
        read_table_with_report(tmp_path / "log.csv", types={"user": "string", "n": "integer", "usr": "string"}, sample=SAMPLE)


def test_types_that_are_not_declared_are_those_of_all_rows(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(PLAIN.replace("u", ""), encoding="utf-8")
    found = read_table_with_report(
        tmp_path / "log.csv", header="skip", columns=["a", "b"], types={"b": "integer"}, sample=SAMPLE
    )
    assert found.sampled_from is None
    assert found.frame.schema == {"a": pl.Int64, "b": pl.Int64}
    assert (
        read_table_with_report(
            tmp_path / "log.csv", header="skip", columns=["a", "b"], types={"b": "integer"}, wanted=["b"], sample=SAMPLE
        )
        .frame["b"]
        .to_list()
        == chosen(30).tolist()
    )
