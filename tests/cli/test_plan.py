"""``twotower plan``: what it prints, what it refuses, and what it takes for a number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from twotower.cli import plan as command
from twotower.planning import DEVICES

SIZES = ("--rows", "1e6", "--users", "1e5", "--items", "2_000", "--no-read")


@pytest.fixture
def recipe(world: Path) -> Path:
    return world / "recipe.toml"


def test_a_plan_of_the_tables_that_are_there(recipe: Path, call: Any) -> None:
    answer = call("plan", recipe)
    assert answer.status == 0, answer.err
    assert "small: 56 rows, 10 users, 8 items" in answer.out
    assert "ranks: 1 x cpu on 1 node; split by rows: no table" in answer.out
    assert "memory of a rank:" in answer.out
    assert "rows/s:" in answer.out
    assert "what takes the most:" in answer.out


def test_a_plan_for_other_sizes_and_devices(recipe: Path, call: Any) -> None:
    split = ("--sharding", "row_wise", "--set", "training.optimizer.kind=rowwise_adagrad")
    answer = call("plan", recipe, *SIZES, "--ranks", 16, "--device", "h200", *split)
    assert answer.status == 0, answer.err
    assert "1,000,000 rows, 100,000 users, 2,000 items" in answer.out
    assert "ranks: 16 x h200 on 2 nodes; split by rows: query/user" in answer.out
    assert "device memory of a rank" in answer.out
    assert "machine's memory of a rank" in answer.out
    assert "all_to_all" in answer.out


def test_explain_says_where_numbers_are_from(recipe: Path, call: Any) -> None:
    plain = call("plan", recipe, *SIZES)
    explained = call("plan", recipe, *SIZES, "--explain")
    assert "more with --explain" in plain.out
    assert "every user has as many rows" in explained.out
    assert "device: one core" in explained.out
    assert "G products" in explained.out
    assert "shares of the peaks" in explained.out
    assert len(explained.out) > len(plain.out)


def test_json_is_one_line(recipe: Path, call: Any) -> None:
    answer = call("plan", recipe, *SIZES, "--ranks", 4, "--json")
    (line,) = answer.out.splitlines()
    found = json.loads(line)
    assert (found["ranks"], found["rows"], found["items"]) == (4, 1_000_000, 2_000)
    assert found["memory"]["host"]["peak_bytes"] > DEVICES["cpu"].process_bytes
    assert answer.err == ""


def test_files_that_do_not_fit_beside_the_ranks_are_told(recipe: Path, call: Any, tmp_path: Path) -> None:
    assert "of a node is left for them\n" in call("plan", recipe, *SIZES).out
    peak = json.loads(call("plan", recipe, *SIZES, "--json").out)["memory"]["host"]["peak_bytes"]
    # a million rows have some 20 MB of columns; 1 MB is left beside the process
    tight = DEVICES["cpu"].model_copy(update={"memory_bytes": peak + 1e6, "host_memory_bytes": peak + 1e6})
    path = tmp_path / "tight.json"
    path.write_text(tight.model_dump_json())
    answer = call("plan", recipe, *SIZES, "--constants", path)
    assert answer.status == 0, answer.err
    assert "1 MB of a node is left for them: too little, so that rows are read from the disk\n" in answer.out


def test_settings_and_lengths_change_the_plan(recipe: Path, call: Any) -> None:
    def planned(*arguments: str) -> Any:
        return json.loads(call("plan", recipe, *SIZES, "--json", *arguments).out)

    before = planned()
    assert planned("--set", "training.batch_size=64")["batch_size"] == 64 != before["batch_size"]
    longer = planned("--mean-length", "history=50")
    assert longer["step"]["feed_bytes"] > before["step"]["feed_bytes"]


def test_no_room_is_a_refusal_that_says_what_would_fit(recipe: Path, call: Any) -> None:
    answer = call("plan", recipe, "--rows", "1e9", "--users", "1e9", "--items", "1e9", "--no-read")
    assert answer.status == 2
    assert answer.out == ""
    assert answer.err.count("\n") == 1
    assert answer.err.startswith("twotower: no plan for 1 rank: a rank needs ")


def test_tables_that_are_local_are_told_to_be_split(recipe: Path, call: Any) -> None:
    sizes = ("--rows", "1e6", "--users", "1e9", "--items", "1e6", "--no-read", "--set", "query.features.0.embedding.dim=512")
    answer = call("plan", recipe, *sizes, "--ranks", 64, "--device", "h200", "--sharding", "local")
    assert answer.status == 2
    assert "tables split by rows (--sharding row_wise)" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--ranks", "0"], "--ranks"),
        (["--ranks", "many"], "--ranks"),
        (["--rows", "-5"], "--rows -5: must be a whole number of at least 1"),
        (["--rows", "nan"], "--rows nan: must be a number"),
        (["--rows", "inf"], "--rows inf: must be a number"),
        (["--rows", "lots"], "--rows lots: must be a number, such as 1e9"),
        (["--users", "1.5"], "--users 1.5: must be a whole number"),
        (["--items", "1e18"], "--items 1000000000000000000: must be from 1 to 1e15"),
        (["--device", "tpu"], "--device tpu: no such device"),
        (["--sharding", "rows"], "--sharding rows: no such way; did you mean 'row_wise'?"),
        (["--constants", "nowhere.json"], "--constants nowhere.json: can't be read"),
        (["--device", "cpu", "--constants", "here.json"], "--device and --constants both"),
        (["--mean-length", "history"], "--mean-length history: write NAME=NUMBER"),
        (["--mean-length", "history=long"], "must be a number"),
        (["--mean-length", "film=3"], "--mean-length film: no text, list or history"),
        (["--vocabulary", "user=2.5"], "--vocabulary user=2.5: must be a whole number"),
        (["--vocabulary", "user=9"], "--vocabulary"),
        (["--measure", "here.json"], "give a recipe to plan for, or --measure"),
        (["--set", "training.batch_siz=3"], "batch_siz"),
    ],
)
def test_wrong_usage_is_one_clear_error(arguments: list[str], said: str, recipe: Path, call: Any) -> None:
    answer = call("plan", recipe, *arguments)
    assert answer.status == 2
    assert said in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err


def test_nothing_to_plan(call: Any, tmp_path: Path) -> None:
    assert call("plan").status == 2
    assert "no recipe at" in call("plan", tmp_path / "none.toml").err


def test_help_names_the_options(call: Any) -> None:
    answer = call("plan", "--help")
    assert answer.status == 0
    for option in (
        "--ranks",
        "--device",
        "--constants",
        "--rows",
        "--users",
        "--items",
        "--sharding",
        "--explain",
        "--measure",
    ):
        assert option in answer.out


def test_what_was_measured_is_planned_with(recipe: Path, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = DEVICES["cpu"].model_copy(update={"name": "mine", "process_bytes": 123_000_000.0})
    monkeypatch.setattr(command, "measure_machine", lambda: measured)
    path = tmp_path / "here.json"
    answer = call("plan", "--measure", path)
    assert answer.status == 0, answer.err
    assert f"written to {path}" in answer.out
    planned = call("plan", recipe, *SIZES, "--constants", path, "--json")
    parts = {part["what"]: part["bytes"] for part in json.loads(planned.out)["memory"]["parts"]}
    assert parts["process"] == 123_000_000
    assert json.loads(call("plan", "--measure", path, "--json").out)["name"] == "mine"


@pytest.mark.parametrize(("seconds", "text"), [(90.0, "90 s"), (150, "2.5 min"), (7300, "2.03 h"), (0.5e-6, "0.5 us")])
def test_times_are_written_in_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert command._seconds(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(999, "999 B"), (999_600, "1 MB"), (1e15, "1,000 TB"), (0, "0 B")])
def test_sizes_are_written_in_decimal_units(size: float, text: str) -> None:
    assert command._size(size) == text


def test_tables_are_split_as_the_recipe_says_and_where_it_does_not_it_is_told_how(recipe: Path, call: Any) -> None:
    sizes = (*SIZES, "--ranks", 2)
    split = ("--set", "training.sharding=row_wise", "--set", "training.optimizer.kind=rowwise_adagrad")
    said = call("plan", recipe, *sizes, *split)
    assert "split by rows: query/user" in said.out
    assert "to train so" not in said.out
    auto = call("plan", recipe, *sizes)
    assert "split by rows: no table" in auto.out
    assert "to train so" not in auto.out
    asked = call("plan", recipe, *sizes, "--sharding", "row_wise", *split[2:])
    assert f"to train so: twotower train {recipe} --set training.sharding=row_wise --ranks 2" in asked.out
    wrong = call("plan", recipe, *sizes, "--sharding", "row_wise")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "split tables are trained by row-wise Adagrad, and came adagrad: set optimizer.kind" in wrong.err


def test_large_tables_that_can_not_be_split_are_planned_whole_and_it_is_said_why(recipe: Path, call: Any) -> None:
    sizes = ("--rows", "1e8", "--users", "1e7", "--items", "2000", "--ranks", 2, "--device", "h200")
    found = call("plan", recipe, *sizes)
    assert found.status == 0, found.err
    assert "split by rows: no table\ntables are whole on every rank: " in found.out
    assert "came adagrad" in found.out
    assert "to train so" not in found.out
    able = call("plan", recipe, *sizes, "--set", "training.optimizer.kind=rowwise_adagrad")
    assert "split by rows: query/user" in able.out
    assert "tables are whole" not in able.out
