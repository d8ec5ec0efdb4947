from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twotower.errors import DataError, UnknownIdError
from twotower.vocabulary import Vocabulary


@given(st.lists(st.text(max_size=3), unique=True), st.lists(st.none() | st.text(max_size=3)))
def test_rows_are_positions_from_one_and_zero_is_unknown(ids: list[str], asked: list[str | None]) -> None:
    rows = Vocabulary(ids).rows(asked)
    assert rows.dtype == np.int32
    assert rows.tolist() == [ids.index(value) + 1 if value in ids else 0 for value in asked]


def test_the_order_is_that_of_the_ids() -> None:
    vocabulary = Vocabulary([30, 10, 20])
    assert (vocabulary.to_list(), list(vocabulary), len(vocabulary), vocabulary.size) == ([30, 10, 20], [30, 10, 20], 3, 4)
    assert vocabulary.rows([10, 11]).tolist() == [2, 0]
    assert (vocabulary.row(30), 20 in vocabulary, 21 in vocabulary) == (1, True, False)
    assert (vocabulary.id_type, Vocabulary(["a"]).id_type, Vocabulary([]).id_type) == (int, str, None)


def test_equal_means_the_same_ids_in_the_same_order() -> None:
    assert Vocabulary(["a", "b"]) == Vocabulary(iter(["a", "b"]))
    assert hash(Vocabulary(["a", "b"])) == hash(Vocabulary(["a", "b"]))
    assert Vocabulary(["a", "b"]) != Vocabulary(["b", "a"])
    assert Vocabulary(["a"]) != ["a"]


def test_from_counts_sorts_and_leaves_rare_ids_out() -> None:
    ids, counts = ["c", "a", "b", "d"], [2, 1, 3, 2]
    assert Vocabulary.from_counts(ids, counts).to_list() == ["a", "b", "c", "d"]
    assert Vocabulary.from_counts(ids, np.array(counts), min_count=2).to_list() == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a", 1], "one type only; came int and str"),
        ([1, None], "one type only; came NoneType and int"),
        ([True, False], "one type only; came bool"),
        (["a", "b", "a"], "every id once; 'a' came twice"),
    ],
)
def test_ids_that_are_no_vocabulary_are_refused(ids: list[str | int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Vocabulary(ids)


def test_an_unknown_id_is_refused_and_a_wrong_type_is_told() -> None:
    with pytest.raises(UnknownIdError, match=r"^no id '9' among 2$"):
        Vocabulary(["7", "8"]).row("9")
    with pytest.raises(UnknownIdError, match="no id 7 among 2; the ids are of type str"):
        Vocabulary(["7", "8"]).row(7)
    with pytest.raises(UnknownIdError, match="no id '7' among 1; the ids are of type int"):
        Vocabulary([7]).row("7")
