"""Blocks that can be parsed side by side."""

from __future__ import annotations

import io

import pytest

from twotower.data.plain_blocks import PlainBlocks


@pytest.mark.parametrize("block_bytes", [10, 13, 1000])
@pytest.mark.parametrize("quote", [None, '"'])
def test_every_byte_is_in_one_block_and_every_block_ends_a_line(block_bytes: int, quote: str | None) -> None:
    text = b"a,1\nlonger,22\n\n\nb,3\r\nc,4\n"
    blocks = PlainBlocks(io.BytesIO(text), quote, block_bytes)
    found = list(blocks)
    assert b"".join(found) == text
    assert blocks.rest == b""
    assert all(block.endswith(b"\n") for block in found)
    assert block_bytes == 1000 or len(found) > 1


@pytest.mark.parametrize("block_bytes", [4, 6, 1000])
def test_nothing_is_given_from_the_block_with_the_first_quote_on(block_bytes: int) -> None:
    text = b'a,1\nb,2\n"c\nd",3\ne,4\n'
    stream = io.BytesIO(text)
    blocks = PlainBlocks(stream, '"', block_bytes)
    found = list(blocks)
    assert b"".join(found) + blocks.rest + stream.read() == text
    assert not any(b'"' in block for block in found)
    assert bool(found) is (block_bytes <= 6)


def test_without_a_line_break_nothing_more_is_read() -> None:
    stream = io.BytesIO(b"a\n" + b"x" * 100)
    blocks = PlainBlocks(stream, '"', 10)
    assert list(blocks) == [b"a\n"]
    assert (blocks.rest, len(stream.read())) == (b"x" * 18, 82)
