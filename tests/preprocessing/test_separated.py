"""Texts that are only cut at a separator, against plain string methods."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.errors import DataError
from twotower.preprocessing import TextFeature
from twotower.preprocessing.separated import separated_words, word_rows, word_totals

TEXTS = st.lists(st.one_of(st.none(), st.text(alphabet="aBé \t:-", max_size=10)), min_size=1, max_size=8)


def words_of(text: str, most: int | None) -> list[str]:
    return [piece.strip() for piece in text.split(":") if piece.strip()][:most]


@settings(max_examples=150, deadline=None)
@given(train=TEXTS, later=TEXTS, most=st.sampled_from([None, 1, 2]), enum=st.booleans())
def test_a_text_that_is_only_separated_has_the_words_of_string_methods(
    train: list[str | None], later: list[str | None], most: int | None, enum: bool
) -> None:
    counts = Counter(word for text in train for word in words_of(text or "", most))
    config = TextFeature(column="t", separator=":", lowercase=False, strip_punctuation=False, max_tokens=most, max_vocabulary=3)
    dtype = pl.Enum(sorted({text for text in [*train, *later] if text is not None})) if enum else pl.String()
    if not counts:
        with pytest.raises(DataError, match="must have a word"):
            config.fit(pl.Series(train, dtype=dtype))
        return
    fitted = config.fit(pl.Series(train, dtype=dtype))
    tokens = sorted(counts, key=lambda word: (-counts[word], word))[:3]
    assert list(fitted.tokens) == tokens
    encoded = fitted.encode(pl.Series(later, dtype=dtype))["t"]
    rows, ends = encoded.values.tolist(), encoded.offsets.tolist()
    assert [rows[start:end] for start, end in pairwise(ends)] == [
        [tokens.index(word) + 1 if word in tokens else 0 for word in words_of(text or "", most)] for text in later
    ]


def test_both_ways_of_cutting_find_the_same() -> None:
    texts = pl.Series(["pof:12", "meetme: 12 :x", "::", "pof:7", "pof:12"])
    plain = TextFeature(column="t", separator=":", lowercase=False, strip_punctuation=False)
    general = plain.model_copy(update={"lowercase": True})
    assert plain.fit(texts).tokens == general.fit(texts).tokens == ("12", "pof", "7", "meetme", "x")
    assert plain.fit(texts, np.array([1, 1, 1, 9, 1])).tokens == general.fit(texts, np.array([1, 1, 1, 9, 1])).tokens
    left, right = (feature.fit(texts).encode(texts)["t"] for feature in (plain, general))
    assert left.values.tolist() == right.values.tolist() == [2, 1, 4, 1, 5, 2, 3, 2, 1]
    assert left.offsets.tolist() == right.offsets.tolist() == [0, 2, 5, 5, 7, 9]


def test_letters_keep_their_case_and_punctuation_stays() -> None:
    fitted = TextFeature(column="t", separator=":", lowercase=False, strip_punctuation=False).fit(pl.Series(["A-b:a-b"]))
    assert fitted.tokens == ("A-b", "a-b")


def test_words_that_are_too_rare_are_left_out() -> None:
    config = TextFeature(column="t", separator=":", lowercase=False, strip_punctuation=False, min_count=2)
    assert config.fit(pl.Series(["a:b", "a", "a:c"])).tokens == ("a",)
    with pytest.raises(DataError, match="at least 2 times; the most frequent of 2 words occurs 1 times"):
        config.fit(pl.Series(["a:b"]))


def test_pieces() -> None:
    words, lengths = separated_words(pl.Series(["x:y:z", "", " :q "]), ":", 2)
    assert (words.to_list(), lengths.tolist()) == (["x", "y", "q"], [2, 0, 1])
    words, weights = pl.Series(["y", "x", "z"]), np.array([2, 2, 5])
    assert word_totals(words, weights, 3) == ([("z", 5), ("x", 2), ("y", 2)], 3)
    assert word_totals(words, weights, 2) == ([("z", 5), ("x", 2)], 3)
    assert word_totals(words[:0], weights[:0], 1) == ([], 0)
    assert word_rows(pl.Series(["z", "x"]), ("x",)).tolist() == [0, 1]
    assert word_rows(pl.Series([], dtype=pl.String), ("x",)).tolist() == []
