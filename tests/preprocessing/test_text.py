"""Texts, against a tokeniser of plain string methods."""

from __future__ import annotations

import string
from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.errors import DataError
from twotower.preprocessing import FittedText, TextFeature
from twotower.spec import RowsColumn


def lists(fitted: FittedText, texts: list[str | None]) -> list[list[int]]:
    ragged = fitted.encode(pl.Series(texts, dtype=pl.String))["t"]
    ends, values = ragged.offsets.tolist(), ragged.values.tolist()
    return [values[start:end] for start, end in pairwise(ends)]


def words_of(text: str, separator: str | None = None) -> list[str]:
    """Lower case, no ASCII punctuation, in pieces."""
    pieces = text.split() if separator is None else [piece.strip() for piece in text.split(separator)]
    cleaned = ["".join(letter for letter in piece if letter not in string.punctuation).lower() for piece in pieces]
    return [piece for piece in cleaned if piece]


TEXTS = st.lists(st.one_of(st.none(), st.text(alphabet="aB1é \t-'|[]\\^!", max_size=12)), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(train=TEXTS, later=TEXTS, separator=st.sampled_from([None, "|", "B"]))
def test_words_and_rows_are_those_of_string_methods(
    train: list[str | None], later: list[str | None], separator: str | None
) -> None:
    counts = Counter(word for text in train for word in words_of(text or "", separator))
    config = TextFeature(column="t", separator=separator)
    if not counts:
        with pytest.raises(DataError, match="must have a word"):
            config.fit(pl.Series(train, dtype=pl.String))
        return
    fitted = config.fit(pl.Series(train, dtype=pl.String))
    tokens = sorted(counts, key=lambda word: (-counts[word], word))
    assert list(fitted.tokens) == tokens
    expected = [[tokens.index(word) + 1 if word in tokens else 0 for word in words_of(text or "", separator)] for text in later]
    assert lists(fitted, later) == expected


def test_known_words() -> None:
    fitted = TextFeature(column="t").fit(pl.Series(["Toy Story (1995)", "Toy Story 2", "Schindler's List"]))
    assert fitted.tokens == ("story", "toy", "1995", "2", "list", "schindlers")
    assert lists(fitted, ["2 TOYS, toy!", "", None, "  ", "Schindler\u2019s"]) == [[4, 0, 2], [], [], [], [0]]
    assert fitted.columns == (RowsColumn(name="t", vocabulary_size=7, ragged=True),)


def test_exactly_the_punctuation_of_keras_is_removed() -> None:
    removed = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
    fitted = TextFeature(column="t").fit(pl.Series([f"a{removed}b", "c\u2019d\u2013e"]))
    assert fitted.tokens == ("ab", "c\u2019d\u2013e")
    kept = TextFeature(column="t", strip_punctuation=False).fit(pl.Series([f"a{removed}b"]))
    assert kept.tokens == (f"a{removed}b",)


def test_lowercase() -> None:
    column = pl.Series(["Ça ÇA"])
    assert TextFeature(column="t").fit(column).tokens == ("ça",)
    assert TextFeature(column="t", lowercase=False).fit(column).tokens == ("ÇA", "Ça")


def test_a_separator_is_found_before_anything_is_removed() -> None:
    fitted = TextFeature(column="t", separator="|").fit(pl.Series(["Film Noir|Sci-Fi", "Sci-Fi || Drama "]))
    assert fitted.tokens == ("scifi", "drama", "film noir")
    assert lists(fitted, ["Drama|Film Noir", "Film|", "-|Drama"]) == [[2, 3], [0], [2]]


def test_max_vocabulary_keeps_the_most_frequent() -> None:
    fitted = TextFeature(column="t", max_vocabulary=2).fit(pl.Series(["c c c b a", "a"]))
    assert fitted.tokens == ("c", "a")
    assert lists(fitted, ["a b c"]) == [[2, 0, 1]]
    assert fitted.columns[0].vocabulary_size == 3


def test_max_tokens_reads_the_first_words() -> None:
    fitted = TextFeature(column="t", max_tokens=2).fit(pl.Series(["a b c", "d"]))
    assert fitted.tokens == ("a", "b", "d")
    assert lists(fitted, ["d d d", "x a b"]) == [[3, 3], [0, 1]]


def test_min_count_counts_interactions() -> None:
    column = pl.Series(["a b", "b", "c"])
    assert TextFeature(column="t", min_count=2).fit(column).tokens == ("b",)
    assert TextFeature(column="t", min_count=2).fit(column, np.array([2, 0, 1])).tokens == ("a", "b")
    assert TextFeature(column="t").fit(column, np.array([1, 0, 3])).tokens == ("c", "a", "b")


def test_the_name_of_row_zero_is_no_word() -> None:
    plain = TextFeature(column="t", lowercase=False, strip_punctuation=False).fit(pl.Series(["[UNK] <unk> a"]))
    assert lists(plain, ["[UNK] <unk> a z"]) == [[2, 1, 3, 0]]


def test_the_tokenizer_is_built_once() -> None:
    fitted = TextFeature(column="t").fit(pl.Series(["a"]))
    assert fitted.tokenizer is fitted.tokenizer
    assert fitted.tokenizer.encode("a zebra").ids == [1, 0]


def test_other_types_and_no_words_are_refused() -> None:
    with pytest.raises(DataError, match=r"'t' must hold text; it holds Int64 \(1\)"):
        TextFeature(column="t").fit(pl.Series([1]))
    with pytest.raises(
        DataError, match="'t' must have a word that occurs at least 2 times; the most frequent of 1 words occurs 1 times"
    ):
        TextFeature(column="t", min_count=2).fit(pl.Series(["a"]))
    with pytest.raises(DataError, match="'t' must have a word"):
        TextFeature(column="t").fit(pl.Series(["", "!"]))
