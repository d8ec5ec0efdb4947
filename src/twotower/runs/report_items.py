"""Items in groups from popular to rare, and what a reader sees of an item."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from twotower.preprocessing import CategoryFeature, MultiCategoryFeature
from twotower.recommender import Recommender
from twotower.types import Ragged

__all__ = ["ItemGroups", "ItemTexts", "by_train_rows", "in_words", "shortened"]

_NOT_IN_TRAIN = "not in train"
_MOST_DETAILS, _MOST_LETTERS = 3, 60
_MOST_CATEGORIES = 6
_OTHER = "other"


@dataclass(frozen=True, eq=False)
class ItemGroups:
    """The catalogue in groups, the most popular items first.

    Attributes:
        rule: How it was cut, in a sentence.
        names: Of the groups; the last one is ``not in train`` where there are such items.
        sizes: Items in each.
        group_of: int64 ``[N]``, the group of each item.
    """

    rule: str
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    group_of: NDArray[np.int64]


def by_train_rows(counts_N: NDArray[np.int64], parts: int) -> ItemGroups:
    """Cut the catalogue so that each part has about the same number of train rows: few popular items, or many rare ones.

    Items are sorted by their train rows (ties: lowest catalogue row first); an item belongs to the part in which its first
    train row falls. Items without train rows are a part of their own. A part can be empty where one item has more than its
    share.

    Args:
        counts_N: Train rows of each item.
        parts: 3 gives head, middle and tail; otherwise they are numbered.

    Example:
        >>> by_train_rows(np.array([1, 6, 2, 0, 3]), 3).group_of.tolist()
        [2, 0, 2, 3, 1]
    """
    order = np.argsort(-counts_N, kind="stable")
    before = np.concatenate([[0], np.cumsum(counts_N[order])[:-1]])
    total = int(counts_N.sum())
    group_of = np.empty(len(counts_N), dtype=np.int64)
    group_of[order] = np.minimum(before * parts // max(1, total), parts - 1)
    group_of[counts_N == 0] = parts
    names = ["head", "middle", "tail"] if parts == 3 else [str(part + 1) for part in range(parts)]
    if bool((counts_N == 0).any()):
        names.append(_NOT_IN_TRAIN)
    sizes = tuple(int(size) for size in np.bincount(group_of, minlength=len(names))[: len(names)])
    share = {3: "third", 10: "tenth"}.get(parts, f"1/{parts}")
    shown = ", ".join(f"{name}: {size:,}" for name, size in zip(names, sizes, strict=True))
    rule = (
        f"Items are sorted by their train rows and cut so that each part holds about a {share} of the train rows; items "
        f"without any are apart. Items in each: {shown}."
    )
    return ItemGroups(rule, tuple(names), sizes, group_of)


class ItemTexts:
    """Titles, a few columns in words, and a column of categories.

    Args:
        recommender: Its catalogue, and which columns its candidate tower reads as categories.
    """

    def __init__(self, recommender: Recommender) -> None:
        catalogue = recommender.catalogue
        columns = [name for name in catalogue.frame.columns if name != catalogue.id_column]
        text = [name for name in columns if catalogue.frame.schema[name] == pl.String]
        title = next((name for name in text if name.lower() in ("title", "name")), None)
        ids = catalogue.ids.to_list()
        own = catalogue.frame[title].to_list() if title else ids
        self.titles = [shortened(str(item if name is None else name)) for name, item in zip(own, ids, strict=True)]
        shown = [name for name in columns if name != title][:_MOST_DETAILS]
        self._details = [catalogue.frame[name].to_list() for name in shown if _is_readable(catalogue.frame.schema[name])]
        self.category_column, self.categories = _categories(recommender)

    def details(self, row: int) -> str:
        """A few columns of an item, in words."""
        parts = [in_words(values[row]) for values in self._details]
        return ", ".join(part for part in parts if part)

    def encoded_categories(self) -> Ragged | None:
        """Each item's categories, numbered in the order of their names; None without a column of them."""
        if self.category_column is None:
            return None
        names = sorted({name for of_item in self.categories for name in of_item})
        number = {name: place for place, name in enumerate(names)}
        values = [number[name] for of_item in self.categories for name in of_item]
        offsets = np.concatenate([[0], np.cumsum([len(of_item) for of_item in self.categories])])
        return Ragged(torch.tensor(values, dtype=torch.int64), torch.from_numpy(offsets.astype(np.int64)))

    def main_categories(self) -> list[str]:
        """Each item's first category; the rarer ones, and none, as ``other``."""
        first = [of_item[0] if of_item else _OTHER for of_item in self.categories]
        counted = Counter(name for name in first if name != _OTHER)
        kept = {name for name, _ in sorted(counted.items(), key=lambda entry: (-entry[1], entry[0]))[:_MOST_CATEGORIES]}
        return [name if name in kept else _OTHER for name in first]


def in_words(value: object) -> str:
    """A cell of a table as it is read; empty for none.

    Example:
        >>> in_words(["Action", "Drama"]), in_words(None), in_words(1995), in_words(2.50)
        ('Action Drama', '', '1995', '2.5')
    """
    if value is None:
        return ""
    if isinstance(value, list):
        return shortened(" ".join(str(part) for part in value))
    return f"{value:g}" if isinstance(value, float) else shortened(str(value))


def shortened(text: str) -> str:
    """At most 60 letters."""
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def _is_readable(dtype: pl.DataType) -> bool:
    return dtype.is_numeric() or dtype in (pl.String, pl.Categorical, pl.Boolean) or isinstance(dtype, pl.List | pl.Enum)


def _categories(recommender: Recommender) -> tuple[str | None, list[list[str]]]:
    """The first column that the candidate tower reads as one or several categories, else the first list of texts."""
    frame = recommender.catalogue.frame
    for feature in recommender.preprocessor.spec.candidate:
        config = feature.config
        if isinstance(config, CategoryFeature) and config.separator is not None:
            return config.output_name, [_parts(value, None) for value in config.values(frame[config.column]).to_list()]
        if isinstance(config, CategoryFeature | MultiCategoryFeature):
            separator = config.separator if isinstance(config, MultiCategoryFeature) else None
            return config.column, [_parts(value, separator) for value in frame[config.column].to_list()]
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List) and dtype.inner == pl.String]
    return (lists[0], [_parts(value, None) for value in frame[lists[0]].to_list()]) if lists else (None, [])


def _parts(value: object, separator: str | None) -> list[str]:
    if value is None:
        return []
    pieces = value if isinstance(value, list) else str(value).split(separator) if separator else [value]
    names = [str(piece).strip() for piece in pieces if piece is not None]
    return [shortened(name) for name in dict.fromkeys(names) if name]
