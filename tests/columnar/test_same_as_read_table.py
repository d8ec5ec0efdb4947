"""Small or large, a table is read the same: `open_table`, in blocks of a few bytes, against `read_table`; both against csv."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twotower.columnar.convert import convert
from twotower.columnar.progress import ConversionClock
from twotower.columnar.stored_column import map_column
from twotower.data import TableConfig
from twotower.data.source_files import find_files
from twotower.errors import TableReadError

VALUES = st.sampled_from(
    [
        "",
        "1",
        "2",
        "-3",
        "007",
        "1.5",
        "2e3",
        "99999999999999999999",
        "a",
        "b,c",
        'say "x"',
        "x\ny",
        "é",
        " q",
        "true",
        "nan",
        "\t",
        "日本",
    ]
)
NUMBERS = st.sampled_from(["", "1", "2", "-3", "1.5", "4"])
BAD = st.sampled_from(["short", "long", "encoding", "type"])


def written(rows: list[list[str]], *, newline: str, quoting: Any, separator: str) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=separator, lineterminator=newline, quoting=quoting).writerows(rows)
    return buffer.getvalue().encode()


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a file, and how it is to be read."""
    separator = draw(st.sampled_from([",", ";"]))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    width = draw(st.integers(2, 4))
    kinds = [draw(st.sampled_from(["text", "number"])) for _ in range(width)]
    count = draw(st.integers(1, 12))
    lines: list[bytes] = []
    bad = draw(st.booleans())
    for _ in range(count):
        row = [draw(VALUES if kind == "text" else NUMBERS) for kind in kinds]
        line = written([row], newline=newline, quoting=quoting, separator=separator)
        if bad and draw(st.integers(0, 3)) == 0:
            kind = draw(BAD)
            if kind == "encoding":
                line = b"\xff" + separator.encode() * (width - 1) + newline.encode()
            elif kind == "type":
                line = written([["no number"] * width], newline=newline, quoting=quoting, separator=separator)
            else:
                many = width - 1 if kind == "short" else width + 1
                line = written([["z"] * many], newline=newline, quoting=quoting, separator=separator)
        lines.append(line)
        if draw(st.integers(0, 9)) == 0:
            lines.append(newline.encode())  # a blank line
    header = draw(st.sampled_from([True, False, "skip"]))
    names = [f"c{n}" for n in range(width)]
    head = written([names], newline=newline, quoting=quoting, separator=separator) if header else b""
    content = head + b"".join(lines)
    if draw(st.booleans()):
        content = content.removesuffix(newline.encode())
    if draw(st.booleans()):
        content = b"\xef\xbb\xbf" + content
    types = {"c0": draw(st.sampled_from(["string", "float", "float32", "integer", "boolean"]))} if draw(st.booleans()) else {}
    fill: dict[str, Any] = {"c1": draw(st.sampled_from(["unknown", 30, 2.5]))} if draw(st.booleans()) else {}
    spec: dict[str, Any] = {
        "separator": separator,
        "header": header,
        "columns": None if header is True else tuple(names),
        "types": types,
        "fill": fill,
        "index_column": False,
        "on_bad_rows": "skip" if draw(st.integers(0, 3)) else "error",
    }
    if draw(st.booleans()):
        content = gzip.compress(content)
    return content, spec


def converted(config: TableConfig, folder: Path, block_bytes: int) -> tuple[pl.DataFrame, Any]:
    """The table by way of files, text as text."""
    folder.mkdir()
    files = find_files(config.path, noun="table")
    clock = ConversionClock(None, 0, "")
    manifest = convert(files, config, folder, key="k", wanted=None, noun="table", clock=clock, block_bytes=block_bytes)
    columns = [map_column(folder, entry, manifest.rows) for entry in manifest.columns]
    filled = {entry.name: entry.filled for entry in manifest.columns if entry.filled is not None}
    for column in columns:
        if isinstance(column.dtype, pl.Enum):
            categories = column.dtype.categories
            assert categories.to_list() == sorted(column.drop_nulls().cast(pl.String).unique())
    return pl.DataFrame(columns).with_columns(pl.col(pl.Enum).cast(pl.String)), (manifest.skipped, filled, manifest.rows)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables(), st.sampled_from([64, 100, 4096]))
def test_the_same_table_and_the_same_account(table: tuple[bytes, dict[str, Any]], block_bytes: int) -> None:
    content, spec = table
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "log.csv"
        path.write_bytes(content)
        config = TableConfig(path=str(path), **spec)
        try:
            direct = config.read_with_report()
        except TableReadError:
            # which of several faults is met first may depend on the block
            with pytest.raises(TableReadError):
                converted(config, Path(name) / "columns", block_bytes)
            return
        frame, (skipped, filled, rows) = converted(config, Path(name) / "columns", block_bytes)
    assert frame.schema == direct.frame.schema
    assert frame.equals(direct.frame)
    assert (skipped, filled, rows) == (direct.report.skipped, direct.report.filled, direct.report.rows)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.text(alphabet='ab,"\n é;', max_size=4), min_size=3, max_size=3), min_size=1, max_size=8),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_quotes_separators_and_breaks_are_those_of_the_standard_library(rows: list[list[str]], quoting: Any) -> None:
    content = written([["a", "b", "c"], *rows], newline="\n", quoting=quoting, separator=",")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "log.csv"
        path.write_bytes(content)
        config = TableConfig(path=str(path), types=dict.fromkeys("abc", "string"))
        frame, _ = converted(config, Path(name) / "columns", 64)
        direct = config.read()
    expected = [tuple(value or None for value in row) for row in csv.reader(io.StringIO(content.decode(), newline=""))][1:]
    assert frame.rows() == direct.rows() == expected
