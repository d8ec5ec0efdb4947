"""Coded columns of text against sets and sorting, with the kernel and without it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data.coded_texts import CodedTexts, code_texts
from twotower.native import native_library


@pytest.fixture(params=["1", "0"], autouse=True)
def native(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TWOTOWER_NATIVE", request.param)
        native_library("texts")  # compiling it is no part of an example
        yield


def check(values: list[str | None], column: pl.Series) -> None:
    coded = CodedTexts.of(column)
    known = sorted({value for value in values if value is not None}, key=str.encode)
    assert (coded.names.to_list(), coded.names.name) == (known, column.name)
    assert coded.names.dtype == pl.String
    assert coded.codes.dtype == np.uint32
    assert [([*known, None])[code] for code in coded.codes.tolist()] == values
    assert coded.has_nulls == (None in values)


# short alphabets make texts that are prefixes of others; eight bytes are looked at together
words = st.one_of(
    st.text(st.sampled_from("ab\x00"), max_size=4),
    st.text(st.sampled_from("a\u00e9\U0001f600"), max_size=20),
    st.builds(str.__add__, st.sampled_from(["", "x" * 7, "x" * 8, "x" * 9, "y" * 200]), st.text(max_size=12)),
)


@given(st.lists(st.none() | words, max_size=150))
def test_codes_are_places_among_the_sorted_texts(values: list[str | None]) -> None:
    check(values, pl.Series("id", values, dtype=pl.String))


@pytest.mark.parametrize("distinct", [0, 1, 31, 32, 33, 63, 64, 65, 5_000])
@pytest.mark.parametrize("prefix", ["", "network:", "z" * 150])
def test_many_texts_in_several_chunks(distinct: int, prefix: str) -> None:
    numbers = np.random.default_rng(distinct).permutation(distinct)
    values = [None, *(f"{prefix}{n}" for n in numbers), *(f"{prefix}{n}" for n in range(0, distinct, 3))]
    check(values, pl.concat([pl.Series("id", part, dtype=pl.String) for part in (values[:1], values[1:])], rechunk=False))
    check(values[2:], pl.Series("id", values, dtype=pl.String).slice(2))


def test_texts_of_nearly_the_same_hash_are_told_apart() -> None:
    for pair in (["u19231", "u496047"], ["u30013", "u485922"], ["u135007", "u801151"]):  # their hashes share 34 bits
        check([*pair], pl.Series("id", pair))


def test_texts_that_differ_in_what_stands_for_nothing() -> None:
    values: list[str | None] = ["a" + "\x00" * n for n in np.random.default_rng(0).permutation(100)]
    check(values, pl.Series("id", values))


def test_texts_that_are_not_there_stay_out_and_names_that_do_not_occur_too() -> None:
    coded = CodedTexts(pl.Series("id", ["a", "b", "c"]), np.array([2, 3, 0], dtype=np.uint32))
    assert coded.occurring().to_list() == ["a", "c"]
    assert coded.has_nulls


def test_only_text_is_coded() -> None:
    frame = pl.DataFrame({"user": ["b", None, "a"], "item": [4, 4, 5], "note": ["x", "y", "x"]})
    assert list(code_texts(frame, ["note", "user", "item", "nobody"])) == ["note", "user"]
    assert code_texts(frame, []) == {}
