"""Items from popular to rare, and in words."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.data import IdTable
from twotower.preprocessing import CategoryFeature, IdFeature, MultiCategoryFeature, Preprocessor
from twotower.runs.report_items import ItemTexts, by_train_rows, in_words, shortened


class _Recommender:
    """As much of one as texts are made from."""

    def __init__(self, frame: pl.DataFrame, *features: object) -> None:
        self.catalogue = IdTable.from_table(frame, "item")
        self.preprocessor = Preprocessor.fit(
            [IdFeature(column="user")],
            [IdFeature(column="item"), *features],  # type: ignore[list-item]
            users=pl.DataFrame({"user": ["a"]}),
            user_counts=np.ones(1, dtype=np.int64),
            context=pl.DataFrame({"user": ["a"]}),
            items=frame,
            item_counts=np.ones(frame.height, dtype=np.int64),
            user_column="user",
            item_column="item",
        )


def texts(frame: pl.DataFrame, *features: object) -> ItemTexts:
    return ItemTexts(_Recommender(frame, *features))  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.sampled_from([3, 10]))
def test_groups_are_those_of_a_slow_count(counts: list[int], parts: int) -> None:
    found = by_train_rows(np.array(counts, dtype=np.int64), parts)
    order = sorted(range(len(counts)), key=lambda item: (-counts[item], item))
    total, before = sum(counts), 0
    for item in order:
        if counts[item] == 0:
            assert found.names[found.group_of[item]] == "not in train"
        else:
            expected = next(part for part in range(parts) if before < (part + 1) * total / parts)
            assert found.group_of[item] == expected
        before += counts[item]
    assert sum(found.sizes) == len(counts)
    assert len(found.sizes) == len(found.names)
    assert ("not in train" in found.names) == (0 in counts)


def test_groups_are_named_and_told() -> None:
    thirds = by_train_rows(np.array([4, 2, 2, 1, 1, 1, 1, 0]), 3)
    assert thirds.names == ("head", "middle", "tail", "not in train")
    assert thirds.sizes == (1, 2, 4, 1)
    assert "head: 1, middle: 2, tail: 4, not in train: 1" in thirds.rule
    assert by_train_rows(np.array([1, 1]), 10).names == ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10")


def test_titles_come_from_a_column_of_that_name_else_the_id() -> None:
    frame = pl.DataFrame({"item": [7, 8], "Title": ["A film", None], "year": [1999, None]})
    assert texts(frame).titles == ["A film", "8"]
    assert texts(frame.drop("Title")).titles == ["7", "8"]
    assert [texts(frame).details(row) for row in (0, 1)] == ["1999", ""]


def test_details_are_a_few_columns_that_can_be_read() -> None:
    frame = pl.DataFrame({"item": ["x"], "a": [1], "b": [[1.0, 2.0]], "c": ["long " * 30], "d": ["never shown"]})
    assert texts(frame).details(0) == f"1, 1.0 2.0, {('long ' * 30)[:59]}…"


def test_categories_are_those_that_the_tower_reads() -> None:
    frame = pl.DataFrame({"item": ["x", "y", "z"], "kind": ["p", "q", None], "tags": ["b | a|b", "", None]})
    single = texts(frame, CategoryFeature(column="kind", missing="own_row"))
    assert (single.category_column, single.categories) == ("kind", [["p"], ["q"], []])
    composite = pl.DataFrame({"item": ["x", "y", "z"], "code": ["p:1", "q", None]})
    part = texts(composite, CategoryFeature(column="code", name="digit", separator=":", part=1, missing="own_row"))
    assert (part.category_column, part.categories) == ("digit", [["1"], [], []])
    several = texts(frame, MultiCategoryFeature(column="tags", separator="|"))
    assert (several.category_column, several.categories) == ("tags", [["b", "a"], [], []])
    encoded = several.encoded_categories()
    assert encoded is not None
    assert (encoded.values.tolist(), encoded.offsets.tolist()) == ([1, 0], [0, 2, 2, 2])
    assert texts(frame).category_column is None
    assert texts(frame).encoded_categories() is None
    listed = texts(frame.with_columns(lists=pl.Series([["u"], [], None], dtype=pl.List(pl.String))))
    assert (listed.category_column, listed.categories) == ("lists", [["u"], [], []])


def test_rare_categories_are_others() -> None:
    frame = pl.DataFrame({"item": list(range(16)), "kind": [*"aabbccddeeffgh", None, "a"]})
    main = texts(frame, CategoryFeature(column="kind", missing="own_row")).main_categories()
    assert set(main) == {*"abcdef", "other"}
    assert main[12:15] == ["other", "other", "other"]


@pytest.mark.parametrize(("value", "said"), [(None, ""), (True, "True"), (0.25, "0.25"), ([], ""), (["a", None], "a None")])
def test_cells_in_words(value: object, said: str) -> None:
    assert in_words(value) == said


def test_long_texts_are_cut() -> None:
    assert len(shortened("x" * 500)) == 60
    assert shortened("x" * 60) == "x" * 60
