"""Text files: separators, quotes, gzip, and everything that can be wrong with them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from twotower.data.bad_rows import BadRows, BadRowsPolicy, SkippedRows
from twotower.data.first_record import TextFormat
from twotower.data.source_files import find_files
from twotower.data.text_file import TextBatch, open_text_file
from twotower.errors import TableReadError

PLAIN = TextFormat()


def batches(
    path: Path, content: str | bytes, form: TextFormat = PLAIN, *, bad_rows: BadRows | None = None, block_bytes: int = 1 << 20
) -> list[TextBatch]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (file,) = find_files(path, noun="ratings")
    bad = bad_rows or BadRows("error")
    with open_text_file(file, 0, form, noun="ratings", bad_rows=bad, block_bytes=block_bytes) as text:
        found = list(text.batches)
        empty = pl.DataFrame(schema=dict.fromkeys(text.columns, pl.String))
    return found or [TextBatch(empty, np.zeros(0, dtype=np.int64), 0)]


def read(path: Path, content: str | bytes, form: TextFormat = PLAIN, *, block_bytes: int = 1 << 20) -> pl.DataFrame:
    return pl.concat([batch.frame for batch in batches(path, content, form, block_bytes=block_bytes)])


def without_header(*columns: str) -> TextFormat:
    return TextFormat(header=False, columns=columns)


def test_everything_is_text_and_empty_is_null(tmp_path: Path) -> None:
    frame = read(tmp_path / "x.csv", 'u,n\r\na,1\r\n,2\r\n"",3\r\n')
    assert frame.to_dict(as_series=False) == {"u": ["a", None, None], "n": ["1", "2", "3"]}


def test_tab_for_tsv_and_comma_else(tmp_path: Path) -> None:
    content = b"u\tn\na\t1\n"
    assert read(tmp_path / "x.tsv", content).columns == ["u", "n"]
    assert read(tmp_path / "x.tsv.gz", gzip.compress(content)).columns == ["u", "n"]
    assert read(tmp_path / "x.inter", content).columns == ["u\tn"]
    assert read(tmp_path / "x.inter", b"u,n\na,1\n").columns == ["u", "n"]


def test_a_declared_separator_goes_before_the_name(tmp_path: Path) -> None:
    assert read(tmp_path / "x.tsv", "u;n\na;1\n", TextFormat(separator=";")).rows() == [("a", "1")]


@pytest.mark.parametrize("separator", list(" -eof\x1c"))
def test_a_separator_that_words_have(separator: str, tmp_path: Path) -> None:
    form = TextFormat(separator=separator)
    content = f"U{separator}I\nA{separator}X\n"
    assert read(tmp_path / "x.csv", content, form).rows() == [("A", "X")]
    assert read(tmp_path / "x.csv", f'{content}"Q{separator}Q"{separator}Y\n', form).rows()[1] == (f"Q{separator}Q", "Y")


def test_columns_for_a_file_without_a_header(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", "a,1\nb,2\n", without_header("u", "n")).rows(named=True)[0] == {"u": "a", "n": "1"}


def test_quotes_hold_separators_and_breaks_unless_they_are_text(tmp_path: Path) -> None:
    content = 'u,n\n"a,b\nc",1\n"say ""x""",2\n'
    assert read(tmp_path / "x.csv", content)["u"].to_list() == ["a,b\nc", 'say "x"']
    plain = read(tmp_path / "x.tsv", 'u\tn\n"Great" Day\t1\n"\t2\n', TextFormat(quote=None))
    assert plain["u"].to_list() == ['"Great" Day', '"']
    assert read(tmp_path / "x.csv", "u,n\n'a,b',1\n", TextFormat(quote="'"))["u"].to_list() == ["a,b"]


def test_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", b"\xef\xbb\xbfu,n\na,\n").columns == ["u", "n"]
    assert read(tmp_path / "x.csv", b"\xef\xbb\xbfa,1\n", without_header("u", "n"))["u"].to_list() == ["a"]


def test_gzip_whatever_its_name(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", gzip.compress(b"u\na\n")).rows() == [("a",)]
    assert read(tmp_path / "x.csv", gzip.compress(b"u\na\n") + gzip.compress(b"b\n")).rows() == [("a",), ("b",)]


def test_truncated_and_damaged_gzip(tmp_path: Path) -> None:
    content = gzip.compress("".join(f"{n},{n * 7919 % 1000}\n" for n in range(5000)).encode())
    for damaged in (content[:-100], content[:200] + b"\x00" * 50 + content[250:], b"\x1f\x8bnonsense"):
        with pytest.raises(TableReadError, match=r"x.csv.gz: damaged or truncated gzip"):
            read(tmp_path / "x.csv.gz", damaged, without_header("a", "b"))


def test_a_gzip_that_ends_after_what_was_read_ahead(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = "".join(f"{a},{b}\n" for a, b in rng.integers(0, 10**9, (120_000, 2)).tolist()).encode()
    assert len(lines) > 2 << 20
    content = gzip.compress(lines, compresslevel=1)
    with pytest.raises(TableReadError, match=r"x.csv.gz: damaged or truncated gzip"):
        read(tmp_path / "x.csv.gz", content[: -len(content) // 3], without_header("a", "b"))


@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
def test_a_row_with_another_number_of_fields_is_named(tmp_path: Path, block_bytes: int) -> None:
    long = "u,n\n" + "a,1\n" * 20 + "\nb,2,3\n"
    with pytest.raises(
        TableReadError,
        match=r"x.csv: every row needs 2 fields .* data row 20 \(counted from 0\) has 3 \(separator ','\): 'b,2,3'; .*'skip'",
    ):
        read(tmp_path / "x.csv", long, block_bytes=block_bytes)
    with pytest.raises(TableReadError, match=r"needs 3 fields like the first, but data row 1 \(counted from 0\) has 2"):
        read(tmp_path / "x.csv", 'u,n,m\n"a,\n",1,\nb,2\n', block_bytes=block_bytes)
    with pytest.raises(TableReadError, match=r"data row 1 \(counted from 0\) has 1"):
        read(tmp_path / "x.csv", "1,2\n3\n", without_header("u", "n"), block_bytes=block_bytes)


def test_empty_last_fields_are_no_missing_fields(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", "u,n\na,\n,\n")["n"].to_list() == [None, None]


@pytest.mark.parametrize("content", ["u,n\n\na,1\n\nb,2\n", "u,n\na,1\nb,2\n\n", "u,n\r\na,1\r\n\r\nb,2"])
def test_blank_lines_after_the_first_are_skipped(tmp_path: Path, content: str) -> None:
    assert read(tmp_path / "x.csv", content).rows() == [("a", "1"), ("b", "2")]


def test_a_lone_carriage_return_ends_a_line(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match=r"data row 0 \(counted from 0\) has 1"):
        read(tmp_path / "x.csv", "u,n\na\rb,\n")


def test_one_column_with_empty_values(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", "u\na\n\nb\n")["u"].to_list() == ["a", None, "b"]


@pytest.mark.parametrize("block_bytes", [16, 1 << 20])
@pytest.mark.parametrize("tail", ['7,"xy\n3,4\n', '"xy,3\n', '5,6,"\n'])
def test_an_unclosed_quote_is_an_error_whatever_the_policy(tmp_path: Path, tail: str, block_bytes: int) -> None:
    for policy in ("error", "skip"):
        with pytest.raises(TableReadError, match=r"x\.csv: can't be read as delimited text: data row 8 .*never closed"):
            batches(tmp_path / "x.csv", "u,n\n" + "1,2\n" * 8 + tail, bad_rows=BadRows(policy), block_bytes=block_bytes)


def test_a_record_that_fits_no_block(tmp_path: Path) -> None:
    content = "u,n\n" + "1,2\n" * 100 + '"' + "x" * 2000 + '",1\n'
    with pytest.raises(TableReadError, match=r"after data row \d+ \(counted from 0\) a record has more than 64 bytes"):
        read(tmp_path / "x.csv", content, block_bytes=64)


def test_bytes_that_are_not_utf_8_are_named_with_row_and_column(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match=r"x.csv: not UTF-8: column 'n' of data row 1 \(counted from 0\) holds b'caf.xe9'"):
        read(tmp_path / "x.csv", b"u,n\n1,2\n3,caf\xe9\n\xff,2\n")


def test_a_row_that_is_too_short_and_not_utf_8_either(tmp_path: Path) -> None:
    content = b"u,n\n1,2\n\xff\xe9\n3,4\n"
    with pytest.raises(TableReadError, match=r"data row 1 \(counted from 0\) has 1 .*: '\ufffd\ufffd'"):
        read(tmp_path / "x.csv", content)
    bad = BadRows("skip")
    assert batches(tmp_path / "x.csv", content, bad_rows=bad)[0].frame.rows() == [("1", "2"), ("3", "4")]
    assert [(row.row, row.reason) for row in bad.skipped().sample] == [(1, "wrong number of fields")]


def test_valid_text_beyond_ascii_is_kept(tmp_path: Path) -> None:
    assert read(tmp_path / "x.csv", "u,n\né,日本\n", block_bytes=16).rows() == [("é", "日本")]


def skipped_of(policy: BadRowsPolicy = "skip") -> BadRows:
    return BadRows(policy)


@pytest.mark.parametrize("block_bytes", [16, 40, 1 << 20])
def test_bad_rows_are_skipped_and_counted_and_the_others_keep_their_numbers(tmp_path: Path, block_bytes: int) -> None:
    good = "a,1\n"
    content = b"u,n\n" + (good * 3 + "short\n" + good + "\n" + "x,y,z\n" + good).encode() + b"\xff,2\n" + (good * 2).encode()
    bad = skipped_of()
    found = batches(tmp_path / "x.csv", content, bad_rows=bad, block_bytes=block_bytes)
    assert np.concatenate([batch.rows for batch in found]).tolist() == [0, 1, 2, 4, 6, 8, 9]
    assert pl.concat([batch.frame for batch in found]).rows() == [("a", "1")] * 7
    account = bad.skipped()
    assert account.counts == {"not UTF-8": 1, "wrong number of fields": 2}
    assert [(row.row, row.reason, row.column, row.text) for row in account.sample] == [
        (3, "wrong number of fields", None, "short"),
        (5, "wrong number of fields", None, "x,y,z"),
        (7, "not UTF-8", "u", "\ufffd,2"),
    ]
    assert {row.file for row in account.sample} == {str(tmp_path / "x.csv")}


def test_many_rows_keep_their_order_over_blocks(tmp_path: Path) -> None:
    lines = [f"u{n},{n}" for n in range(20_000)]
    found = batches(tmp_path / "x.csv", "u,n\n" + "\n".join(lines), block_bytes=4096)
    assert len(found) > 10
    assert pl.concat([batch.frame for batch in found])["n"].to_list() == [str(n) for n in range(20_000)]
    assert np.concatenate([batch.rows for batch in found]).tolist() == list(range(20_000))
    counts = [batch.bytes_read for batch in found]
    assert counts == sorted(counts)
    assert counts[-1] == (tmp_path / "x.csv").stat().st_size


def test_a_mark_alone_is_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match=r"a\.csv: the file is empty"):
        read(tmp_path / "a.csv", b"\xef\xbb\xbf")


@pytest.mark.parametrize("role", ["separator", "quote"])
def test_signs_that_the_parser_does_not_know_are_told(role: str, tmp_path: Path) -> None:
    form = TextFormat(separator="§") if role == "separator" else TextFormat(quote="§")
    with pytest.raises(TableReadError, match=rf"a\.csv: the {role} must be an ASCII character; came '§'"):
        read(tmp_path / "a.csv", "a§b\n1§2\n", form)


LINES = [
    b"a,1",
    b"",
    b"b,2\r",
    b"short",
    b"x,y,z",
    b"\xff,2",
    b"\xc3\xa9,",
    b"\xef\xbb\xbfm,3",
    b",",
    b'"q,\nr",4',
    b"long" * 5 + b",5",
]


@pytest.mark.parametrize("seed", range(40))
def test_blocks_side_by_side_give_what_one_parser_gives(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    kinds = LINES if seed % 3 else [line for line in LINES if b'"' not in line]
    content = b"\n".join(
        [[b"u,n", b"\xef\xbb\xbfu,n", b"u,n\r"][seed % 3 - 1]] + [kinds[i] for i in rng.integers(len(kinds), size=60)]
    )
    content += b"\n" * int(rng.integers(3))
    form = [PLAIN, TextFormat(header="skip", columns=("u", "n")), without_header("u", "n")][seed % 4 - 1 if seed % 4 else 0]

    def found(block_bytes: int) -> tuple[list[tuple[str, ...]], list[int], SkippedRows]:
        bad = BadRows("skip")
        parts = batches(tmp_path / "x.csv", content, form, bad_rows=bad, block_bytes=block_bytes)
        rows = np.concatenate([batch.rows for batch in parts]).tolist()
        return pl.concat([batch.frame for batch in parts]).rows(), rows, bad.skipped()

    side_by_side = [found(size) for size in (40, 64, 300, 1 << 20)]
    monkeypatch.setattr("twotower.data.text_file._Parser._side_by_side", lambda *_: iter(()))
    one = found(1 << 20)
    assert len(one[0]) > 10
    for several in side_by_side:
        assert several == one
