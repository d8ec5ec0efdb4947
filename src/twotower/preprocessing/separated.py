"""Texts that are cut at a separator and else left as they are, all at once: ids such as ``pof:1234567`` come in millions."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

__all__ = ["separated_words", "word_rows", "word_totals"]


def separated_words(texts: pl.Series, separator: str, max_words: int | None) -> tuple[pl.Series, NDArray[np.int64]]:
    """The words of all texts end to end, without the blanks around them, and how many each text has.

    Args:
        texts: String, ``[n]``, no nulls.
        separator: What stands between words; between two of them there may be nothing, which is no word.
        max_words: Only the first so many of each text; None: all.

    Returns:
        String ``[total]`` and int64 ``[n]``.

    Example:
        >>> words, lengths = separated_words(pl.Series(["pof:12", "a: b ::c", ""]), ":", None)
        >>> words.to_list(), lengths.tolist()
        (['pof', '12', 'a', 'b', 'c'], [2, 3, 0])
    """
    frame = pl.DataFrame({"text": pl.int_range(len(texts), eager=True), "word": texts.str.split(separator)}).explode("word")
    frame = frame.with_columns(pl.col("word").str.strip_chars()).filter(pl.col("word") != "")
    if max_words is not None:
        frame = frame.filter(pl.int_range(pl.len()).over("text") < max_words)
    return frame["word"], np.bincount(frame["text"].to_numpy(), minlength=len(texts)).astype(np.int64)


def word_totals(words: pl.Series, weights: NDArray[np.int64], most: int) -> tuple[list[tuple[str, int]], int]:
    """The words with the greatest sums of weights, the greatest first, equal ones in alphabetical order.

    Args:
        words: String, ``[total]``.
        weights: int64 ``[total]``.
        most: How many to return, at least 1.

    Returns:
        At most so many words with their sums, and how many distinct words there are.

    Example:
        >>> word_totals(pl.Series(["b", "a", "c", "b"]), np.array([1, 1, 5, 2]), 2)
        ([('c', 5), ('b', 3)], 3)
    """
    totals = pl.DataFrame({"word": words, "weight": weights}).group_by("word").agg(pl.col("weight").sum())
    number = totals.height
    if number > most:  # of millions few are wanted, and only those are sorted
        totals = totals.filter(pl.col("weight") >= totals["weight"].top_k(most).min())
    ordered = totals.sort(["weight", "word"], descending=[True, False]).head(most)
    return list(zip(ordered["word"].to_list(), ordered["weight"].to_list(), strict=True)), number


def word_rows(words: pl.Series, tokens: tuple[str, ...]) -> NDArray[np.int32]:
    """The row of each word: its place among the tokens plus 1, and 0 where it is none of them.

    Example:
        >>> word_rows(pl.Series(["b", "x", "a"]), ("a", "b")).tolist()
        [2, 0, 1]
    """
    rows = pl.int_range(1, len(tokens) + 1, dtype=pl.Int32, eager=True)
    found = words.replace_strict(pl.Series(tokens, dtype=pl.String), rows, default=0, return_dtype=pl.Int32)
    return found.to_numpy(writable=True)
