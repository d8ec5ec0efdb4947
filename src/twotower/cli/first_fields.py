"""The first line of a text file, before it is known how the file is to be read."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from typing import BinaryIO, cast

from twotower.data.source_files import find_files
from twotower.errors import TableReadError

__all__ = ["first_fields"]

_LOOKED_AT = 2**16
_GZIP_MAGIC = b"\x1f\x8b"


def first_fields(path: str, separator: str | None) -> list[str] | None:
    """The fields of the first line of a table's first file; None for Parquet.

    Args:
        path: As of `twotower.data.read_table`.
        separator: None: a tab where the name ends in ``.tsv``, else a comma.

    Raises:
        TableReadError: If there is no such file, or it is damaged.
    """
    file = find_files(path, noun="table")[0]
    if file.kind == "parquet":
        return None
    if separator is None:
        separator = "\t" if ".tsv" in file.suffixes else ","
    with file.open() as stream:
        magic = stream.read(len(_GZIP_MAGIC))
        stream.seek(0)
        try:
            opened = cast("BinaryIO", gzip.GzipFile(fileobj=stream)) if magic == _GZIP_MAGIC else stream
            head = opened.read(_LOOKED_AT)
        except (EOFError, OSError, zlib.error) as error:
            raise TableReadError(f"table {file.name}: the gzip file is damaged ({error}); fetch it again") from None
    lines = io.StringIO(head.decode("utf-8-sig", errors="replace"), newline="")
    try:
        return next(csv.reader(lines, delimiter=separator), [])
    except csv.Error:
        return []  # whoever reads the whole of it says what is wrong
