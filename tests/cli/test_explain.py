"""``twotower train --explain``: what it prints, and that it does nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]


def test_tables_loss_feed_evaluation_and_memory_are_told(
    call: Call, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = call("train", world / "recipe.toml", "--explain")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "small: 56 rows train, 8 validate, 16 test; 10 users, 8 items"
    assert lines[1].startswith("training: on cpu, ")
    assert lines[1].endswith("at most 2 epochs of 4 steps, 16 rows each")
    table = next(line for line in lines if line.startswith("query/user")).split()
    assert table[2:] == ["4", table[3], "dense", "Adagrad", "0.1", *["less", "than", "524,288", "numbers"]]
    for start in (
        "other parameters: ",
        "loss: FullSoftmax over 8 items; tiles by ",
        "negatives: 7.0 draws of 7.0 other items",
        "feed: ",
        "memory: parameters ",
    ):
        assert [line for line in lines if line.startswith(start)], start
    evaluation = next(line for line in lines if line.startswith("evaluation: "))
    assert "8 validation rows every epoch, which choose the best epoch by recall@3; 16 test rows at the end" in evaluation
    assert "hint" not in out
    assert list(tmp_path.iterdir()) == []


def test_json_says_the_same(call: Call, world: Path) -> None:
    status, out, _ = call("train", world / "recipe.toml", "--explain", "--json", "--refit", "train")
    assert (status, out.count("\n")) == (0, 1)
    found = json.loads(out)
    assert (found["device"], found["rows"], found["training"]["refit"]) == (
        "cpu",
        {"train": 56, "validation": 8, "test": 16},
        "train",
    )
    assert [table["update"] for table in found["tables"]] == ["dense"] * 3


def test_the_counts_of_a_sketch_are_told_with_their_memory(call: Call, world: Path) -> None:
    status, out, _ = call("train", world / "recipe.toml", "--explain", "--set", "loss.sketch={width=1024,depth=2}")
    assert status == 0
    told = "corrected for sampling by a count-min sketch of the batches so far (2 rows of 1,024 counters, 8 KiB); tiles by"
    assert told in out
    assert "sketch" not in call("train", world / "recipe.toml", "--explain", "--set", "loss.kind=in_batch")[1]


def test_a_hint_where_updates_by_rows_would_be_quicker(call: Call, world: Path, tmp_path: Path) -> None:
    recipe = (world / "recipe.toml").read_text().replace("[model]", "[training.optimizer]\nkind = 'adamw'\n[model]", 1)
    recipe = recipe.replace('column = "user"\n', 'column = "user"\nhash_buckets = 200000\n').replace(
        '"items.csv"', f'"{world}/items.csv"'
    )
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.replace('"interactions.csv"', f'"{world}/interactions.csv"'))
    status, out, err = call("train", path, "--explain")
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].startswith("hint: updates by rows would be quicker for query/user: ")
    status, out, err = call("train", path, "--explain", "--set", "model.propagation.layers=1")
    assert (status, err) == (0, "")
    assert "hint" not in out
    assert "propagation: query/user and candidate/film, 1 layer over " in out
    assert "propagation:" not in call("train", path, "--explain")[1]


@pytest.mark.parametrize("option", [["--resume"], ["--overwrite"], ["--tensorboard"], ["--run-dir", "x"]])
def test_options_of_a_run_have_no_meaning_with_it(option: list[str], call: Call, world: Path) -> None:
    status, out, err = call("train", world / "recipe.toml", "--explain", *option)
    assert (status, out) == (2, "")
    assert f"leave {option[0]} out" in err


def test_going_on_from_a_run_is_explained_trained_and_inspected(call: Call, world: Path, tmp_path: Path) -> None:
    recipe, monday, tuesday = world / "recipe.toml", tmp_path / "monday", tmp_path / "tuesday"
    assert call("train", recipe, "--run-dir", monday)[0] == 0
    again = ("--set", "warm_start.rows=all")
    status, out, _ = call("train", recipe, "--explain", "--from", monday, *again)
    assert status == 0
    assert f"goes on from {monday}, which knows 56 of the train rows; learns from 0 new ones and 56 known ones once more" in out
    line = next(line for line in out.split("dropped")[1].splitlines() if line.startswith("query/user")).split()
    assert line[2:] == ["0", "0"]
    assert "carried besides: query tower, candidate tower" in out
    assert "optimiser: goes on" in out.splitlines()
    facts = json.loads(call("train", recipe, "--explain", "--json", "--from", monday, *again)[1])
    assert facts["warm_start"]["rows"]["known"] == 56
    status, out, err = call("train", recipe, "--run-dir", tuesday, "--from", monday, *again)
    assert status == 0, err
    said = f"went on from {monday}: knew 56 train rows, learned from 56"
    assert said in out
    assert said in call("inspect", tuesday)[1]
    assert f"goes back to: {monday} (train rows" in call("inspect", tuesday / "bundle")[1]
    assert "goes back" not in call("inspect", monday / "bundle")[1]
    status, _, err = call("train", recipe, "--run-dir", tmp_path / "none", "--from", tmp_path / "nowhere")
    assert status != 0
    assert "--from no bundle or run folder at" in err
    status, _, err = call("train", recipe, "--run-dir", tmp_path / "none", "--from", monday)
    assert status != 0
    assert "learned from all 56 train rows of this run already" in err
