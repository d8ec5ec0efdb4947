"""Numbers and booleans as they lie in their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from twotower.columnar.number_writer import BooleanWriter, NumberWriter
from twotower.columnar.stored_column import map_column
from twotower.errors import TableReadError


def test_values_lie_one_behind_the_other_and_nulls_are_marked(tmp_path: Path) -> None:
    writer = NumberWriter("n", pl.Int64(), tmp_path, "0000")
    writer.append(pl.Series([1, 2]))
    writer.append_missing(3)
    writer.append(pl.Series([None, 9], dtype=pl.Int64))
    entry = writer.finish(None, noun="log")
    assert np.fromfile(tmp_path / "0000.values", np.int64).tolist() == [1, 2, 0, 0, 0, 0, 9]
    assert (tmp_path / "0000.valid").read_bytes() == bytes([0b1000011])
    assert (entry.kind, entry.dtype, entry.nulls, entry.filled) == ("number", "Int64", 4, None)
    assert entry.files == {"0000.values": 56, "0000.valid": 1}
    assert map_column(tmp_path, entry, 7).to_list() == [1, 2, None, None, None, None, 9]


def test_nothing_missing_needs_no_bits(tmp_path: Path) -> None:
    writer = NumberWriter("n", pl.Float32(), tmp_path, "0000")
    writer.append(pl.Series([1.5], dtype=pl.Float32))
    assert writer.finish(None, noun="log").files == {"0000.values": 4}


def test_integers_are_widened_where_they_lie(tmp_path: Path) -> None:
    writer = NumberWriter("n", pl.Int64(), tmp_path, "0000")
    writer.append(pl.Series([1, None, 2**53 + 2], dtype=pl.Int64))
    writer.widen()
    writer.append(pl.Series([0.5]))
    entry = writer.finish(None, noun="log")
    assert map_column(tmp_path, entry, 4).to_list() == [1.0, None, float(2**53 + 2), 0.5]


@pytest.mark.parametrize("count", [5, 1_048_576 + 5])
def test_nulls_and_nan_are_filled_in_place(tmp_path: Path, count: int) -> None:
    values = [1.0, None, float("nan"), *[None] * (count - 3)]
    writer = NumberWriter("n", pl.Float64(), tmp_path, "0000")
    writer.append(pl.Series(values, dtype=pl.Float64))
    entry = writer.finish(30, noun="log")
    assert (entry.nulls, entry.filled, list(entry.files)) == (0, count - 1, ["0000.values"])
    assert map_column(tmp_path, entry, count).to_list() == [1.0, *[30.0] * (count - 1)]


def test_a_fill_of_another_type(tmp_path: Path) -> None:
    writer = NumberWriter("n", pl.Int64(), tmp_path, "0000")
    with pytest.raises(TableReadError, match=r"log: column 'n' is Int64, and `fill` has 'x'"):
        writer.finish("x", noun="log")


def test_what_was_discarded_is_gone(tmp_path: Path) -> None:
    writer = NumberWriter("n", pl.Int64(), tmp_path, "0000")
    writer.append(pl.Series([None, 1], dtype=pl.Int64))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fill", [None, True, False])
def test_booleans(tmp_path: Path, fill: bool | None) -> None:
    writer = BooleanWriter("b", tmp_path, "0000")
    for part in ([True, False], [None, True, None, False, True, True, None]):
        writer.append(pl.Series(part, dtype=pl.Boolean))
    entry = writer.finish(fill, noun="log")
    expected = [True, False, fill, True, fill, False, True, True, fill]
    assert map_column(tmp_path, entry, 9).to_list() == expected
    assert (entry.nulls, entry.filled) == ((3, None) if fill is None else (0, 3))
