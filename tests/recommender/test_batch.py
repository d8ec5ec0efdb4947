"""A table of requests gets what its rows would get one by one, also after an interruption."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.errors import ConfigError, DataError, UnknownIdError
from twotower.recommender import BatchOptions, PartDone, Recommender, recommend_batch

USERS = [f"user-{number:02}" for number in range(25)]
SMALL: dict[str, Any] = {"part_rows": 6, "chunk_rows": 4}


def pieces(frame: pl.DataFrame, size: int) -> Iterator[pl.DataFrame]:
    return frame.iter_slices(size)


def answered(world: Any, frame: pl.DataFrame, path: Path, **options: Any) -> pl.DataFrame:
    recommend_batch(world.recommender, pieces(frame, 5), path, BatchOptions(**SMALL, **options), fingerprint="a")
    found = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path)
    assert isinstance(found, pl.DataFrame)
    return found


def one_by_one(world: Any, requests: list[dict[str, Any]], **options: Any) -> pl.DataFrame:
    answers: list[pl.DataFrame] = [
        world.recommender.recommend(**request, **options).frame.with_columns(query=n) for n, request in enumerate(requests)
    ]
    frame = pl.concat(answers).select(row=pl.col("query").cast(pl.Int64), rank="rank", item="item", score="score")
    return frame.with_columns(pl.col("rank").cast(pl.Int32))


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert found.select("row", "rank", "item").equals(expected.select("row", "rank", "item"))
    assert (found["score"] - expected["score"]).abs().max() < 1e-5  # type: ignore[operator]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("options", [{"k": 4}, {"k": 100}, {"k": 7, "exclude_seen": False, "exclude": ("Item 03",)}])
def test_known_users_one_by_one(world: Any, options: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": USERS, "note": range(25)})
    found = answered(world, frame, tmp_path / f"found{suffix}", **options)
    assert found.columns == ["row", "user", "rank", "item", "score"]
    assert_same(found, one_by_one(world, [{"users": [user]} for user in USERS], **options))
    assert found["user"].to_list() == [USERS[row] for row in found["row"]]
    assert [path.name for path in tmp_path.iterdir()] == [f"found{suffix}"], "nothing is left beside it"


def test_features_and_histories_of_rows(world: Any, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"user": "user-03", "age": None, "past": None},
        {"user": "nobody", "age": 44, "past": None},
        {"user": None, "age": None, "past": ["Item 01", "Item 07"]},
        {"user": "user-05", "age": 20, "past": []},
        {"user": "user-03", "age": None, "past": ["Item 02"]},
    ]
    frame = pl.DataFrame(rows, schema={"user": pl.String, "age": pl.Int64, "past": pl.List(pl.String)})
    found = answered(world, frame, tmp_path / "found.parquet", k=5, history_column="past")
    requests = [{"users": [row["user"]], "features": [{"age": row["age"]}], "histories": [row["past"]]} for row in rows]
    assert_same(found, one_by_one(world, requests, k=5))


def test_without_users(world: Any, tmp_path: Path) -> None:
    found = answered(world, pl.DataFrame({"age": [30, 60]}), tmp_path / "found.parquet", k=3)
    assert found.columns == ["row", "rank", "item", "score"]
    assert_same(found, one_by_one(world, [{"features": [{"age": 30}]}, {"features": [{"age": 60}]}], k=3))


def test_only_some_items_and_a_row_that_has_seen_them_all(world: Any, tmp_path: Path) -> None:
    seen = set(world.recommender.history("user-04"))
    found = answered(world, pl.DataFrame({"user": ["user-04", "user-05"]}), tmp_path / "found.parquet", k=9, only=tuple(seen))
    assert 0 not in found["row"].to_list()
    assert set(found["item"]) <= seen


class StoppedError(Exception):
    pass


def test_an_interrupted_call_goes_on(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, options, path = pl.DataFrame({"user": USERS}), BatchOptions(k=4, **SMALL), tmp_path / "found.parquet"
    path.write_bytes(b"an older file")
    parts: list[PartDone] = []

    def stop(done: PartDone) -> None:
        parts.append(done)
        if done.requests >= 12:
            raise StoppedError

    with pytest.raises(StoppedError):
        recommend_batch(world.recommender, pieces(frame, 25), path, options, fingerprint="a", listener=stop)
    assert path.read_bytes() == b"an older file"
    assert [part.requests for part in parts] == [6, 12]

    asked: list[int] = []
    original = Recommender.search

    def search(self: Recommender, users: list[str], **given: Any) -> Any:
        asked.append(len(users))
        return original(self, users, **given)

    monkeypatch.setattr(Recommender, "search", search)
    report = recommend_batch(world.recommender, pieces(frame, 7), path, options, fingerprint="a", listener=parts.append)
    assert sum(asked) == 25 - 12
    assert (report.requests, report.earlier) == (25, 12)
    assert parts[2:] == [PartDone(18, 12), PartDone(24, 12), PartDone(25, 12)]
    whole = answered(world, frame, tmp_path / "whole.parquet", k=4)
    assert pl.read_parquet(path).equals(whole)


@pytest.mark.parametrize("change", [{"fingerprint": "b"}, {"k": 5}, {"exclude": ("Item 01",)}, {"part_rows": 5}])
def test_parts_of_another_question_are_made_anew(world: Any, change: dict[str, Any], tmp_path: Path) -> None:
    frame, path = pl.DataFrame({"user": USERS}), tmp_path / "found.parquet"

    def stop(_: PartDone) -> None:
        raise StoppedError

    options = BatchOptions(k=4, **SMALL)
    with pytest.raises(StoppedError):
        recommend_batch(world.recommender, pieces(frame, 25), path, options, fingerprint="a", listener=stop)
    fingerprint = change.get("fingerprint", "a")
    others = {**SMALL, "k": 4, **{name: value for name, value in change.items() if name != "fingerprint"}}
    report = recommend_batch(world.recommender, pieces(frame, 25), path, BatchOptions(**others), fingerprint=fingerprint)
    assert report.earlier == 0
    assert pl.read_parquet(path)["row"].n_unique() == 25


def test_a_damaged_account_of_parts_is_no_account(world: Any, tmp_path: Path) -> None:
    folder = tmp_path / ".found.parquet.parts"
    folder.mkdir()
    for text in ("{", "[]", '{"fingerprint": 3}', '{"fingerprint": "a", "parts": "x"}'):
        (folder / "parts.json").write_text(text)
        (folder / "more").mkdir()
        assert answered(world, pl.DataFrame({"user": USERS[:3]}), tmp_path / "found.parquet", k=2).height == 6
        folder.mkdir()


def test_rows_of_which_nothing_is_known(world: Any, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["user-01", "nobody", None, "user-02"]})
    path = tmp_path / "found.parquet"
    with pytest.raises(UnknownIdError, match=r"row 1 of the requests: user 'nobody' is unknown"):
        recommend_batch(world.recommender, pieces(frame, 2), path, BatchOptions(k=2), fingerprint="a")
    assert not path.exists()
    report = recommend_batch(world.recommender, pieces(frame, 2), path, BatchOptions(k=2, on_unknown="skip"), fingerprint="a")
    assert (report.requests, report.skipped, report.recommendations) == (4, 2, 4)
    assert pl.read_parquet(path)["row"].to_list() == [0, 0, 3, 3]


def test_what_makes_no_table_of_requests(world: Any, tmp_path: Path) -> None:
    path, frame = tmp_path / "found.parquet", pl.DataFrame({"user": USERS})

    def ask(rows: pl.DataFrame, output: Path = path, **options: Any) -> None:
        recommend_batch(world.recommender, pieces(rows, 5), output, BatchOptions(**options), fingerprint="a")

    with pytest.raises(ConfigError, match=r"must end in \.parquet or \.csv; came found\.json"):
        ask(frame, tmp_path / "found.json")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match=r"output: must be a file; .*folder\.csv is a folder"):
        ask(frame, tmp_path / "folder.csv")
    (tmp_path / "folder.csv").rmdir()
    with pytest.raises(ConfigError, match="k: must be at least 1; came 0"):
        ask(frame, k=0)
    with pytest.raises(ConfigError, match="history_column: no 'past' among user"):
        ask(frame, history_column="past")
    with pytest.raises(DataError, match="has none of the columns that tell who asks: user, age"):
        ask(pl.DataFrame({"viewer": [1]}))
    with pytest.raises(DataError, match="no rows"):
        ask(frame[:0])
    assert list(tmp_path.iterdir()) == []


def test_frames_that_are_not_alike(world: Any, tmp_path: Path) -> None:
    path = tmp_path / "found.parquet"

    def ask(*frames: pl.DataFrame) -> pl.DataFrame:
        recommend_batch(world.recommender, iter(frames), path, BatchOptions(k=2), fingerprint="a")
        return pl.read_parquet(path)

    whole, other = pl.DataFrame({"user": USERS[:2], "age": [20, 30]}), pl.DataFrame({"age": [30.5], "user": USERS[2:3]})
    requests = [{"users": [user], "features": [{"age": age}]} for user, age in zip(USERS[:3], (20, 30, 30.5), strict=True)]
    assert_same(ask(whole, other), one_by_one(world, requests, k=2))
    with pytest.raises(DataError, match="column 'age' of the requests must have one type; came Int64, and then String"):
        ask(whole, whole.with_columns(pl.col("age").cast(pl.String)))
    with pytest.raises(DataError, match="the same columns; came user, age, and then user"):
        ask(whole, whole.drop("age"))


@pytest.mark.parametrize(
    ("past", "message"),
    [
        (pl.Series([None, {"a": 1}]), r"which are text; it is Struct\(.*\), and row 1 holds \{'a': 1\}"),
        (pl.Series([None, "Item 01"]), "it is String, and row 1 holds 'Item 01'; files of text have no lists"),
        (pl.Series([None, [3]]), r"it is List\(Int64\), and row 1 holds \[3\]"),
        (pl.Series([None, [["Item 01"]]]), r"it is List\(List\(String\)\), and row 1"),
        (pl.Series([["Item 01"], ["Item 01", None]]), "one in row 1 is missing"),
        (pl.Series([["Item 01"], [None]], dtype=pl.Array(pl.String, 1)), "one in row 1 is missing"),
    ],
)
def test_a_history_that_is_no_list_of_ids(world: Any, past: pl.Series, message: str, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": USERS[:2], "past": past})
    with pytest.raises(DataError, match=f"column 'past' of the requests must hold lists of item ids.*{message}"):
        answered(world, frame, tmp_path / "found.parquet", k=2, history_column="past")


@pytest.mark.parametrize(
    "past",
    [
        pl.Series([["Item 01"], None], dtype=pl.List(pl.Categorical)),
        pl.Series([["Item 01"], None], dtype=pl.Array(pl.String, 1)),
        pl.Series([[], None]),
        pl.Series([None, None]),
        pl.Series([None, None], dtype=pl.String),
    ],
)
def test_histories_of_other_types(world: Any, past: pl.Series, tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": USERS[:2], "past": past})
    found = answered(world, frame, tmp_path / "found.parquet", k=2, history_column="past")
    requests = [{"users": [user], "histories": [given]} for user, given in zip(USERS, past.to_list(), strict=False)]
    assert_same(found, one_by_one(world, requests, k=2))


def test_items_beyond_the_catalogue_do_not_make_parts_small(world: Any, tmp_path: Path) -> None:
    parts: list[PartDone] = []
    options = BatchOptions(k=2**40)
    frames = pieces(pl.DataFrame({"user": USERS}), 4)
    recommend_batch(world.recommender, frames, tmp_path / "found.parquet", options, fingerprint="a", listener=parts.append)
    assert parts == [PartDone(25, 0)]
