"""Which writer a column gets, and columns that show late what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.columnar.column_writers import InferredWriter, column_writer, dictionary_of
from twotower.columnar.stored_column import map_column
from twotower.data.column_types import infer_types
from twotower.errors import TableReadError

BATCHES: list[list[list[str | None]]] = [
    [["1", "2"], ["3"]],
    [["1", None], ["2.5"], ["3"]],
    [[None, None], ["7", "8.5"]],
    [["x"], ["1"]],
    [[None], ["x", "1"], [None]],
    [[None], [None]],
]


@pytest.mark.parametrize("parts", BATCHES)
def test_what_is_inferred_batch_by_batch_is_what_is_inferred_at_once(tmp_path: Path, parts: list[list[str | None]]) -> None:
    writer = InferredWriter("x", tmp_path, "0000")
    for part in parts:
        writer.append(pl.Series("x", part, dtype=pl.String))
    assert not writer.turned
    values = [value for part in parts for value in part]
    column = map_column(tmp_path, writer.finish(None, noun="log"), len(values))
    expected = infer_types(pl.DataFrame({"x": pl.Series(values, dtype=pl.String)}), declared={})["x"]
    shown = column.cast(pl.String) if isinstance(column.dtype, pl.Enum) else column
    assert shown.dtype == expected.dtype
    assert shown.to_list() == expected.to_list()


@pytest.mark.parametrize("late", ["x", "007", "99999999999999999999"])
def test_numbers_that_turn_out_to_be_text(tmp_path: Path, late: str) -> None:
    writer = InferredWriter("x", tmp_path, "0000")
    for part in (["1", None], [late], ["3"]):
        writer.append(pl.Series("x", part, dtype=pl.String))
    assert writer.turned
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (pl.String(), "text"),
        (pl.Boolean(), "boolean"),
        (pl.Null(), "null"),
        (pl.UInt8(), "number"),
        (pl.Float32(), "number"),
        (pl.Date(), "number"),
        (pl.Time(), "number"),
        (pl.Datetime("ns", "Asia/Tokyo"), "number"),
        (pl.Duration("ms"), "number"),
        (pl.List(pl.Int64()), "arrow"),
        (pl.Struct({"a": pl.Int64()}), "arrow"),
        (pl.Decimal(10, 2), "arrow"),
        (pl.Binary(), "arrow"),
    ],
)
def test_every_type_comes_back(tmp_path: Path, dtype: Any, kind: str) -> None:
    values: dict[str, Any] = {
        "List": [[1], None],
        "Struct": [{"a": 1}, None],
        "Binary": [b"a", None],
        "Boolean": [True, None],
        "String": ["a", None],
    }
    plain = [None, None] if dtype == pl.Null else [1, None]
    column = pl.Series("x", values.get(type(dtype).__name__, plain), dtype=None if kind == "text" else dtype)
    writer = column_writer("x", dtype, tmp_path, "0000")
    writer.append(column)
    writer.append(column)
    entry = writer.finish(None, noun="log")
    assert entry.kind == kind
    found = map_column(tmp_path, entry, 4)
    assert found.dtype == (pl.Enum(["a"]) if kind == "text" else dtype)
    assert found.to_list() == column.to_list() * 2
    assert entry.nulls == found.null_count() == (4 if kind == "null" else 2)


def test_lists_cannot_be_filled(tmp_path: Path) -> None:
    writer = column_writer("x", pl.List(pl.String()), tmp_path, "0000")
    writer.append(pl.Series("x", [["a"]]))
    with pytest.raises(TableReadError, match="`fill` has 'a' for it"):
        writer.finish("a", noun="log")


def test_a_column_of_nothing_takes_the_type_of_its_fill(tmp_path: Path) -> None:
    writer = column_writer("x", pl.Null(), tmp_path, "0000")
    writer.append(pl.Series("x", [None, None]))
    entry = writer.finish(7, noun="log")
    assert map_column(tmp_path, entry, 2).to_list() == [7, 7]
    assert entry.filled == 2


def test_only_writers_of_text_have_a_dictionary(tmp_path: Path) -> None:
    text, number, unknown = (
        column_writer("a", pl.String(), tmp_path, "0"),
        column_writer("b", pl.Int64(), tmp_path, "1"),
        InferredWriter("c", tmp_path, "2"),
    )
    assert isinstance(dictionary_of(text), pl.Categorical)
    assert dictionary_of(number) is None
    assert dictionary_of(unknown) is None
    unknown.append(pl.Series("c", ["x"]))
    assert isinstance(dictionary_of(unknown), pl.Categorical)
    for writer in (text, number, unknown):
        writer.close()
