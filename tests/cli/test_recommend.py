"""``twotower recommend`` and ``similar``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from twotower.cli.recommend import _print as print_rows
from twotower.recommender import Recommender

Call = Callable[..., tuple[int, str, str]]


def test_a_known_user_without_what_was_seen(call: Call, finished: Path) -> None:
    status, out, err = call("recommend", finished, "--user", "u1", "-k", "3", "--json")
    assert (status, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out)
    expected = Recommender.load(finished).recommend(["u1"], k=3).frame
    assert [item["film"] for item in found["items"]] == expected["film"].to_list()
    assert (found["user"], [item["rank"] for item in found["items"]]) == ("u1", list(range(1, expected.height + 1)))
    assert not {item["film"] for item in found["items"]} & set(found["history"])
    assert found["assumed"] == {"time": 1_600_000_000 + 1000 * 55}


def test_every_option_changes_the_answer(call: Call, finished: Path) -> None:
    def films(*options: str) -> list[str]:
        return [item["film"] for item in json.loads(call("recommend", finished, "-k", "8", "--json", *options)[1])["items"]]

    usual = films("--user", "u1")
    assert set(films("--user", "u1", "--include-seen")) > set(usual)
    assert films("--user", "u1", "--exclude", usual[0]) == usual[1:]
    assert films("--user", "u1", "--only", usual[-1]) == usual[-1:]
    assert len(films("--query", "age=25")) == 8
    assert "film 3" not in films("--query", "age=25", "--history", "film 3")
    assert films("--history", "film 1", "--history", "film 2") == films("--history", "film 2", "--history", "film 1")

    def scores(*options: str) -> list[float]:
        return [item["score"] for item in json.loads(call("recommend", finished, "--json", *options)[1])["items"]]

    assert scores("--query", "age=20") != scores("--query", "age=29")
    assert scores("--query", "age=20,time=1600000000") == scores("--query", '{"age": 20, "time": 1600000000}')
    # a time as a person writes it: 1600000000 is 2020-09-13T12:26:40Z
    assert scores("--query", "age=20,time=2020-09-13T12:26:40Z") == scores("--query", "age=20,time=1600000000")
    assert scores("--query", '{"age": 20, "time": "2020-09-13 14:26:40+02:00"}') == scores("--query", "age=20,time=1600000000")
    assert scores("--query", "age=20,time=2020-09-13") != scores("--query", "age=20,time=2020-09-14")
    assert scores("--query", "age=20", "--query", "time=1600000000") == scores("--query", "age=20,time=1600000000")


def test_a_time_that_is_none(call: Call, finished: Path) -> None:
    status, out, err = call("recommend", finished, "--query", "time=tomorrow")
    assert (status, out) == (2, "")
    assert err == "twotower: --query time=tomorrow: 'time' is a time; write 2024-01-31, 2024-01-31T08:30:00Z or Unix seconds\n"


def test_the_table_shows_history_recommendations_and_what_was_assumed(call: Call, finished: Path) -> None:
    status, out, err = call("recommend", finished, "--user", "u1", "-k", "2")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    chosen = Recommender.load(finished).history("u1")
    assert lines[0].startswith(f"user u1 chose ({len(chosen)} items")
    assert lines[1] == f"  {chosen[-1]}"
    assert lines[lines.index("recommended:") + 1].split() == ["rank", "score", "film", "genres"]
    assert lines[-1] == "assumed: time = 1600055000 (the end of train)"
    assert all(line == line.rstrip() for line in lines)


def test_somebody_never_seen(call: Call, finished: Path) -> None:
    status, out, err = call("recommend", finished, "--query", "age=21", "-k", "2")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == ["for somebody never seen: age = 21", "", "recommended:"]
    assert lines[-1] == "assumed: time = 1600055000 (the end of train)"
    found = json.loads(call("recommend", finished, "--user", "new", "--query", "age=21", "--json")[1])
    assert (found["user"], found["history"], found["missing"]) == ("new", [], [])
    assert found["items"] == json.loads(call("recommend", finished, "--query", "age=21", "--json")[1])["items"]
    assert call("recommend", finished, "--user", "new", "--query", "age=21")[1].startswith(
        "for somebody never seen: age = 21\n"
    )
    assert call("recommend", finished, "--history", "film 1")[1].startswith(
        "for somebody never seen\n\nwho has the given history"
    )
    assert "never seen" not in call("recommend", finished, "--user", "u1", "--query", "age=21")[1]


def test_what_was_not_given_is_said(call: Call, world: Path, tmp_path: Path) -> None:
    text = (world / "recipe.toml").read_text().replace('column = "age"', 'column = "age"\nmissing = "own"')
    for name in ("interactions", "items"):
        text = text.replace(f'path = "{name}.csv"', f'path = "{world}/{name}.csv"')
    (tmp_path / "recipe.toml").write_text(text)
    assert call("train", tmp_path / "recipe.toml", "--run-dir", tmp_path / "run")[0] == 0

    def asked(*options: str) -> list[str]:
        found: list[str] = json.loads(call("recommend", tmp_path / "run", "--json", *options)[1])["missing"]
        return found

    assert asked("--history", "film 1") == ["age"]
    assert asked("--query", "time=1600000000", "--user", "new") == ["age"]
    assert asked("--query", "age=3") == []
    assert asked("--query", '{"age": null}') == ["age"]
    assert asked("--user", "u1") == []
    lines = call("recommend", tmp_path / "run", "--history", "film 1")[1].splitlines()
    assert lines[-2:] == ["assumed: time = 1600055000 (the end of train)", "not given, so taken as missing: age"]


def test_long_cells_are_not_cut_where_stdout_is_no_terminal(call: Call, finished: Path) -> None:
    out = call("recommend", finished, "--user", "u1", "--include-seen")[1]
    assert "Drama, long, and very sad indeed" in out


def test_similar_items_leave_out_the_item(call: Call, finished: Path) -> None:
    status, out, err = call("similar", finished, "--item", "film 3", "-k", "100", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["item"] == "film 3"
    assert sorted(item["film"] for item in found["items"]) == [f"film {f}" for f in range(8) if f != 3]
    assert all(-1.001 <= item["score"] <= 1.001 for item in found["items"])
    assert "like film 3" in call("similar", finished, "--item", "film 3")[1]


def test_integer_ids(call: Call, world: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(world / "interactions.csv")
    numbers = frame.with_columns(
        pl.col("user").str.strip_prefix("u").cast(int), pl.col("film").str.strip_prefix("film ").cast(int)
    )
    numbers.write_csv(tmp_path / "interactions.csv")
    text = (world / "recipe.toml").read_text().replace('[data.items]\npath = "items.csv"\n', "")
    (tmp_path / "recipe.toml").write_text(text)
    assert call("train", tmp_path / "recipe.toml", "--run-dir", tmp_path / "run")[0] == 0
    assert json.loads(call("recommend", tmp_path / "run", "--user", "3", "--json")[1])["user"] == 3
    status, _, err = call("recommend", tmp_path / "run", "--user", "ann")
    assert (status, err) == (2, "twotower: --user ann: the ids are integers\n")


def test_a_misspelt_item_of_the_history_is_not_passed_over(call: Call, finished: Path) -> None:
    status, out, err = call("recommend", finished, "--history", "film 1", "--history", "flim 3")
    assert (status, out) == (1, "")
    assert "--history: no item 'flim 3'" in err
    assert "did you mean 'film" in err


def test_numbers_are_shown_with_as_many_digits_as_they_have(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pl.DataFrame(
        {"rank": [1], "score": [1.25], "film": ["a"], "place": [2.4641], "age": [24.0], "year": [1999]},
        schema_overrides={"place": pl.Float32},
    )
    print_rows("liked:", rows)
    assert capsys.readouterr().out.split("\n")[2].split() == ["1", "1.250", "a", "2.4641", "24", "1999"]
