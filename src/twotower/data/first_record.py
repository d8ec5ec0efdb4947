"""What the first record of a text file tells: the names of the columns, and how many fields every row must have."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

from twotower.errors import TableReadError

__all__ = ["FirstRecord", "HeaderRule", "TextFormat", "read_first_record"]

_LOOKED_AT = 20

HeaderRule: TypeAlias = bool | Literal["skip"]
"""True: the first row names the columns; False: there is no such row; ``"skip"``: it is there and not read."""


@dataclass(frozen=True)
class TextFormat:
    """How text files are written.

    Attributes:
        separator: One character; None: a tab for ``.tsv`` and ``.tsv.gz``, else a comma.
        header: Whether the first row names the columns; ``"skip"``: it is there and not read.
        columns: Names of the columns where the header does not name them, without the index column.
        quote: Character around fields that hold separators or line breaks; None: no character has that meaning.
        index_column: Whether the first field of every row is a row number, which is left out; the header may not
            name it.
    """

    separator: str | None = None
    header: HeaderRule = True
    columns: tuple[str, ...] | None = None
    quote: str | None = '"'
    index_column: bool = False


@dataclass(frozen=True)
class FirstRecord:
    """What the first record tells.

    Attributes:
        names: Names of the columns, without the index column.
        width: Fields of every row, with the index column.
        is_header: Whether the first record is a header.
        is_full: Whether it has as many fields as the rows; a header that is not read, or that lacks the index column, may not.
    """

    names: tuple[str, ...]
    width: int
    is_header: bool
    is_full: bool


def read_first_record(head: bytes, form: TextFormat, separator: str, where: str) -> FirstRecord:
    """Read the names of the columns, and check them.

    Args:
        head: The first bytes of the file, or all of them.
        form: How the file is written.
        separator: Its separator.
        where: What the file is called in an error.

    Raises:
        TableReadError: If the file is empty or UTF-16, starts with a blank line, names a column twice, or has rows of another
            width than the names that were given.

    Example:
        >>> read_first_record(b"user,item\\n7,8\\n", TextFormat(), ",", "log.csv").names
        ('user', 'item')
    """
    records = _records(head, form.quote, separator, where)
    first, rest = records[0], [record for record in records[1:] if record]
    if not first:
        raise TableReadError(f"{where}: the first line is blank; a table starts on the first line")
    index = int(form.index_column)
    if form.header is True:
        nameless = form.index_column and bool(rest) and {len(record) for record in rest} == {len(first) + 1}
        names = tuple(first if nameless else first[index:])
        if "\ufffd" in "".join(names):
            raise TableReadError(f"{where}: not UTF-8: the header holds {','.join(names)!r}; convert the file to UTF-8")
        width = len(names) + index
    else:
        names = form.columns or ()
        width = len(names) + index
        rows = rest if form.header else [first, *rest]
        if rows and all(len(record) != width for record in rows):
            beside = " beside the index column" if index else ""
            raise TableReadError(
                f"{where}: `columns` names {len(names)} columns, but the rows have {len(rows[0]) - index} fields{beside} "
                f"(separator {separator!r}); name every column, or declare another separator"
            )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise TableReadError(f"{where}: every column needs its own name; came twice: {', '.join(map(repr, twice))}")
    return FirstRecord(names, width, form.header is not False, len(first) == width)


def _records(head: bytes, quote: str | None, separator: str, where: str) -> list[list[str]]:
    """The first few records; the last of them may be cut where the head is."""
    if head in (b"", codecs.BOM_UTF8):
        raise TableReadError(f"{where}: the file is empty; a table needs at least one row")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise TableReadError(f"{where}: not UTF-8 but UTF-16, by its byte-order mark; convert the file to UTF-8")
    lines = io.StringIO(head.decode("utf-8-sig", errors="replace"), newline="")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    records: list[list[str]] = []
    try:
        records.extend(islice(csv.reader(lines, delimiter=separator, quotechar=quote or '"', quoting=quoting), _LOOKED_AT))
    except csv.Error as error:
        if not records:
            raise TableReadError(
                f"{where}: can't be read as delimited text ({error}); check separator {separator!r} and quotes"
            ) from None
    return records
