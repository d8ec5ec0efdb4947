"""Tables with one row per id."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twotower.data import IdTable
from twotower.data.coded_texts import CodedTexts
from twotower.errors import DataError


def films() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "film": ["b", "a", "b", "a", "c"],
            "year": [1, 2, 1, 3, 4],
            "genres": [["x", "y"], ["x"], ["x", "y"], ["x"], None],
        }
    )


def test_equal_rows_are_dropped_and_counted() -> None:
    table = IdTable.from_table(films()[[0, 1, 2]], "film")
    assert table.frame.rows() == [("b", 1, ["x", "y"]), ("a", 2, ["x"])]
    assert dict(table.dropped) == {"equal in every column to an earlier row": 1}
    assert len(table) == 2


def test_ids_whose_rows_differ_need_a_rule() -> None:
    with pytest.raises(
        DataError, match=r"films table: .*; 'a' has 2 that differ in year \(year: 2 and 3\); 1 such ids;.*'first'"
    ):
        IdTable.from_table(films(), "film", noun="film")
    first = IdTable.from_table(films(), "film", duplicates="first")
    assert first.frame.select("film", "year").rows() == [("b", 1), ("a", 2), ("c", 4)]
    last = IdTable.from_table(films(), "film", duplicates="last")
    assert last.frame.select("film", "year").rows() == [("b", 1), ("a", 3), ("c", 4)]
    assert list(first.dropped.values()) == [1, 1]


def test_nulls_missing_columns_and_empty_tables() -> None:
    with pytest.raises(DataError, match=r"items table: every row needs an id in 'i'; 1 rows have none \(rows 1\)"):
        IdTable.from_table(pl.DataFrame({"i": ["a", None]}), "i")
    with pytest.raises(DataError, match=r"no column 'filn'.*did you mean 'film'"):
        IdTable.from_table(films(), "filn")
    with pytest.raises(DataError, match="0 rows"):
        IdTable.from_table(films().clear(), "film")


def test_rows_against_a_dictionary() -> None:
    generator = np.random.default_rng(0)
    ids = generator.permutation(500)
    wanted = generator.integers(0, 1000, size=2000)
    place = {int(value): row for row, value in enumerate(ids)}
    expected = [place.get(int(value), -1) for value in wanted]
    for dtype in (pl.Int64, pl.String):
        table = IdTable.from_table(pl.DataFrame({"i": ids}).cast(dtype), "i")
        found = table.rows(pl.Series(wanted).cast(dtype))
        assert found.dtype == np.int64
        assert found.tolist() == expected


def test_rows_of_null_empty_and_narrow_ids() -> None:
    table = IdTable.from_table(pl.DataFrame({"i": [5, 3]}), "i")
    assert table.rows(pl.Series([None, 3, 5], dtype=pl.Int16)).tolist() == [-1, 1, 0]
    assert table.rows(pl.Series([], dtype=pl.Int64)).tolist() == []
    assert table.rows(pl.Series([None, None])).tolist() == [-1, -1]
    assert IdTable.from_ids(pl.Series(["b"]), "i").rows(pl.Series(["b"], dtype=pl.Categorical)).tolist() == [0]


def test_rows_of_another_type_are_an_error_not_unknown() -> None:
    with pytest.raises(DataError, match="must have one type"):
        IdTable.from_table(pl.DataFrame({"i": [5, 3]}), "i").rows(pl.Series(["5"]))


def test_from_ids_is_distinct_and_sorted() -> None:
    table = IdTable.from_ids(pl.Series("whatever", [3, 1, 3, 2], dtype=pl.Int8), "user", noun="user")
    assert table.frame.to_dict(as_series=False) == {"user": [1, 2, 3]}
    assert (table.id_column, table.noun, dict(table.dropped)) == ("user", "user", {})
    with pytest.raises(DataError, match="needs an id"):
        IdTable.from_ids(pl.Series([1, None]), "user")


def test_keep_by_mask_and_by_rows() -> None:
    table = IdTable.from_table(pl.DataFrame({"i": ["a", "b", "c"]}), "i")
    assert table.keep(np.array([True, False, True])).ids.to_list() == ["a", "c"]
    assert table.keep(np.array([2, 0])).rows(pl.Series(["a", "b"])).tolist() == [1, -1]
    for wrong, message in (([True], "shape"), ([3], "in \\[0, 3\\)"), ([-1], "in \\[0, 3\\)"), ([1, 1], "distinct")):
        with pytest.raises(ValueError, match=message):
            table.keep(np.array(wrong))


def test_coded_ids_are_found_like_text() -> None:
    table = IdTable.from_ids(pl.Series(["c", "a", "d"]), "id")
    ids = ["d", None, "b", "a", "d", "c"]
    coded = pl.Series("id", ids, dtype=pl.Enum(["x", "d", "c", "b", "a"]))
    assert table.rows32(coded).tolist() == [2, -1, -1, 0, 2, 1]
    assert table.rows32(coded).dtype == np.int32
    assert table.rows(coded).tolist() == table.rows(pl.Series("id", ids)).tolist()
    assert table.rows(coded).dtype == np.int64
    assert table.rows32(pl.Series("id", ids)).tolist() == [2, -1, -1, 0, 2, 1]
    nobody = pl.Series("id", [None, None], dtype=pl.Enum([]))
    assert table.rows32(nobody).tolist() == [-1, -1]


def test_as_many_categories_as_a_byte_has_values() -> None:
    names = [f"{n:03}" for n in range(256)]
    table = IdTable.from_ids(pl.Series(names), "id")
    coded = pl.Series("id", [names[255], None, names[0]], dtype=pl.Enum(names))
    assert table.rows32(coded).tolist() == [255, -1, 0]


def test_a_table_of_coded_ids_is_of_those_that_occur_sorted_as_text() -> None:
    coded = pl.Series("id", ["d", "a", "d"], dtype=pl.Enum(["x", "d", "c", "a"]))
    table = IdTable.from_ids(coded, "name")
    assert (table.ids.to_list(), table.id_column) == (["a", "d"], "name")
    assert table.ids.dtype == pl.String
    with pytest.raises(DataError, match="every row needs an id in 'name'; 1 rows have none"):
        IdTable.from_ids(pl.Series("id", ["d", None], dtype=pl.Enum(["d"])), "name")


@pytest.mark.parametrize("categories", [["a", "b", "c"], ["b", "a", "c"], ["a", "b", "c", "d"]])
@pytest.mark.parametrize("values", [["c", "a", "b", "a"], ["c", None, "a", "b"]])
def test_a_table_of_all_categories_is_that_of_the_text(categories: list[str], values: list[str | None]) -> None:
    coded = pl.Series("user", values, dtype=pl.Enum(categories))
    known = IdTable.from_ids(coded.drop_nulls(), "user", noun="user")
    assert known.frame.equals(pl.DataFrame({"user": ["a", "b", "c"]}))
    assert known.rows32(coded).tolist() == [-1 if value is None else "abc".index(value) for value in values]
    if None in values:
        with pytest.raises(DataError, match="every row needs an id"):
            IdTable.from_ids(coded, "user", noun="user")


def test_coded_text_is_not_a_number() -> None:
    with pytest.raises(DataError, match="item ids must have one type: 'id' is String"):
        IdTable.from_ids(pl.Series([1, 2]), "n").rows32(pl.Series("id", ["1"], dtype=pl.Enum(["1"])))


def test_coded_texts_are_as_the_texts() -> None:
    coded = CodedTexts(pl.Series("id", ["a", "b", "c", "d"]), np.array([3, 0, 4, 1, 3], dtype=np.uint32))
    with pytest.raises(DataError, match="every row needs an id in 'name'"):
        IdTable.from_ids(coded, "name")
    with pytest.raises(DataError, match="0 rows"):
        IdTable.from_ids(CodedTexts(coded.names, coded.codes[:0]), "name")
    table = IdTable.from_ids(CodedTexts(coded.names, coded.codes[[0, 1, 3]]), "name")
    assert table.frame.equals(pl.DataFrame({"name": ["a", "b", "d"]}))
    found = table.rows32(coded)
    assert found.dtype == np.int32
    assert found.tolist() == [2, 0, -1, 1, 2]
    assert IdTable.from_ids(pl.Series(["d", "b", "a", "c"]), "name").rows32(coded).tolist() == [3, 0, -1, 1, 3]
    with pytest.raises(DataError, match="one type"):
        IdTable.from_ids(pl.Series([1, 2]), "n").rows32(coded)
