"""Lines and fields by place, against splitting them, with the kernel and without it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from twotower.data.plain_lines import PlainLines, Seen
from twotower.native import native_library


@pytest.fixture(params=["1", "0"], autouse=True)
def native(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TWOTOWER_NATIVE", request.param)
        native_library("lines")  # compiling it is no part of an example
        yield


def as_bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def seen_slowly(text: str, separators: int) -> Seen | None:
    if not text.isascii() or "\r" in text or '"' in text:
        return None
    lines = text.split("\n")
    counts = [line.count(",") for line in lines]
    if any(count != separators for count in counts[1:-1]):
        return None
    before, behind = (counts[0], counts[-1]) if len(lines) > 1 else (counts[0], 0)
    return Seen(len(lines) - 1, before, behind, len(text) - len(lines[-1]) if len(lines) > 1 else 0)


@given(st.text(st.sampled_from("ab,,,\n\n"), max_size=200), st.integers(0, 4))
def test_a_scan_is_what_splitting_says(text: str, separators: int) -> None:
    assert PlainLines(",", separators, '"').scan(as_bytes(text)) == seen_slowly(text, separators)


@pytest.mark.parametrize("size", [0, 1, 15, 63, 64, 65, 128, 1000])
@pytest.mark.parametrize("sign", ["\r", '"', "\u00e9", "\x7f", "\x80", "'"])
def test_what_is_not_plain_is_seen_wherever_it_stands(size: int, sign: str) -> None:
    lines = PlainLines(",", 1, '"')
    for at in sorted({0, size // 2, size}):
        text = "x" * at + sign + "y" * (size - at)
        assert (lines.scan(as_bytes(text)) is None) == (sign not in ("\x7f", "'")), at
    assert PlainLines(",", 1, None).scan(as_bytes('"')) == Seen(0, 0, 0, 0)


rows_of_fields = st.integers(2, 5).flatmap(
    lambda width: st.lists(
        st.lists(st.text(st.sampled_from("abc"), max_size=70), min_size=width, max_size=width), min_size=1, max_size=40
    )
)


@given(rows_of_fields, st.data())
def test_fields_are_those_of_splitting(rows: list[list[str]], data: st.DataObject) -> None:
    width = len(rows[0])
    text = as_bytes("".join("|".join(row) + "\n" for row in rows))
    lines = PlainLines("|", width - 1, '"')
    assert lines.scan(text) == Seen(len(rows), width - 1, 0, len(text))
    chosen = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1))))
    wanted = sorted(data.draw(st.sets(st.integers(0, width - 1), min_size=1)))
    found = lines.fields(text, np.array(chosen, dtype=np.int64), wanted)
    assert found is not None
    for field, each in zip(wanted, found, strict=True):
        assert each.text.tobytes().decode() == "".join(rows[row][field] for row in chosen)
        assert each.lengths.tolist() == [len(rows[row][field]) for row in chosen]
        assert each.text.dtype == np.uint8
        assert each.lengths.dtype == np.int32


def test_lines_that_are_not_there_any_more() -> None:
    lines = PlainLines(",", 1, '"')
    assert lines.fields(as_bytes("a,b\nc,d\n"), np.array([2]), [0]) is None
    assert lines.fields(as_bytes("a,b\nc\n"), np.array([1]), [1]) is None
    assert lines.fields(as_bytes("a,b\nc,"), np.array([1]), [1]) is None
    assert lines.fields(as_bytes("a,b\nc\nd,e\n"), np.array([1]), [1]) is None
    assert lines.fields(as_bytes(""), np.array([0]), [0]) is None


def test_no_lines_have_no_fields() -> None:
    found = PlainLines(",", 1, '"').fields(as_bytes("a,b\n"), np.array([], dtype=np.int64), [0])
    assert found is not None
    assert [(len(each.text), len(each.lengths)) for each in found] == [(0, 0)]
