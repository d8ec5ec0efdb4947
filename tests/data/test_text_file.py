"""Text files: separators, quotes, gzip, and everything that can be wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from twotower.data.text_file import read_text_file
from twotower.errors import TableReadError


def read(
    path: Path, content: str | bytes, *, separator: str | None = None, columns: list[str] | None = None, quote: str | None = '"'
) -> pl.DataFrame:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_text_file(path, noun="ratings", separator=separator, header=columns is None, columns=columns, quote=quote)


def test_everything_is_text_and_empty_is_null(tmp_path: Path) -> None:
    frame = read(tmp_path / "x.csv", "u,n\r\na,1\r\n,2\r\n")
    assert frame.to_dict(as_series=False) == {"u": ["a", None], "n": ["1", "2"]}


def test_tab_for_tsv_and_comma_else(tmp_path: Path) -> None:
    content = b"u\tn\na\t1\n"
    assert read(tmp_path / "x.tsv", content).columns == ["u", "n"]
    assert read(tmp_path / "x.tsv.gz", gzip.compress(content)).columns == ["u", "n"]
    assert read(tmp_path / "x.inter", content).columns == ["u\tn"]
    assert read(tmp_path / "x.inter", b"u,n\na,1\n").columns == ["u", "n"]


def test_a_declared_separator_goes_before_the_name(tmp_path: Path) -> None:
    assert read(tmp_path / "x.tsv", "u;n\na;1\n", separator=";").rows() == [("a", "1")]


def test_columns_for_a_file_without_a_header(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", "a,1\nb,2\n", columns=["u", "n"]).rows(named=True)[0] == {"u": "a", "n": "1"}
    with pytest.raises(TableReadError, match="names 1 columns, but the rows have 2 fields"):
        read(tmp_path / "x.csv", "a,1\n", columns=["u"])


def test_quotes_hold_separators_and_breaks_unless_they_are_text(tmp_path: Path) -> None:
    content = 'u,n\n"a,b\nc",1\n"say ""x""",2\n'
    assert read(tmp_path / "x.csv", content)["u"].to_list() == ["a,b\nc", 'say "x"']
    plain = read(tmp_path / "x.tsv", 'u\tn\n"Great" Day\t1\n"\t2\n', quote=None)
    assert plain["u"].to_list() == ['"Great" Day', '"']


def test_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", b"\xef\xbb\xbfu,n\na,\n").columns == ["u", "n"]


def test_gzip_whatever_its_name(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", gzip.compress(b"u\na\n")).rows() == [("a",)]


def test_truncated_and_damaged_gzip(tmp_path: Path) -> None:
    content = gzip.compress("".join(f"{n},{n * 7919 % 1000}\n" for n in range(5000)).encode())
    for damaged in (content[:-100], content[:200] + b"\x00" * 50 + content[250:], b"\x1f\x8bnonsense"):
        with pytest.raises(TableReadError, match=r"x.csv.gz: damaged or truncated gzip"):
            read(tmp_path / "x.csv.gz", damaged)


def test_too_many_fields_names_the_record(tmp_path: Path) -> None:
    with pytest.raises(
        TableReadError, match=r"needs 2 fields like the first, but record 3 of the file has 3 \(separator ','\)"
    ):
        read(tmp_path / "x.csv", "u,n\na,1\nb,2,3\n")


def test_too_few_fields_names_the_record(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match="needs 3 fields like the first, but record 3 of the file has 2"):
        read(tmp_path / "x.csv", 'u,n,m\n"a,\n",1,\nb,2\n')


def test_empty_last_fields_are_no_missing_fields(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", "u,n\na,\n,\n")["n"].to_list() == [None, None]


@pytest.mark.parametrize("content", ["u,n\n\na,1\n\nb,2\n", "u,n\na,1\nb,2\n\n", "u,n\r\na,1\r\n\r\nb,2"])
def test_blank_lines_after_the_first_are_skipped(tmp_path: Path, content: str) -> None:
    assert read(tmp_path / "x.csv", content).rows() == [("a", "1"), ("b", "2")]


def test_a_blank_first_line(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match="the first line is blank"):
        read(tmp_path / "x.csv", "\nu,n\na,1\n")


def test_readers_that_disagree_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match=r"x\.csv"):
        read(tmp_path / "x.csv", "u,n\na\rb,\n")


def test_one_column_with_empty_values(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", "u\na\n\nb\n")["u"].to_list() == ["a", None, "b"]


def test_an_unclosed_quote(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match=r"x\.csv: can't be read as delimited text"):
        read(tmp_path / "x.csv", 'u,n\n1,"xy\n3,4\n')


def test_other_encodings_are_named(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match="not UTF-8 at byte 5; convert"):
        read(tmp_path / "x.csv", b"u,n\n1\xe9,2\n")


def test_headers_are_distinct(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match="came twice: 'u'"):
        read(tmp_path / "x.csv", "u,n,u\n1,2,3\n")
    with pytest.raises(TableReadError, match="came twice: 'u'"):
        read(tmp_path / "x.csv", "1,2\n", columns=["u", "u"])


def test_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match="the file is empty"):
        read(tmp_path / "x.csv", "")


def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    lines = [f"u{n},{n}" for n in range(20_000)]
    frame = read(tmp_path / "x.csv", "u,n\n" + "\n".join(lines))
    assert frame["n"].to_list() == [str(n) for n in range(20_000)]
