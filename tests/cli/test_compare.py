"""``twotower compare``: grids from the command line, what it prints, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from twotower.cli.compare import _LiveTable, _progress
from twotower.runs import read_recipe
from twotower.runs.compare import comparison_tasks


class Answer(NamedTuple):
    status: int
    out: str
    err: str


Call = Callable[..., Answer]
OVER = ("--over", "model.layer_sizes=[2];[8, 4]")


def test_a_grid_is_trained_ranked_and_told(call: Call, world: Path, tmp_path: Path) -> None:
    options = (*OVER, "--seeds", "2", "--jobs", "1", "--baseline", "popularity", "--baseline", "ease")
    answer = call("compare", world / "recipe.toml", *options, "--run-dir", tmp_path / "grid")
    assert answer.status == 0, answer.err
    assert answer.err == ""  # no terminal, no progress
    lines = answer.out.splitlines()
    assert lines[0] == "small: recall@3, seen items included, 16 test rows of 10 users, training seeds 1, 2"
    table = [line.split() for line in lines if line.strip()[:1].isdigit()]
    assert [row[0] for row in table[:4]] == ["1", "2", "3", "4"]
    for name in ("layer_sizes=[2]", "layer_sizes=[8, 4]", "popularity (baseline)", "ease (baseline)"):
        assert sum(name in line for line in lines[:12]) >= 1
    assert any("frozen at the cut" in line for line in lines)
    said = [line for line in lines if "is better than" in line or "no difference that this test set can show" in line]
    assert len(said) == 3  # the two settings, and each with the best baseline
    assert any("corrected after Holm: 1 of settings and 4 with baselines" in line for line in lines)
    assert f"figures: {tmp_path / 'grid' / 'compare.json'}" in lines
    assert f"report:  {tmp_path / 'grid' / 'report' / 'report.html'}" in lines
    page = json.loads((tmp_path / "grid" / "report" / "report.json").read_text())
    assert [run["label"] for run in page["runs"]] == [
        "layer_sizes=[2], seed 1", "layer_sizes=[2], seed 2", "layer_sizes=[8, 4], seed 1", "layer_sizes=[8, 4], seed 2",
    ]  # fmt: skip
    assert {ranker["name"] for ranker in page["runs"][0]["rankers"]} == {"model", "popularity", "ease"}
    again = call("compare", world / "recipe.toml", *options, "--run-dir", tmp_path / "grid", "--no-report", "--json")
    summary = json.loads(again.out)
    assert summary["seeds"] == [1, 2]
    assert list(summary["settings"]) == ["layer_sizes=[2]", "layer_sizes=[8, 4]"]


def test_what_to_rank_by_can_be_said(call: Call, world: Path, tmp_path: Path) -> None:
    options = (
        *OVER,
        "--jobs",
        "1",
        "--baseline",
        "popularity",
        "--metric",
        "ndcg@5",
        "--seen",
        "removed",
        "--no-report",
        "--json",
    )
    answer = call("compare", world / "recipe.toml", *options, "--run-dir", tmp_path / "grid")
    summary = json.loads(answer.out)
    assert not (tmp_path / "grid" / "report").exists()
    assert (summary["metric"], summary["seen"]) == ("ndcg@5", "removed")
    (group,) = summary["groups"]
    figures = group["views"]["all"]["seen_removed"]["figures"]
    assert all(entry["mean"] == pytest.approx(figures[entry["name"]]["ndcg@5"]) for entry in group["rankers"])
    assert [entry["mean"] for entry in group["rankers"]] == sorted((e["mean"] for e in group["rankers"]), reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--over is missing"),
        (("--over", "model.layer_sizes"), "write key=value;value"),
        (("--over", "model.layer_sizes=[2];[-2]"), "layer_sizes=[-2]"),
        (("--over", "model.layersizes=[2];[3]"), "layersizes"),
        (("--over", "seed=1;2"), "say how many with --seeds"),
        ((*OVER, "--set", "model.layer_sizes=[3]"), "--over gives it other values"),
        ((*OVER, "--seen", "both"), "included or removed"),
        ((*OVER, "--baseline", "easy"), "no baseline 'easy'"),
        ((*OVER, "--metric", "recall"), "recall@K, ndcg@K or mrr"),
        ((*OVER, "--seeds", "0"), "--seeds"),
    ],
)
def test_wrong_usage_is_one_message(call: Call, world: Path, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    answer = call("compare", world / "recipe.toml", *options, "--run-dir", tmp_path / "grid", "--jobs", "1")
    assert answer.status == 2
    assert message in answer.err
    assert answer.out == ""
    assert not (tmp_path / "grid").exists()


def test_the_live_table_takes_labels_as_they_are(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    tasks = comparison_tasks({"a=[/b]": read_recipe(world / "recipe.toml")}, tmp_path, [1])["a=[/b]"]
    with _LiveTable(tasks, "recall@3") as table:
        table.say("segment [/c] it is")
        shown = capsys.readouterr().err
    assert "a=[/b]" in shown
    assert "segment [/c] it is" in shown


def test_progress_is_read_from_the_folders(call: Call, world: Path, finished: Path, tmp_path: Path) -> None:
    recipe = read_recipe(world / "recipe.toml")
    (task,) = comparison_tasks({"m": recipe}, tmp_path, [1])["m"]
    assert _progress(task, "recall@3") == ("waiting", "", "", "")
    task.folder.mkdir(parents=True)
    (task.folder / "recipe.json").write_bytes((finished / "recipe.json").read_bytes())
    assert _progress(task, "recall@3") == ("starting", "", "", "")
    (task.folder / "metrics.jsonl").write_text("")  # as it is until the first epoch ends
    assert _progress(task, "recall@3") == ("starting", "", "", "")
    for name in ("recipe.json", "metrics.jsonl"):
        (task.folder / name).write_bytes((finished / name).read_bytes())
    state, epoch, loss, figure = _progress(task, "recall@3")
    assert (state, epoch) == ("training", "2 of 2")
    assert float(loss) > 0
    assert 0 <= float(figure) <= 1
    (task.folder / "result.json").write_bytes((finished / "result.json").read_bytes())
    assert _progress(task, "recall@3")[0] == "done"
