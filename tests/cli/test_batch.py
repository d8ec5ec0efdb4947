"""``twotower recommend --input`` and ``--all-users``."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from twotower.recommender import Recommender

Call = Callable[..., tuple[int, str, str]]


def test_all_users(call: Call, finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "recs.parquet"
    status, out, err = call("recommend", finished, "--all-users", "--output", path, "-k", "3", "--include-seen", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert {"requests": 10, "answered_earlier": 0, "recommendations": 30, "skipped": 0}.items() <= found.items()
    frame, recommender = pl.read_parquet(path), Recommender.load(finished)
    assert frame["user"].unique(maintain_order=True).to_list() == recommender.users.table.ids.to_list()
    one = recommender.recommend(["u4"], k=3, exclude_seen=False).frame
    assert frame.filter(pl.col("user") == "u4")["film"].to_list() == one["film"].to_list()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_of_a_table(call: Call, finished: Path, tmp_path: Path, suffix: str) -> None:
    rows = pl.DataFrame({"user": ["u1", "u7", "who"], "age": [None, 33, 21], "town": ["a", "b", "c"]})
    source, path = tmp_path / f"asked{suffix}", tmp_path / "recs.csv"
    rows.write_csv(source) if suffix == ".csv" else rows.write_parquet(source)
    status, out, err = call("recommend", finished, "--input", source, "--output", path, "-k", "4")
    assert (status, err) == (0, "")
    assert out.startswith(f"{path}: ")
    assert "not read by the query: town" in out
    found, recommender = pl.read_csv(path), Recommender.load(finished)
    expected = recommender.recommend(["u1", "u7", "who"], features=rows.select("age"), k=4).frame
    assert found["row"].to_list() == expected["query"].to_list()
    assert found["film"].to_list() == expected["film"].to_list()


def test_rows_without_an_answer_are_counted(call: Call, finished: Path, tmp_path: Path) -> None:
    source, path = tmp_path / "asked.csv", tmp_path / "recs.parquet"
    source.write_text("user\nu1\nwho\n")
    status, out, err = call("recommend", finished, "--input", source, "--output", path)
    assert (status, out) == (1, "")
    assert "row 1 of the requests: user 'who' is unknown" in err
    assert not path.exists()
    status, out, _ = call("recommend", finished, "--input", source, "--output", path, "--skip-unknown")
    assert status == 0
    assert "1 have no answer: nothing is known of the user" in out


@pytest.mark.parametrize("spelled", ["asked.csv", "../here/asked.csv", "link.csv"])
def test_the_input_is_not_overwritten(
    call: Call, finished: Path, tmp_path: Path, spelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "asked.csv").write_text("user\nu1\n")
    (folder / "link.csv").symlink_to(folder / "asked.csv")
    for source in ("asked.csv", "*sked.csv"):
        status, out, err = call("recommend", finished, "--input", source, "--output", spelled)
        assert (status, out) == (2, "")
        assert f"--output: {spelled} is what is read, and would be lost" in " ".join(err.split())
    assert (folder / "asked.csv").read_text() == "user\nu1\n"


TIMES = [datetime(2020, 9, 13, 13), datetime(2020, 9, 14)]


GIVEN = [
    pl.Series(TIMES),
    pl.Series(TIMES).dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
    pl.Series(TIMES).cast(pl.Date),
    pl.Series([1_600_000_000.5, 1_600_100_000.0]),
    pl.Series([1_600_000_000.5, None]),
    pl.Series([1_600_000_000, 1_600_100_000], dtype=pl.UInt32),
]


@pytest.mark.parametrize(
    ("suffix", "times"),
    [*((".parquet", times) for times in GIVEN), *((".csv", times) for times in GIVEN if times.dtype.is_numeric())],
)
def test_times_that_a_single_request_may_have(
    call: Call, finished: Path, tmp_path: Path, times: pl.Series, suffix: str
) -> None:
    if suffix == ".csv" and times.dtype.is_temporal():
        pytest.skip("times of files of text are Unix seconds")
    rows = pl.DataFrame({"user": ["u1", "u7"], "time": times})
    source, path = tmp_path / f"asked{suffix}", tmp_path / "recs.parquet"
    rows.write_csv(source) if suffix == ".csv" else rows.write_parquet(source)
    status, _, err = call("recommend", finished, "--input", source, "--output", path, "-k", "4")
    assert (status, err) == (0, "")
    found, recommender = pl.read_parquet(path), Recommender.load(finished)
    expected = recommender.recommend(["u1", "u7"], features=rows.select("time"), k=4).frame
    assert found["film"].to_list() == expected["film"].to_list()
    assert (found["score"] - expected["score"]).abs().max() < 1e-5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            pl.DataFrame({"user": ["u1", "u2"], "time": ["1600000000", "2020-09-13"]}),
            "row 1 of the requests: column 'time' must hold numbers (a time in Unix seconds), as in training; came '2020-",
        ),
        (
            pl.DataFrame({"user": ["u1", "u2"], "age": ["20", "old"]}),
            "row 1 of the requests: column 'age' must hold numbers, as in training; came 'old'",
        ),
    ],
)
def test_values_of_another_type(call: Call, finished: Path, tmp_path: Path, rows: pl.DataFrame, message: str) -> None:
    rows.write_csv(tmp_path / "asked.csv")
    status, out, err = call("recommend", finished, "--input", tmp_path / "asked.csv", "--output", tmp_path / "recs.csv")
    assert (status, out) == (1, "")
    assert message in " ".join(err.split())


def test_users_that_are_lists(call: Call, finished: Path, tmp_path: Path) -> None:
    pl.DataFrame({"user": [["u1"]]}).write_parquet(tmp_path / "asked.parquet")
    status, out, err = call("recommend", finished, "--input", tmp_path / "asked.parquet", "--output", tmp_path / "recs.csv")
    assert (status, out) == (1, "")
    assert "row 0 of the requests: column 'user' must hold text, as in training; came ['u1']" in " ".join(err.split())


@pytest.mark.parametrize(
    ("options", "message", "expected"),
    [
        (("--all-users",), "say where the recommendations go: --output", 2),
        (("--all-users", "--output", "recs.json"), "must end in .parquet or .csv", 2),
        (("--all-users", "--user", "u1", "--output", "recs.csv"), "--user: can't be asked together with --all-users", 2),
        (("--all-users", "--input", "a.csv", "--output", "recs.csv"), "--all-users: can't be asked together with --input", 2),
        (("--user", "u1", "--output", "recs.csv"), "--output: goes with --input or --all-users", 2),
        (("--user", "u1", "--skip-unknown"), "--skip-unknown: goes with --input or --all-users", 2),
        (("--input", "nowhere.csv", "--output", "recs.csv"), "requests nowhere.csv: no such file", 1),
        (("--all-users", "--output", "recs.csv", "--only", "film 99"), "film 99", 1),
    ],
)
def test_what_does_not_go_together(
    call: Call,
    finished: Path,
    options: tuple[str, ...],
    message: str,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = call("recommend", finished, *options)
    assert (status, out) == (expected, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []
