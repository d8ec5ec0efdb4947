"""Interactions: every rule of the schema, the account of it, and the properties."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from twotower.data import IdTable, Interactions, Schema
from twotower.data.coded_texts import CodedTexts, code_texts
from twotower.errors import DataError

BY_TIME = Schema(user="u", item="i", time="t")


def table(**columns: list[object]) -> pl.DataFrame:
    return pl.DataFrame({"u": ["a", "b", "a", "b"], "i": [1, 1, 2, 1], "t": [4, 3, 3, 9]} | columns, strict=False)


def reasons(interactions: Interactions) -> list[tuple[str, int, tuple[str | int, ...]]]:
    return [(part.reason, part.rows, part.examples) for part in interactions.report.dropped]


def test_the_file_order_and_every_column_are_kept() -> None:
    interactions = Interactions.from_table(table(note=["w", "x", None, "z"]), BY_TIME)
    assert interactions.frame.equals(table(note=["w", "x", None, "z"]))
    assert interactions.negatives.height == 0
    assert interactions.negatives.columns == interactions.frame.columns
    assert interactions.user_ids.to_list() == ["a", "b", "a", "b"]
    assert interactions.item_ids.dtype == pl.Int64
    assert len(interactions) == 4


def test_order_is_by_time_then_row_or_by_row() -> None:
    assert Interactions.from_table(table(), BY_TIME).order.tolist() == [1, 2, 0, 3]
    by_row = Interactions.from_table(table(), Schema(user="u", item="i", time="t", order="row"))
    assert by_row.order.tolist() == [0, 1, 2, 3]
    assert by_row.order.dtype == np.int64


def test_order_is_stable_where_many_times_are_equal() -> None:
    times = np.random.default_rng(0).integers(0, 5, 300)
    frame = pl.DataFrame({"u": np.arange(300), "i": np.arange(300), "t": times})
    expected = sorted(range(300), key=lambda row: (times[row], row))
    assert Interactions.from_table(frame, BY_TIME).order.tolist() == expected


def test_times_and_weights() -> None:
    interactions = Interactions.from_table(table(w=[0, 1, 2, 3]), Schema(user="u", item="i", time="t", weight="w"))
    assert interactions.times is not None
    assert interactions.weights is not None
    assert interactions.times.dtype == np.int64
    assert interactions.times.tolist() == [4, 3, 3, 9]
    assert interactions.weights.dtype == np.float32
    assert interactions.weights.tolist() == [0.0, 1.0, 2.0, 3.0]
    plain = Interactions.from_table(table(), Schema(user="u", item="i", order="row"))
    assert plain.times is None
    assert plain.weights is None
    assert plain.weights_of(np.array([0])) is None
    for rows in ([2, 0, 2], [1, 2], []):
        some = interactions.weights_of(np.array(rows, dtype=np.int64))
        assert some is not None
        assert some.tolist() == [float(row) for row in rows]
    assert plain.report.first_time is None
    interactions.times[0], interactions.weights[0] = 7, 8  # arrays of the caller's own, which torch can take over
    assert interactions.frame.row(0) == ("a", 1, 4, 0)
    halves = Interactions.from_table(table(t=[1.5, 2.0, 3.0, 4.0]), BY_TIME)
    assert halves.times is not None
    assert halves.times.dtype == np.float64


def test_columns_take_their_one_form() -> None:
    frame = table(u=["a", "b", "a", "b"]).with_columns(
        pl.col("u").cast(pl.Categorical), pl.col("i").cast(pl.UInt8), pl.from_epoch(pl.col("t"), time_unit="s")
    )
    assert Interactions.from_table(frame, BY_TIME).frame.equals(table())


def test_positives_are_apart_from_negatives() -> None:
    schema = Schema(user="u", item="i", time="t", positives="r >= 4")
    interactions = Interactions.from_table(table(r=[5, 1, 4, 3]), schema)
    assert interactions.frame["r"].to_list() == [5, 4]
    assert interactions.negatives["r"].to_list() == [1, 3]
    report = interactions.report
    assert (report.rows_read, report.rows_kept, report.negatives) == (4, 2, 2)
    assert (report.users, report.items, report.first_time, report.last_time) == (1, 2, 3.0, 4.0)


def test_null_ids_are_an_error_or_dropped() -> None:
    frame = table(u=["a", None, "a", None])
    with pytest.raises(DataError, match=r"every row needs a user in 'u'; 2 rows have none \(rows 1, 3\).*null_ids = 'drop'"):
        Interactions.from_table(frame, BY_TIME)
    dropping = Schema(user="u", item="i", time="t", null_ids="drop")
    assert reasons(Interactions.from_table(frame, dropping)) == [("no user id, at rows", 2, (1, 3))]
    both = Interactions.from_table(table(u=["a", None, "a", "b"], i=[None, None, 3, 4]), dropping)
    assert reasons(both) == [("no user id, at rows", 1, (1,)), ("no item id, at rows", 1, (0,))]
    assert both.item_ids.to_list() == [3, 4]


def test_unknown_items_are_dropped_or_an_error() -> None:
    catalogue = IdTable.from_ids(pl.Series([2, 3]), "id")
    schema = Schema(user="u", item="i", time="t", positives="r >= 4")
    interactions = Interactions.from_table(table(r=[5, 1, 4, 3]), schema, catalogue=catalogue)
    assert interactions.item_ids.to_list() == [2]
    assert interactions.negatives.height == 0
    assert reasons(interactions) == [("item not in the catalogue", 3, (1,))]
    strict = Schema(user="u", item="i", time="t", unknown_items="error")
    with pytest.raises(DataError, match=r"3 rows name 1 items that are not \(for instance 1\)"):
        Interactions.from_table(table(), strict, catalogue=catalogue)


def test_ids_of_another_type_than_the_catalogue_or_the_users() -> None:
    with pytest.raises(
        DataError, match=r"item ids must have one type: 'i' is Int64 \(1\), but 'id' in the catalogue is String"
    ):
        Interactions.from_table(table(), BY_TIME, catalogue=IdTable.from_ids(pl.Series(["1"]), "id"))
    with pytest.raises(DataError, match=r"user ids must have one type: .* in the users table"):
        Interactions.from_table(table(), BY_TIME, users=IdTable.from_ids(pl.Series([1]), "id", noun="user"))


def test_unknown_users_are_counted_and_kept() -> None:
    interactions = Interactions.from_table(table(), BY_TIME, users=IdTable.from_ids(pl.Series(["b", "z"]), "id", noun="user"))
    assert (interactions.report.unknown_users, len(interactions)) == (1, 4)
    assert Interactions.from_table(table(), BY_TIME).report.unknown_users is None


def test_repeats_by_rule() -> None:
    # user b has item 1 at row 3 (time 3) and at row 1 (time 9)
    frame = table(t=[4, 9, 3, 3])
    kept = Interactions.from_table(frame, BY_TIME)
    assert (len(kept), kept.report.repeats, reasons(kept)) == (4, 1, [])
    first = Interactions.from_table(frame, Schema(user="u", item="i", time="t", repeats="first"))
    assert first.frame["t"].to_list() == [4, 3, 3]
    assert reasons(first) == [("repeat a (user, item) pair (rule: first), at rows", 1, (1,))]
    last = Interactions.from_table(frame, Schema(user="u", item="i", time="t", repeats="last"))
    assert last.frame["t"].to_list() == [4, 9, 3]
    by_row = Interactions.from_table(frame, Schema(user="u", item="i", time="t", order="row", repeats="first"))
    assert by_row.frame["t"].to_list() == [4, 9, 3]


def test_summed_repeats_have_weights() -> None:
    counted = Interactions.from_table(table(), Schema(user="u", item="i", time="t", repeats="sum"))
    assert counted.schema.weight == "weight"
    assert counted.weights is not None
    assert counted.weights.tolist() == [1.0, 1.0, 2.0]
    assert counted.frame["t"].to_list() == [4, 3, 9]
    weighted = Interactions.from_table(table(w=[1, 2, 3, 0.5]), Schema(user="u", item="i", time="t", repeats="sum", weight="w"))
    assert weighted.weights is not None
    assert weighted.weights.tolist() == [1.0, 3.0, 2.5]
    with pytest.raises(DataError, match="writes a new column 'weight', but the table has one"):
        Interactions.from_table(table(weight=[1, 1, 1, 1]), Schema(user="u", item="i", time="t", repeats="sum"))


def test_rare_items_first_then_users_once() -> None:
    # item 3 is rare; without it user c has one row; and without c's row item 2 would be rare, which is not looked at again
    frame = pl.DataFrame({"u": ["a", "a", "b", "b", "c", "c"], "i": [1, 2, 1, 1, 2, 3], "t": [1, 2, 3, 4, 5, 6]})
    schema = Schema(user="u", item="i", time="t", min_item_count=2, min_user_count=2)
    interactions = Interactions.from_table(frame, schema)
    assert interactions.frame["t"].to_list() == [1, 2, 3, 4]
    assert reasons(interactions) == [
        ("item with fewer than 2 positives", 1, (3,)),
        ("user with fewer than 2 positives", 1, ("c",)),
    ]


def test_counts_are_of_positives() -> None:
    frame = table(i=[1, 1, 2, 2], r=[5, 1, 5, 5])
    schema = Schema(user="u", item="i", time="t", positives="r >= 4", min_item_count=2)
    interactions = Interactions.from_table(frame, schema)
    assert interactions.item_ids.to_list() == [2, 2]
    assert interactions.negatives.height == 1


def test_rows_are_accounted_for() -> None:
    generator = np.random.default_rng(3)
    users: list[int | None] = [None if value == 0 else int(value) for value in generator.integers(0, 30, 400)]
    frame = pl.DataFrame({"u": users, "i": generator.integers(0, 30, 400), "r": generator.integers(1, 6, 400)})
    schema = Schema(
        user="u", item="i", order="row", null_ids="drop", positives="r >= 3", repeats="last", min_item_count=7, min_user_count=7
    )
    report = Interactions.from_table(frame, schema, catalogue=IdTable.from_ids(pl.Series(range(25)), "id")).report
    assert len(report.dropped) == 5
    assert report.rows_read == report.rows_kept + report.negatives + sum(part.rows for part in report.dropped)


def test_nothing_left_quotes_the_report() -> None:
    with pytest.raises(DataError, match=r"at least one positive row.*4 rows read, 0 kept.*4 rows are negatives"):
        Interactions.from_table(table(r=[1, 1, 1, 1]), Schema(user="u", item="i", time="t", positives="r > 1"))
    with pytest.raises(DataError, match="0 rows read"):
        Interactions.from_table(table().clear(), BY_TIME)
    with pytest.raises(DataError, match="4 rows dropped: item not in the catalogue"):
        Interactions.from_table(table(), BY_TIME, catalogue=IdTable.from_ids(pl.Series([77]), "id"))


def test_missing_columns_and_wrong_values() -> None:
    with pytest.raises(DataError, match="no column 'w' \\(declared as weight\\)"):
        Interactions.from_table(table(), Schema(user="u", item="i", time="t", weight="w"))
    with pytest.raises(DataError, match="row 2: nan"):
        Interactions.from_table(table(t=[1.0, 2.0, float("nan"), 3.0]), BY_TIME)
    with pytest.raises(DataError, match="row 3: -1"):
        Interactions.from_table(table(w=[1, 1, 1, -1]), Schema(user="u", item="i", time="t", weight="w"))


def test_take() -> None:
    interactions = Interactions.from_table(table(), BY_TIME)
    taken = interactions.take(np.array([3, 0, 2]))
    assert taken.frame["t"].to_list() == [9, 4, 3]
    assert taken.order.tolist() == [2, 1, 0]
    assert (taken.schema, taken.report) == (interactions.schema, interactions.report)
    assert len(interactions.take(np.array([], dtype=np.int64))) == 0


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"positives": "r >= 3"},
        {"null_ids": "drop"},
        {"repeats": "first"},
        {"repeats": "sum"},
        {"min_item_count": 3, "min_user_count": 2},
        {"order": "row"},
    ],
)
def test_coded_ids_are_like_text(rules: dict[str, object]) -> None:
    rng = np.random.default_rng(3)
    frame = pl.DataFrame(
        {
            "u": [f"u{n}" for n in rng.integers(0, 9, 60)],
            "i": [f"i{n}" for n in rng.integers(0, 6, 60)],
            "t": rng.integers(0, 30, 60),
            "r": rng.integers(1, 6, 60),
        }
    )
    if rules.get("null_ids"):
        frame = frame.with_columns(
            pl.when(pl.col("r") > 1).then("u").alias("u"), pl.when(pl.col("r") != 2).then("i").alias("i")
        )
    catalogue = IdTable.from_ids(pl.Series([f"i{n}" for n in (4, 0, 1, 2, 5)]), "i")
    # categories in no order, one of which does not occur
    coded = frame.with_columns(
        pl.col("u").cast(pl.Enum(["zz", *(f"u{n}" for n in (8, 3, 1, 0, 2, 4, 5, 7, 6))])),
        pl.col("i").cast(pl.Enum([f"i{n}" for n in (5, 4, 9, 3, 2, 1, 0)])),
    )
    schema = Schema.model_validate({"user": "u", "item": "i", "time": "t", **rules})
    as_text = Interactions.from_table(frame, schema, catalogue=catalogue)
    as_codes = Interactions.from_table(coded, schema, catalogue=catalogue)
    assert as_codes.user_ids.dtype == pl.Enum
    assert as_codes.report == as_text.report
    assert as_codes.report.repeats > 0
    text = {"u": pl.String, "i": pl.String}
    assert as_codes.frame.cast(text).equals(as_text.frame)  # type: ignore[arg-type]
    assert as_codes.negatives.cast(text).equals(as_text.negatives)  # type: ignore[arg-type]
    assert as_codes.order.tolist() == as_text.order.tolist()

    before = Interactions.from_table(frame, schema, catalogue=catalogue, coded=code_texts(frame, ["u", "i"]))
    assert before.report == as_text.report
    assert before.frame.equals(as_text.frame)
    assert before.negatives.equals(as_text.negatives)
    for name, keys in (("u", before.user_keys), ("i", before.item_keys)):
        assert isinstance(keys, CodedTexts)
        assert keys.names.gather(keys.codes).to_list() == as_text.frame[name].to_list()
        assert keys.occurring().to_list() == sorted(set(as_text.frame[name].to_list()))
    assert not as_text.coded
    assert not before.take(np.arange(2)).coded


def test_nothing_dropped_is_nothing_copied() -> None:
    frame = table().with_columns(pl.col("t").sort().alias("t"), pl.Series("i", [5, 6, 7, 8]))
    interactions = Interactions.from_table(frame, BY_TIME)
    address = frame["i"].to_numpy().__array_interface__["data"]
    assert interactions.item_ids.to_numpy().__array_interface__["data"] == address
    assert interactions.is_ordered
    later = interactions.take(np.array([1, 2]))
    assert later.item_ids.to_numpy().__array_interface__["data"][0] == address[0] + 8
    assert not Interactions.from_table(table(), BY_TIME).is_ordered
