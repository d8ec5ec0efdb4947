"""A catalogue that changes, held to one that is made anew after every change."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from twotower.data import IdTable
from twotower.errors import ConfigError, DataError, TwotowerError, UnknownIdError
from twotower.recommender import filters
from twotower.recommender import items as items_file
from twotower.recommender.items import Items, item_frame
from twotower.types import Id, Ragged

SIZE, WIDTH = 12, 4
SCHEMA: dict[str, Any] = {
    "year": pl.Int64,
    "genres": pl.String,
    "price": pl.Float32,
    "tags": pl.List(pl.String),
    "day": pl.Date,
}
YEARS, GENRES = [1980, 1990, 2000, None], ["War", "War|Drama", "Drama | Comedy", None]
WHERES: list[dict[str, Any]] = [
    {"year": 1990},
    {"year": {"min": 1985}},
    {"genres": ["Drama", "Comedy"]},
    {"genres": {"not": "War"}, "year": {"max": 1995}},
    {"tags": "a"},
    {"day": "2020-01-02"},
]


def columns_of(rng: np.random.Generator) -> dict[str, Any]:
    """What an item may be put with, as JSON has it; some columns are left out."""
    given = {
        "year": YEARS[int(rng.integers(4))],
        "genres": GENRES[int(rng.integers(4))],
        "price": [0, 1, 0.5, None][int(rng.integers(4))],
        "tags": [["a"], ["a", "b"], [], None][int(rng.integers(4))],
        "day": ["2020-01-01", "2020-01-02", None][int(rng.integers(3))],
    }
    return {name: value for name, value in given.items() if rng.random() < 0.8}


def encode(frame: pl.DataFrame) -> Tensor:
    """Small whole numbers that hang on every column of a row: dot products of them are exact, and ties frequent."""
    signs = [zlib.crc32(repr(row).encode()) for row in frame.rows()]
    return torch.tensor([[float((sign >> (3 * place)) % 5 - 2) for place in range(WIDTH)] for sign in signs]).reshape(-1, WIDTH)


class Anew:
    """The slow oracle: every item's row, columns and whether it is there, and all else made of these each time."""

    def __init__(self, catalogue: IdTable) -> None:
        self.own = catalogue.id_column
        self.ids: list[Id] = catalogue.ids.to_list()
        self.columns: dict[Id, dict[str, Any]] = {row[self.own]: row for row in catalogue.frame.to_dicts()}
        self.gone: set[Id] = set()
        self.base = catalogue.frame

    def change(self, put: Mapping[Id, Mapping[str, Any]], removed: list[Id]) -> None:
        for item, given in put.items():
            if item not in self.columns:
                self.ids.append(item)
            row = dict.fromkeys(SCHEMA) | dict(given)
            row["day"] = None if row["day"] is None else date.fromisoformat(row["day"])
            self.columns[item] = {self.own: item} | row
            self.gone.discard(item)
        self.gone |= {item for item in removed if item in self.columns}

    def frame(self) -> pl.DataFrame:
        id_type = pl.String if isinstance(self.ids[0], str) else pl.Int64
        return pl.DataFrame([self.columns[item] for item in self.ids], schema={self.own: id_type, **SCHEMA}, orient="row")

    def meets(self, item: Id, where: Mapping[str, Any]) -> bool:
        row = self.columns[item]
        genres = None if row["genres"] is None else [part.strip() for part in row["genres"].split("|")]
        year, tags = row["year"], row["tags"]
        answers = {
            "{'year': 1990}": year == 1990,
            "{'year': {'min': 1985}}": year is not None and year >= 1985,
            "{'genres': ['Drama', 'Comedy']}": genres is not None and bool({"Drama", "Comedy"} & set(genres)),
            "{'genres': {'not': 'War'}, 'year': {'max': 1995}}": (genres is None or "War" not in genres)
            and year is not None
            and year <= 1995,
            "{'tags': 'a'}": tags is not None and "a" in tags,
            "{'day': '2020-01-02'}": row["day"] == date(2020, 1, 2),
        }
        return bool(answers[repr(where)])

    def best(self, query: Tensor, k: int, taken: set[int], allowed: list[bool], *, cosine: bool) -> list[tuple[int, float]]:
        found = []
        for row, (item, vector) in enumerate(zip(self.ids, encode(self.frame()).double(), strict=True)):
            length = float(vector.norm()) if cosine else 1.0
            if item not in self.gone and row not in taken and allowed[row]:
                found.append((row, float(query.double() @ vector) / max(length, 1e-12)))
        return sorted(found, key=lambda entry: (-entry[1], entry[0]))[:k]


def holds(items: Items, anew: Anew, rng: np.random.Generator) -> None:
    """That everything that can be asked of some items is what the oracle says."""
    frame, size = anew.frame(), len(anew.ids)
    assert len(items) == size
    assert items.num_available == size - len(anew.gone)
    assert items.available.tolist() == [item not in anew.gone for item in anew.ids]
    assert items.ids(np.arange(size)) == anew.ids
    other: list[Any] = [None, "never", 10**6, "3", 3, 900.0, True]
    assert items.rows([*anew.ids, *other]).tolist() == [*range(size), *[-1] * len(other)]
    rows = rng.integers(0, size, int(rng.integers(0, 30)))
    assert items.frame(rows).equals(frame[rows])
    assert items.frame(rows).schema == frame.schema
    assert items.frame(rows, ["tags", anew.own]).equals(frame[rows].select("tags", anew.own))
    assert torch.equal(items.vectors(torch.from_numpy(rows)), encode(frame)[torch.from_numpy(rows)])
    # a removed item is read as it was in the catalogue, and one that the catalogue lacks not at all
    kept = [row for row, item in enumerate(anew.ids) if item not in anew.gone or row < SIZE]
    assert items.remembered(torch.tensor([-1, *range(size), -1])).tolist() == [
        False,
        *(row in kept for row in range(size)),
        False,
    ]
    wanted = [encode(anew.base[row] if item in anew.gone else frame[row]) for row in kept for item in [anew.ids[row]]]
    chosen = torch.from_numpy(rng.permutation(len(kept)))
    assert torch.equal(items.read(torch.tensor(kept)[chosen]), torch.cat(wanted)[chosen])
    for where in WHERES:
        expected = [anew.meets(item, where) for item in anew.ids]
        for _ in range(2):  # the second answer is kept from the first
            mask = items.allowed(where)
            assert mask is not None
            assert mask.tolist() == expected, where
    assert items.allowed({}) is None
    queries_BD = torch.tensor(rng.integers(-2, 3, (3, WIDTH)), dtype=torch.float32)
    for k in (1, 5, size + 3):
        taken = [set(rng.choice(size, int(rng.integers(0, size)), replace=False).tolist()) for _ in range(3)]
        offsets = torch.tensor([0, *np.cumsum([len(entry) for entry in taken])])
        excluded = Ragged(torch.tensor([row for entry in taken for row in sorted(entry)], dtype=torch.int64), offsets)
        mask = torch.from_numpy(rng.random(size) < 0.7) if rng.random() < 0.5 else None
        allowed = [True] * size if mask is None else mask.tolist()
        for index, cosine in ((items.index, False), (items.directions, True)):
            found = index.search(queries_BD, k, excluded=excluded, allowed=mask)
            for query in range(3):
                expected_rows = anew.best(queries_BD[query], k, taken[query], allowed, cosine=cosine)
                there = found.rows_BK[query][found.rows_BK[query] >= 0].tolist()
                scores = found.scores_BK[query][: len(there)].tolist()
                assert scores == pytest.approx([score for _, score in expected_rows], abs=1e-6)
                if cosine:  # equal cosines differ in the last bit
                    assert all(allowed[row] and row not in taken[query] and anew.ids[row] not in anew.gone for row in there)
                else:
                    assert there == [row for row, _ in expected_rows]


def catalogue_of(*, integers: bool) -> IdTable:
    rng = np.random.default_rng(1)
    rows = [
        {"item": 50 + place if integers else f"item {place}"} | dict.fromkeys(SCHEMA) | columns_of(rng) for place in range(SIZE)
    ]
    frame = pl.DataFrame(rows, schema={"item": pl.Int64 if integers else pl.String, **SCHEMA, "day": pl.String}, orient="row")
    return IdTable.from_table(frame.with_columns(pl.col("day").str.to_date()), "item")


def items_of(catalogue: IdTable) -> Items:
    return Items(catalogue, encode(catalogue.frame), separators={"genres": "|"})


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_changed_catalogue_is_one_that_is_made_anew(seed: int, integers: bool) -> None:
    rng = np.random.default_rng(seed)
    catalogue = catalogue_of(integers=integers)
    items, anew = items_of(catalogue), Anew(catalogue)
    holds(items, anew, rng)
    new: list[Id] = [900 + number if integers else f"new {number}" for number in range(9)]
    everything: list[Id] = [*anew.ids, *new]
    for _ in range(12):
        if rng.random() < 0.7:
            items.index.search(torch.zeros(1, WIDTH), 1)  # whether or not an index was made of these items
        chosen = rng.permutation(len(everything))
        number = int(rng.integers(0, 5))
        put = {everything[place]: columns_of(rng) for place in chosen[:number]}
        removed: list[Id] = [everything[place] for place in chosen[number : number + int(rng.integers(0, 5))]]
        removed += [7] if integers else ["never"]
        before, was = items, (len(items), items.available.tolist(), items.frame(np.arange(len(items))))
        items = items.changed(put, removed, encode)
        anew.change(put, removed)
        assert (len(before), before.available.tolist()) == was[:2]
        assert before.frame(np.arange(len(before))).equals(was[2])
        holds(items, anew, rng)


def test_an_earlier_state_stays_what_it_was() -> None:
    rng = np.random.default_rng(0)
    catalogue = catalogue_of(integers=False)
    first, empty = items_of(catalogue), Anew(catalogue)
    second = first.changed({"new": {"year": 1990}, "item 3": {"year": 1990}}, ["item 4"], encode)
    middle = Anew(catalogue)
    middle.change({"new": {"year": 1990}, "item 3": {"year": 1990}}, ["item 4"])
    third = second.changed({"newer": {}, "item 4": {}, "new": {"year": 2000}}, ["item 3", "item 5"], encode)
    last = Anew(catalogue)
    last.change({"new": {"year": 1990}, "item 3": {"year": 1990}}, ["item 4"])
    last.change({"newer": {}, "item 4": {}, "new": {"year": 2000}}, ["item 3", "item 5"])
    branch = second.changed({"newest": {}}, [], encode)
    other = Anew(catalogue)
    other.change({"new": {"year": 1990}, "item 3": {"year": 1990}}, ["item 4"])
    other.change({"newest": {}}, [])
    for _ in range(2):
        for items, anew in ((third, last), (first, empty), (branch, other), (second, middle)):
            holds(items, anew, rng)


def test_what_must_be_there() -> None:
    items = items_of(catalogue_of(integers=False)).changed({"new": {}}, ["item 4"], encode)
    assert items.require(["new", "item 1"], "only").tolist() == [SIZE, 1]
    assert items.require(["item 4"], "exclude", removed=True).tolist() == [4]
    assert items.require([], "only").tolist() == []
    with pytest.raises(UnknownIdError, match=r"^only: the item 'item 4' was removed$"):
        items.require(["item 1", "item 4"], "only")
    with pytest.raises(UnknownIdError, match=r"^only: no item 'Item 3' among 12, whose ids are text; did you mean 'item 3'\?"):
        items.require(["item 1", "Item 3"], "only")
    with pytest.raises(DataError, match=r"^only must be a list of ids; came the single value 'new': write \['new'\]"):
        items.require("new", "only")
    with pytest.raises(DataError, match="an id must be text or an integer"):
        items.require([["new"]], "only")  # type: ignore[list-item]
    gone = items.changed({}, ["new"], encode)
    with pytest.raises(UnknownIdError, match="the item 'new' was removed"):
        gone.require(["new"], "only")
    assert gone.changed({"new": {}}, [], encode).require(["new"], "only").tolist() == [SIZE]


def test_masks_are_kept_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    matching = filters.matching

    def watched(frame: pl.DataFrame, where: Any, **options: Any) -> pl.Series:
        asked.append(where)
        return matching(frame, where, **options)

    monkeypatch.setattr(items_file, "matching", watched)
    monkeypatch.setattr(items_file, "_MASK_BYTES", 2 * SIZE)
    items = items_of(catalogue_of(integers=False))
    one, two, three = WHERES[:3]
    for where in (one, two, one, three, one):  # two are kept: three takes the place of two, which nobody asked for since
        items.allowed(where)
    assert asked == [one, two, three]
    items.allowed(two)
    assert asked == [one, two, three, two]
    items.changed({"new": {"year": 1990}}, [], encode).allowed(one)
    assert asked[4:] == [one, one]  # of the catalogue, and of what was put
    with pytest.raises(ConfigError, match="did you mean 'year'"):
        items.allowed({"yaer": 1})
    for wrong in (5, "year", [1]):
        with pytest.raises(ConfigError, match="where: must be a mapping"):
            items.allowed(wrong)  # type: ignore[arg-type]


def test_a_fault_changes_nothing() -> None:
    items = items_of(catalogue_of(integers=False))
    puts: list[tuple[Any, Any]] = [
        ({7: {}}, []),
        ({"new": {"yaer": 1}}, []),
        ({"new": {"year": "old"}}, []),
        ({"new": {}}, "item 4"),
        ({"new": {}}, [["item 4"]]),
        ({"new": 5}, []),
        ([("new", {})], []),
    ]
    for put, removed in puts:
        with pytest.raises(TwotowerError):
            items.changed(put, removed, encode)
    with pytest.raises(DataError, match=r"^removed must be a list of ids; came the single value 'item 4'"):
        items.changed({}, "item 4", encode)
    assert len(items) == items.num_available == SIZE


TYPES: dict[str, tuple[Any, list[tuple[Any, Any]], list[Any]]] = {
    # a column's type; values as JSON has them, and what they become; values that are refused
    "whole": (pl.Int64, [(5, 5), (-(2**63), -(2**63))], [True, 5.0, 5.5, "5", [5], {"a": 1}, 2**63, math.nan]),
    "small": (pl.Int8, [(-128, -128)], [128, 5.0, True]),
    "unsigned": (pl.UInt32, [(5, 5)], [-1]),
    "float": (pl.Float64, [(5, 5.0), (0.1, 0.1)], [True, "5", [5.0], 10**400, {"a": 1}]),
    "single": (pl.Float32, [(5, 5.0), (0.5, 0.5)], [False, "5"]),
    "text": (pl.String, [("a", "a"), ("", "")], [5, 1.5, True, ["a"], {"a": 1}, "\ud800"]),
    "kind": (pl.Categorical, [("a", "a"), ("unseen", "unseen")], [5, True, ["a"]]),
    "enum": (pl.Enum(["a", "b"]), [("b", "b")], ["c", 5, True]),
    "flag": (pl.Boolean, [(True, True), (False, False)], [1, 0, "true", 1.0, [True]]),
    "tags": (pl.List(pl.String), [(["a", "b"], ["a", "b"]), ([], [])], ["a", 5, [5], [["a"]], [True], {"a": 1}]),
    "numbers": (pl.List(pl.Int32), [([1, 2], [1, 2])], [[1.5], ["1"], 1, [True], [2**40]]),
    "weights": (pl.List(pl.Float32), [([1, 0.5], [1.0, 0.5]), ([1], [1.0])], [["a"], 1.5, [True]]),
    "vector": (pl.Array(pl.Float32, 2), [([1, 0.5], [1.0, 0.5])], [[1.0], ["a", "b"], 1.5, [1.0, 2.0, 3.0], [True, False]]),
    "day": (pl.Date, [("2020-02-29", date(2020, 2, 29))], ["2021-02-29", "soon", 20200101, 1.5, True, ["2020-01-01"]]),
    "at": (
        pl.Datetime("us"),
        [("2020-01-01T12:00:00", datetime(2020, 1, 1, 12)), ("2020-01-01T12:00:00+02:00", datetime(2020, 1, 1, 10))],
        ["soon", 5, True],
    ),
    "zone": (pl.Datetime("ms", "UTC"), [("2020-01-01T12:00:00", datetime(2020, 1, 1, 12, tzinfo=UTC))], ["soon", 5]),
    "clock": (pl.Time, [("12:30:00", time(12, 30))], ["25:00", 5, True]),
}


@pytest.mark.parametrize("name", list(TYPES))
def test_values_take_the_type_of_their_column(name: str) -> None:
    dtype, good, bad = TYPES[name]
    catalogue = IdTable(pl.DataFrame({"n": [0], "item": ["old"], name: pl.Series([None], dtype=dtype)}), "item")
    for value, expected in good:
        frame = item_frame([("a", {name: value}), ("b", {}), ("c", {name: None}), ("d", {name: value, "n": 4})], catalogue)
        assert frame.schema == catalogue.frame.schema
        assert frame[name].to_list() == [expected, None, None, expected]
        assert frame["item"].to_list() == ["a", "b", "c", "d"]
        assert frame["n"].to_list() == [None, None, None, 4]
    for value in bad:
        for rows in ([("a", {name: value})], [("a", {name: good[0][0]}), ("b", {name: value})]):
            with pytest.raises(DataError, match=rf"^items: column '{name}' must hold "):
                item_frame(rows, catalogue)


def test_the_item_at_fault_is_shown() -> None:
    catalogue = IdTable(pl.DataFrame({"item": ["old"], "year": [1990]}), "item")
    with pytest.raises(DataError, match="column 'year' must hold Int64; came 'old' for the item 'b'"):
        item_frame([("a", {"year": 1}), ("b", {"year": "old"}), ("c", {"year": 3})], catalogue)


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([(7, {})], DataError, "item ids are text; came 7"),
        ([(True, {})], DataError, "item ids are text; came True"),
        ([("\ud800", {})], DataError, "item ids are text; came "),
        ([("a", {"item": "b"})], ConfigError, "item 'a': 'item' is the id, which is given apart from the features"),
        ([("a", {"yaer": 1})], ConfigError, "item 'a': no column 'yaer' in the catalogue; did you mean 'year'"),
        ([("a", {5: 1})], ConfigError, "item 'a': no column 5 in the catalogue"),
        ([("a", 5)], DataError, "item 'a': features must be a mapping of columns to values; came 5"),
        ([("a", None)], DataError, "item 'a': features must be a mapping"),
        ([("a", [1])], DataError, "item 'a': features must be a mapping"),
    ],
)
def test_what_is_no_item(rows: Any, error: type[Exception], words: str) -> None:
    catalogue = IdTable(pl.DataFrame({"item": ["old"], "year": [1990]}), "item")
    with pytest.raises(error, match=words):
        item_frame([("good", {}), *rows], catalogue)


def test_ids_of_integers() -> None:
    catalogue = IdTable(pl.DataFrame({"item": [1, 2]}), "item")
    assert item_frame([(5, {}), (-(2**63), {})], catalogue)["item"].to_list() == [5, -(2**63)]
    assert item_frame([], catalogue).schema == catalogue.frame.schema
    for item in (True, 1.0, "1", None, 2**63):
        with pytest.raises(DataError, match="item ids are integers"):
            item_frame([(item, {})], catalogue)  # type: ignore[list-item]
