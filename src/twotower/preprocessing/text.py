"""Short texts (titles, queries) as the rows of their words."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel

from twotower.config import Config
from twotower.errors import DataError
from twotower.preprocessing.categories import encode_by_category, fit_by_category
from twotower.preprocessing.counts import row_counts
from twotower.preprocessing.feature import ColumnFeature
from twotower.preprocessing.lists import to_ragged
from twotower.preprocessing.lookup import distinct
from twotower.preprocessing.separated import separated_words, word_rows, word_totals
from twotower.spec import RowsColumn
from twotower.types import Ragged

__all__ = ["FittedText", "TextFeature"]

_PUNCTUATION = r"""[!"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']"""
_JOINT = "\x1f"  # the control character "unit separator": it is in no text, and no other rule touches it
_UNKNOWN = ""  # no text has an empty word, so that the name of row 0 is never taken for one


class TextFeature(ColumnFeature):
    """A text as the words that it consists of, each looked up, to be pooled by the tower.

    Attributes:
        lowercase: Turn every letter, of every script, into its small one.
        strip_punctuation: Remove (not replace by a blank) the characters ``!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'``, as
            Keras' ``TextVectorization`` does: ``Sci-Fi`` becomes ``scifi``.
        separator: What stands between the words; it is found before punctuation is removed, and blanks around a word are cut
            off. None: words are separated by blanks.
        max_vocabulary: At most this many words, the most frequent ones; row 0 comes in addition. (``max_tokens`` of Keras'
            layer counts its two special rows too.)
        max_tokens: Only the first so many words of a text are read.
        min_count: Words of fewer occurrences share row 0 with the unknown ones.
    """

    kind: Literal["text"] = "text"
    lowercase: bool = True
    strip_punctuation: bool = True
    separator: str | None = Field(default=None, min_length=1)
    max_vocabulary: int = Field(default=10_000, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    min_count: int = Field(default=1, ge=1)

    def fit(self, column: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedText:
        """Count the words of the train rows.

        Args:
            column: Text, ``[n]``; nulls are left out.
            counts: How many interactions each row stands for, ``[n]``; None: one each.

        Raises:
            DataError: If the column holds no text, or no word is left.
        """
        if isinstance(column.dtype, pl.Enum):
            return fit_by_category(self.fit, column, counts)
        texts, positions = distinct(_texts(column, self.column))
        weights = np.bincount(positions, weights=row_counts(counts, len(column)), minlength=len(texts) + 1)[1:].astype(np.int64)
        if self.only_separated:
            words, lengths = separated_words(texts, self.separator or "", self.max_tokens)
            totals, distinct_words = word_totals(words, np.repeat(weights, lengths), self.max_vocabulary)
        else:
            totals = self._totals(texts, weights)
            distinct_words = len(totals)
        kept = [word for word, count in totals[: self.max_vocabulary] if count >= self.min_count]
        if not kept:
            most = totals[0][1] if totals else 0
            raise DataError(
                f"column {self.column!r} must have a word that occurs at least {self.min_count} times; "
                f"the most frequent of {distinct_words:,} words occurs {most} times"
            )
        return FittedText(config=self, tokens=tuple(kept))

    @property
    def only_separated(self) -> bool:
        """Whether texts are cut at the separator and nothing else is done to them."""
        return self.separator is not None and not self.lowercase and not self.strip_punctuation

    def _totals(self, texts: pl.Series, weights: NDArray[np.int64]) -> list[tuple[str, int]]:
        normalizer, splitter = _normalizer(self), _splitter(self)
        totals: Counter[str] = Counter()
        for text, weight in zip(texts.to_list(), weights.tolist(), strict=True):
            words = [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
            for word in words[: self.max_tokens]:
                totals[word] += weight
        return sorted(totals.items(), key=lambda found: (-found[1], found[0]))


class FittedText(Config):
    """A text feature and its words, the most frequent first, words of one frequency in alphabetical order.

    Attributes:
        tokens: Words; the first has row 1.

    Example:
        >>> fitted = TextFeature(column="title").fit(pl.Series(["Toy Story", "Toy Story 2", "Heat"]))
        >>> fitted.tokens
        ('story', 'toy', '2', 'heat')
        >>> fitted.encode(pl.Series(["The Toy!"]))["title"].values.tolist()
        [0, 2]
    """

    kind: Literal["text"] = "text"
    config: TextFeature
    tokens: tuple[str, ...] = Field(min_length=1)

    @property
    def columns(self) -> tuple[RowsColumn, ...]:
        """One ragged column of rows."""
        return (RowsColumn(name=self.config.output_name, vocabulary_size=len(self.tokens) + 1, ragged=True),)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the Hugging Face library that these words make; word ``i`` of ``tokens`` has id ``i + 1``."""
        vocabulary = {_UNKNOWN: 0} | {word: row for row, word in enumerate(self.tokens, start=1)}
        tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=_UNKNOWN))
        tokenizer.normalizer = _normalizer(self.config)
        tokenizer.pre_tokenizer = _splitter(self.config)
        return tokenizer

    def encode(self, column: pl.Series) -> dict[str, Ragged]:
        """Rows of the words, ragged; an unknown word has row 0; an empty text, and null, is an empty row.

        Raises:
            DataError: If the column holds no text.
        """
        if isinstance(column.dtype, pl.Enum):
            return encode_by_category(self.encode, column)
        texts, positions = distinct(_texts(column, self.config.column))
        if self.config.only_separated:
            words, counts = separated_words(texts, self.config.separator or "", self.config.max_tokens)
            separated = to_ragged(word_rows(words, self.tokens), np.concatenate([[0], counts]))
            return {self.config.output_name: separated.take(torch.from_numpy(positions))}
        # one by one: encode_batch starts threads, and older releases warn when the process forks after that
        found = [self.tokenizer.encode(text, add_special_tokens=False).ids[: self.config.max_tokens] for text in texts]
        lengths = np.array([0] + [len(rows) for rows in found], dtype=np.int64)
        rows = np.fromiter((row for rows in found for row in rows), dtype=np.int32, count=int(lengths.sum()))
        return {self.config.output_name: to_ragged(rows, lengths).take(torch.from_numpy(positions))}


def _texts(column: pl.Series, name: str) -> pl.Series:
    if not isinstance(column.dtype, pl.String | pl.Categorical | pl.Null):
        shown = ", ".join(repr(value) for value in column.drop_nulls().head(3))
        raise DataError(f"column {name!r} must hold text; it holds {column.dtype} ({shown}); cast it, or declare another kind")
    return column.cast(pl.String)


def _normalizer(config: TextFeature) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if config.separator is not None:
        steps += [
            normalizers.Replace(config.separator, _JOINT),
            normalizers.Replace(Regex(rf"\s*{_JOINT}\s*"), _JOINT),
            normalizers.Strip(),
        ]
    if config.lowercase:
        steps.append(normalizers.Lowercase())
    if config.strip_punctuation:
        steps.append(normalizers.Replace(Regex(_PUNCTUATION), ""))
    return normalizers.Sequence(steps)


def _splitter(config: TextFeature) -> pre_tokenizers.PreTokenizer:
    if config.separator is None:
        return pre_tokenizers.WhitespaceSplit()
    return pre_tokenizers.Split(_JOINT, "removed")
