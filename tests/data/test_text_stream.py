"""The stream that the parser reads."""

from __future__ import annotations

import gzip
import io

import pytest

from twotower.data.text_stream import CountedBytes, MarkedStream, unzipped


def drained(stream: MarkedStream, size: int) -> bytes:
    parts = []
    while part := stream.read(size):
        assert len(part) <= size or part.endswith(b"END\n")
        parts.append(part)
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


def test_bytes_are_counted_as_they_lie_on_the_disk() -> None:
    content = gzip.compress(b"a,b\n" * 1000)
    counted = CountedBytes(io.BytesIO(content))
    assert unzipped(counted).read() == b"a,b\n" * 1000
    assert counted.count == len(content)
    plain = CountedBytes(io.BytesIO(b"a,b\n"))
    assert unzipped(plain).read() == b"a,b\n"
    assert plain.count == 4
