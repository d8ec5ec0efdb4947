"""Text as codes of a sorted dictionary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from twotower.columnar.stored_column import map_column
from twotower.columnar.text_writer import TextWriter, narrowest
from twotower.errors import TableReadError


def test_one_dictionary_over_all_batches(tmp_path: Path) -> None:
    writer = TextWriter("t", tmp_path, "0000")
    for part in (["b", "a"], ["a", None, "é", "B"], []):
        writer.append(pl.Series(part, dtype=pl.String))
    writer.append_missing(2)
    entry = writer.finish(None, noun="log")
    assert np.fromfile(tmp_path / "0000.values", np.uint8).tolist()[:3] == [2, 1, 1]
    assert (entry.categories, entry.nulls, entry.filled, entry.dtype) == (4, 3, None, "UInt8")
    column = map_column(tmp_path, entry, 8)
    assert column.dtype == pl.Enum(["B", "a", "b", "é"])
    assert column.cast(pl.String).to_list() == ["b", "a", "a", None, "é", "B", None, None]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000.categories", "0000.valid", "0000.values"]


@pytest.mark.parametrize(("fill", "categories"), [("a", ["a", "b"]), ("aa", ["a", "aa", "b"])])
def test_missing_text_is_filled(tmp_path: Path, fill: str, categories: list[str]) -> None:
    writer = TextWriter("t", tmp_path, "0000")
    writer.append(pl.Series(["b", None, "a"]))
    entry = writer.finish(fill, noun="log")
    column = map_column(tmp_path, entry, 3)
    assert column.dtype == pl.Enum(categories)
    assert column.cast(pl.String).to_list() == ["b", fill, "a"]
    assert (entry.nulls, entry.filled) == (0, 1)


def test_a_fill_that_is_not_needed_is_no_category(tmp_path: Path) -> None:
    writer = TextWriter("t", tmp_path, "0000")
    writer.append(pl.Series(["b"]))
    entry = writer.finish("a", noun="log")
    assert (entry.categories, entry.filled) == (1, 0)


def test_two_columns_have_dictionaries_of_their_own(tmp_path: Path) -> None:
    first, second = TextWriter("t", tmp_path, "0000"), TextWriter("t", tmp_path, "0001")
    first.append(pl.Series(["a"]))
    second.append(pl.Series(["b"]))
    assert (first.finish(None, noun="log").categories, second.finish(None, noun="log").categories) == (1, 1)


def test_a_fill_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(TableReadError, match="`fill` has 3 for it"):
        TextWriter("t", tmp_path, "0000").finish(3, noun="log")


@pytest.mark.parametrize("count", [1, 255, 256, 65_535, 65_536])
def test_codes_are_as_wide_as_polars_has_them(count: int) -> None:
    enum = pl.Enum([str(n) for n in range(count)])
    assert narrowest(count) == pl.Series([], dtype=enum).to_physical().dtype
