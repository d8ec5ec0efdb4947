"""The stream that the parser reads."""

from __future__ import annotations

import gzip
import io

import pytest

from twotower.data.text_stream import CountedBytes, MarkedStream, as_broken_bytes, as_replaced_bytes, unzipped


def drained(stream: MarkedStream, size: int) -> bytes:
    parts = []
    while part := stream.read(size):
        parts.append(part)
    assert {len(part) for part in parts[:-1]} <= {size}
    assert len(parts[-1]) <= size
    return b"".join(parts)


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1,2\n", b"a,b\n1,2\nEND\n"),
        (b"a,b\n1,2", b"a,b\n1,2\nEND\n"),
        (b"a,b\r", b"a,b\rEND\n"),
    ],
)
@pytest.mark.parametrize("head", [0, 2, 8])
def test_the_last_record_stands_on_a_line_of_its_own(content: bytes, expected: bytes, head: int, size: int) -> None:
    rest = io.BytesIO(content[head:])
    assert drained(MarkedStream(content[:head], rest, b"END\n"), size) == expected


BROKEN = b"a\xff,caf\xe9\n\xe6\x97\xa5,\xf0\x9f\n\xed\xa0\x80,\xe6"


@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize("head", [0, 1, 9, 12, len(BROKEN)])
def test_bytes_that_are_not_utf_8_become_marks_wherever_they_are_cut(head: int, size: int) -> None:
    stream = MarkedStream(BROKEN[:head], io.BytesIO(BROKEN[head:]), b"END\n")
    mark = "\U0010fffe"
    expected = f"a{mark}ff,caf{mark}e9\n日,{mark}f0{mark}9f\n{mark}ed{mark}a0{mark}80,{mark}e6\nEND\n"
    assert drained(stream, size).decode() == expected
    assert stream.broken


def test_text_beyond_ascii_is_not_broken() -> None:
    content = "é日\U0001f600\n".encode() * 3
    stream = MarkedStream(content[:4], io.BytesIO(content[4:]), b"END\n")
    assert drained(stream, 3) == content + b"END\n"
    assert not stream.broken


def test_what_broken_values_look_like() -> None:
    value = "caf\U0010fffee9 é"
    assert as_broken_bytes(value) == r"b'caf\xe9 \xc3\xa9'"
    assert as_replaced_bytes(value) == "caf\ufffd é"


def test_bytes_are_counted_as_they_lie_on_the_disk() -> None:
    content = gzip.compress(b"a,b\n" * 1000)
    counted = CountedBytes(io.BytesIO(content))
    assert unzipped(counted).read() == b"a,b\n" * 1000
    assert counted.count == len(content)
    plain = CountedBytes(io.BytesIO(b"a,b\n"))
    assert unzipped(plain).read() == b"a,b\n"
    assert plain.count == 4
