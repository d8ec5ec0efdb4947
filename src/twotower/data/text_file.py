"""One file of delimited text, read as columns of text; every row must have as many fields as the first."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from polars.exceptions import NoDataError, PolarsError

from twotower.errors import TableReadError

__all__ = ["read_text_file"]

_GZIP_MAGIC = b"\x1f\x8b"


def read_text_file(
    path: Path, *, noun: str, separator: str | None, header: bool, columns: Sequence[str] | None, quote: str | None
) -> pl.DataFrame:
    """Read one CSV or TSV file, plain or gzip, as text.

    Args:
        path: An existing file, in UTF-8.
        noun: What the table is called in an error.
        separator: One character; None: a tab for ``.tsv`` and ``.tsv.gz``, else a comma.
        header: Whether the first row names the columns.
        columns: Names of the columns of a file without a header.
        quote: Character around fields that hold separators or line breaks; None: no character has that meaning.

    Returns:
        String columns; an empty field is null. Blank lines after the first are skipped, unless there is but one column: there
        they are nulls.

    Raises:
        TableReadError: If the file is empty, not UTF-8, damaged gzip, badly quoted, names a column twice, or has a row with
            more or fewer fields than there are columns.
    """
    if separator is None:
        separator = "\t" if ".tsv" in path.suffixes else ","
    data = _contents(path, noun)
    try:
        raw = pl.read_csv(
            data, separator=separator, has_header=False, quote_char=quote, infer_schema=False, glob=False, raise_if_empty=True
        )
    except NoDataError:
        raise TableReadError(f"{noun} {path}: the file is empty; a table needs at least one row") from None
    except (PolarsError, OSError) as error:
        raise _explained(path, noun, data, separator, quote, error) from None
    if raw.get_column(raw.columns[-1]).null_count():
        filled = _rows_with_fields(path, noun, data, separator, quote, raw.width)
        if len(filled) != raw.height:
            raise TableReadError(
                f"{noun} {path}: can't be read as delimited text (it has {raw.height:,} or {len(filled):,} rows, by how its "
                f"quotes are read); check separator {separator!r} and quotes"
            )
        raw = raw.filter(pl.Series(filled, dtype=pl.Boolean))
    if header:
        names: Sequence[str] = [str(name) if name is not None else "" for name in raw.row(0)]
        raw = raw.slice(1)
    else:
        names = columns or ()
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise TableReadError(f"{noun} {path}: every column needs its own name; came twice: {', '.join(map(repr, twice))}")
    if len(names) != raw.width:
        raise TableReadError(
            f"{noun} {path}: `columns` names {len(names)} columns, but the rows have {raw.width} fields "
            f"(separator {separator!r}); name every column, or declare another separator"
        )
    return raw.rename(dict(zip(raw.columns, names, strict=True)))


def _contents(path: Path, noun: str) -> Path | bytes:
    """The path itself for plain text, so that it is never held twice; the whole text of a gzip file."""
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == _GZIP_MAGIC
        return gzip.decompress(path.read_bytes()) if zipped else path
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TableReadError(f"{noun} {path}: damaged or truncated gzip ({error}); fetch or write the file again") from None
    except OSError as error:
        raise TableReadError(f"{noun} {path}: can't be read ({error.strerror or error})") from None


def _records(data: Path | bytes, separator: str, quote: str | None) -> list[int]:
    """Number of fields of every record, by the standard library's slow and strict reader."""
    text = data.decode("utf-8-sig") if isinstance(data, bytes) else data.read_text(encoding="utf-8-sig")
    lines = io.StringIO(text, newline="\n")
    if quote:
        reader = csv.reader(lines, delimiter=separator, quotechar=quote, strict=True)
    else:
        reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE)
    return [len(record) for record in reader]


def _rows_with_fields(path: Path, noun: str, data: Path | bytes, separator: str, quote: str | None, width: int) -> list[bool]:
    """Which records are not blank. The fast reader fills short rows with nulls, which this tells from empty last fields."""
    try:
        lengths = _records(data, separator, quote)
    except (csv.Error, UnicodeDecodeError) as error:
        raise TableReadError(f"{noun} {path}: can't be read as delimited text ({error}); check separator and quotes") from None
    for row, length in enumerate(lengths):
        if length not in (0, width):
            raise _wrong_fields(path, noun, row, length, width, separator)
    return [length > 0 or width == 1 for length in lengths]


def _wrong_fields(path: Path, noun: str, record: int, length: int, width: int, separator: str) -> TableReadError:
    return TableReadError(
        f"{noun} {path}: every row needs {width} fields like the first, but record {record + 1} of the file has {length} "
        f"(separator {separator!r}); quote fields that hold the separator, or correct the row"
    )


def _explained(
    path: Path, noun: str, data: Path | bytes, separator: str, quote: str | None, error: Exception
) -> TableReadError:
    """Find the row that the fast reader refused, for it does not say which."""
    try:
        lengths = _records(data, separator, quote)
    except UnicodeDecodeError as fault:
        return TableReadError(f"{noun} {path}: not UTF-8 at byte {fault.start}; convert the file to UTF-8")
    except (csv.Error, OSError) as fault:
        return TableReadError(
            f"{noun} {path}: can't be read as delimited text ({fault}); check separator {separator!r} and quotes"
        )
    if lengths[0] == 0:
        return TableReadError(f"{noun} {path}: the first line is blank; a table starts on the first line")
    for row, length in enumerate(lengths):
        if length > lengths[0]:
            return _wrong_fields(path, noun, row, length, lengths[0], separator)
    first_line = str(error).splitlines()[0]
    return TableReadError(
        f"{noun} {path}: can't be read as delimited text ({first_line}); check separator {separator!r} and quotes"
    )
