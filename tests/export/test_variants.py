"""Rows changed in every way that may come."""

from __future__ import annotations

import polars as pl

from twotower.export import NumberInput, Output, RowInput, RowsInput, TowerSignature, VocabularyLookup
from twotower.export.variants import never_seen, variants

WORDS = VocabularyLookup(file="v", values="text", unknown_row=0)
TOWER = TowerSignature(
    file="t",
    files=("t",),
    id_column="id",
    inputs=(
        NumberInput(name="age", about="", column="age", read_as=("number",), required=False),
        NumberInput(name="height", about="", column="height", read_as=("number",), required=True),
        NumberInput(name="lon", about="", column="lon", read_as=("geo",), required=False, range=(-180, 180)),
        RowInput(name="city.row", about="", feature="city", column="city", lookup=WORDS, missing_row=None, vocabulary_size=3),
        RowsInput(
            name="bio.rows",
            about="",
            feature="bio",
            column="bio",
            shape=("batch", "n"),
            lookup=WORDS,
            max_length=None,
            reads="first",
            vocabulary_size=3,
        ),
        RowsInput(
            name="past.rows",
            about="",
            feature="past",
            column=None,
            shape=("batch", "n"),
            lookup=WORDS,
            max_length=None,
            reads="last",
            vocabulary_size=3,
        ),
    ),
    output=Output(shape=("batch", 2)),
)
FRAME = pl.DataFrame(
    {"age": [30, None], "height": [1.7, 1.8], "lon": [3.0, 4.0], "city": ["Oslo", "Rome"], "bio": ["a b", "c"]}
)


def test_each_way_once() -> None:
    found = {variant.about: variant.frame for variant in variants(TOWER, FRAME)}
    assert list(found) == [
        "without age",
        "with age never seen",
        "with height never seen",
        "without lon",
        "with city never seen",
        "without bio",
        "with bio never seen",
        "without whatever may be missing",
        "with nothing ever seen",
    ]
    assert all(frame.columns == FRAME.columns for frame in found.values())
    assert found["without age"]["age"].to_list() == [None, None]
    assert found["without age"].drop("age").equals(FRAME.drop("age"))
    assert found["with city never seen"]["city"].is_in(["Oslo", "Rome"]).sum() == 0
    everything = found["without whatever may be missing"]
    assert [name for name in FRAME.columns if everything[name].null_count() == 2] == ["age", "lon", "bio"]
    strange = found["with nothing ever seen"]
    assert strange["lon"].equals(FRAME["lon"])  # no place is outside of the earth
    assert strange["age"].dtype == pl.Int64
    assert strange["age"][0] > 100_000


def test_an_id_that_nobody_has() -> None:
    ids = pl.Series(["never seen xx", "b"])
    assert never_seen(ids) not in ids.to_list()
    assert never_seen(pl.Series([5, 2**62])) not in (5, 2**62)
    assert never_seen(pl.Series([5, 7])) == 1_000_010
