"""The first record: names, widths, headers that are not read, index columns."""

from __future__ import annotations

import pytest

from twotower.data.first_record import FirstRecord, TextFormat, read_first_record
from twotower.errors import TableReadError


def first(head: bytes, form: TextFormat) -> FirstRecord:
    return read_first_record(head, form, ",", "log.csv")


def test_a_header_names_the_columns() -> None:
    assert first(b'u,"n,\nm"\n1,2\n', TextFormat()) == FirstRecord(("u", "n,\nm"), 2, True, True)
    assert first(b"\xef\xbb\xbfu,n\n", TextFormat()).names == ("u", "n")


def test_no_header() -> None:
    assert first(b"1,2\n", TextFormat(header=False, columns=("u", "n"))) == FirstRecord(("u", "n"), 2, False, True)


def test_a_header_that_is_not_read_may_have_any_width() -> None:
    skip = TextFormat(header="skip", columns=("u", "n"))
    assert first(b"a,b\n1,2\n", skip) == FirstRecord(("u", "n"), 2, True, True)
    assert first(b"# written on Monday\n1,2\n", skip) == FirstRecord(("u", "n"), 2, True, False)


@pytest.mark.parametrize("head", [b",u,n\n0,a,1\n", b"id,u,n\n0,a,1\n"])
def test_an_index_column_is_no_column(head: bytes) -> None:
    assert first(head, TextFormat(index_column=True)) == FirstRecord(("u", "n"), 3, True, True)


def test_an_index_column_that_the_header_lacks() -> None:
    form = TextFormat(index_column=True)
    assert first(b"u,n\n0,a,1\n1,b,2\n", form) == FirstRecord(("u", "n"), 3, True, False)
    assert first(b"0,a,1\n", TextFormat(header=False, columns=("u", "n"), index_column=True)).width == 3


@pytest.mark.parametrize("form", [TextFormat(header=False, columns=("u",)), TextFormat(header="skip", columns=("u",))])
def test_columns_must_be_as_many_as_the_fields(form: TextFormat) -> None:
    with pytest.raises(TableReadError, match="names 1 columns, but the rows have 2 fields"):
        first(b"a,1\nb,2\n", form)


def test_one_bad_row_does_not_speak_for_the_table() -> None:
    assert first(b"1,2\n1,2,3\n1,2,3\n", TextFormat(header=False, columns=("a", "b", "c"))).width == 3


def test_names_are_distinct() -> None:
    with pytest.raises(TableReadError, match="came twice: 'u'"):
        first(b"u,n,u\n1,2,3\n", TextFormat())
    with pytest.raises(TableReadError, match="came twice: 'u'"):
        first(b"1,2\n", TextFormat(header=False, columns=("u", "u")))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "the file is empty"),
        (b"\nu,n\n", "the first line is blank"),
        (b"\xff\xfeu\x00", "UTF-16"),
        (b"caf\xe9,n\n", "the header holds"),
        (b'"' + b"x" * 200_000, "can't be read as delimited text"),
    ],
)
def test_what_starts_no_table(head: bytes, message: str) -> None:
    with pytest.raises(TableReadError, match=f"log.csv: .*{message}"):
        first(head, TextFormat())
