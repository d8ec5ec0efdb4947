"""Reports of real small runs: of every kind of split and table, side by side, and of what is no run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.errors import BundleError, ConfigError
from twotower.reports import Report, RunContent
from twotower.runs import Recipe, ReportResult, report_runs, run

MakeRecipe = Callable[..., Recipe]
HISTORY = {"kind": "history", "max_length": 5, "embedding": {"dim": 4}}
USER = {"kind": "id", "column": "user", "embedding": {"dim": 4}}


@pytest.fixture(autouse=True)
def sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are at issue here, not their drawing, which costs the most."""
    import sys

    from twotower.reports.draw import Drawing

    write = sys.modules["twotower.reports.write"]
    monkeypatch.setattr(write, "draw", lambda chart: Drawing(f"<svg>{chart.key}</svg>", b""))


@pytest.fixture(scope="module")
def trained(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Trains a run into a folder of its own, once for each recipe."""
    known: dict[str, Path] = {}

    def train(frame: pl.DataFrame = interactions, **sections: Any) -> Path:
        recipe = make_recipe(**{"query": {"features": [USER, HISTORY]}, "model": {"layer_sizes": [4]}, **sections})
        key = f"{recipe.model_dump_json()}{frame.columns}{frame.schema}"
        if key not in known:
            known[key] = run(recipe, tmp_path_factory.mktemp("runs") / f"run-{len(known)}", interactions=frame).folder
        return known[key]

    return train


def only(found: ReportResult) -> RunContent:
    (content,) = found.report.runs
    return content


def test_a_report_holds_the_figures_of_the_run(
    trained: Callable[..., Path], interactions: pl.DataFrame, tmp_path: Path
) -> None:
    folder = trained()
    found = report_runs([folder], tmp_path / "out", baselines=False, interactions=interactions)
    content, result = only(found), json.loads((folder / "result.json").read_text())
    assert Report.model_validate_json((tmp_path / "out" / "report.json").read_text()) == found.report
    assert content.rankers[0].name == "model"
    for ranker in content.rankers:
        figures = result["metrics"]["test"] if ranker.name == "model" else result["baselines"][ranker.name]
        for key, estimate in ranker.included.items():
            assert estimate.value == pytest.approx(figures["seen_included"][key])
        for key, estimate in ranker.removed.items():
            assert estimate.value == pytest.approx(figures["seen_removed"][key])
    assert content.frozen[0].included["recall@5"].value == pytest.approx(
        result["details"]["model"]["frozen"]["seen_included"]["recall@5"]
    )
    assert content.training.epochs[-1].metrics
    assert (content.metric, content.seen) == ("recall@5", "included")
    assert content.diagnosis is not None
    assert len(content.diagnosis.made) + len(content.diagnosis.not_made) >= 12
    best = content.against_baseline[0]
    assert best.first_value == pytest.approx(result["metrics"]["test"]["seen_included"]["recall@5"])
    assert [each.seen for each in content.against_baseline] == ["included", "removed"]
    assert content.facts.hardware["torch threads"].isdigit()
    assert len(content.users_shown) == 3


def test_the_default_place_is_in_the_run_and_the_run_goes_on(
    trained: Callable[..., Path], interactions: pl.DataFrame, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    shutil.copytree(trained(), tmp_path / "run")
    found = report_runs([tmp_path / "run"], baselines=False, diagnosis=False, users=1, interactions=interactions)
    assert found.page == tmp_path / "run" / "report" / "report.html"
    assert only(found).diagnosis is None
    assert len(only(found).users_shown) == 1
    again = report_runs([tmp_path / "run"], baselines=False, diagnosis=False, users=1, interactions=interactions)
    assert again.report == found.report


def test_every_baseline_is_judged_on_the_same_rows(
    trained: Callable[..., Path], interactions: pl.DataFrame, tmp_path: Path
) -> None:
    grids = {"baselines": {"ials": {"factors": [4], "alpha": [1.0], "regularisation": [1.0], "iterations": [2]}}}
    folder = trained(**grids)
    said: list[str] = []
    found = only(report_runs([folder], tmp_path / "out", diagnosis=False, interactions=interactions, tell=said.append))
    result = json.loads((folder / "result.json").read_text())
    names = [ranker.name for ranker in found.rankers]
    assert names[0] == "model"
    assert {"popularity", "random", "recent_popularity", "item_neighbours", "ease"} <= set(names)
    popularity = next(ranker for ranker in found.rankers if ranker.name == "popularity")
    assert popularity.included["recall@5"].value == pytest.approx(
        result["baselines"]["popularity"]["seen_included"]["recall@5"]
    )
    assert {ranker.name for ranker in found.frozen} == set(names)
    assert found.lists is not None
    assert set(found.lists.rankers) == set(names)
    assert any(part.part == "Baseline segment_popularity" for part in found.left_out)
    assert any("ease" in sentence for sentence in said)
    assert next(ranker for ranker in found.rankers if ranker.name == "ease").settings


@pytest.mark.parametrize(
    ("sections", "missing"),
    [
        ({"split": {"validation": 0}}, "Validation while training"),
        ({"refit": "all"}, None),
        ({"refit": "train", "training": {"early_stopping": {"metric": "recall@5 removed"}}}, None),
        ({"training": {"early_stopping": False}, "evaluation": {"validate_on": "test", "ks": [1, 3]}}, None),
        ({"query": {"features": [USER]}, "model": {"layer_sizes": [], "l2_normalise": True}}, None),
        (
            {
                "query": {"features": [{**USER, "embedding": {"dim": 1}}]},
                "candidate": {"features": [{"kind": "id", "column": "item", "embedding": {"dim": 1}}]},
                "model": {"layer_sizes": []},
            },
            "Map of the catalogue",
        ),
    ],
)
def test_every_kind_of_run_has_a_report(
    sections: dict[str, Any], missing: str | None, trained: Callable[..., Path], interactions: pl.DataFrame, tmp_path: Path
) -> None:
    found = only(
        report_runs([trained(**sections)], tmp_path / "out", baselines=False, diagnosis=False, interactions=interactions)
    )
    left_out = {part.part for part in found.left_out}
    assert (missing in left_out) == (missing is not None)
    assert found.curves.ks[-1] == found.catalogue
    if sections.get("training", {}).get("early_stopping") == {"metric": "recall@5 removed"}:
        assert (found.metric, found.seen) == ("recall@5", "removed")
    if "evaluation" in sections:
        assert found.training.validated_on == "test"
        assert any("leaking" in note for note in found.notes)


def test_tables_without_times_have_a_report(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    recipe = make_recipe(split={"kind": "random", "test": 20, "validation": 10, "seed": 0})
    values = recipe.model_dump(mode="json")
    values["data"]["columns"] = {"user": "user", "item": "item", "order": "row"}
    frame = interactions.drop("time")
    folder = run(Recipe.model_validate(values), tmp_path / "run", interactions=frame).folder
    found = only(report_runs([folder], baselines=False, diagnosis=False, interactions=frame))
    assert found.frozen == ()
    assert [user.kind for user in found.users_shown]
    assert {grouping.key for grouping in found.groupings} >= {"popularity"}


def test_runs_of_the_same_rows_are_paired_and_others_are_not(
    trained: Callable[..., Path], interactions: pl.DataFrame, tmp_path: Path
) -> None:
    folders = [trained(), trained(seed=2), trained(split={"test": 10})]
    found = report_runs(
        folders, tmp_path / "out", labels=["a", "b", "c"], baselines=False, diagnosis=False, interactions=interactions
    )
    first, second, third = found.report.runs
    assert (first.against_first, first.not_paired) == (None, None)
    assert second.against_first is not None
    assert (second.against_first.first, second.against_first.second) == ("b", "a")
    assert third.against_first is None
    assert third.not_paired is not None
    assert first.item_map is not None
    assert second.item_map is None
    assert found.report.title == "Report of a and 2 more"
    assert first.facts.recipe["seed"] != second.facts.recipe["seed"]


def test_baselines_are_fitted_once_for_runs_of_the_same_rows(
    trained: Callable[..., Path], interactions: pl.DataFrame, tmp_path: Path
) -> None:
    grids = {"baselines": {"ials": {"factors": [4], "alpha": [1.0], "regularisation": [1.0], "iterations": [2]}}}
    said: list[str] = []
    report_runs(
        [trained(**grids), trained(**grids, seed=2)],
        tmp_path / "out",
        diagnosis=False,
        interactions=interactions,
        tell=said.append,
    )
    assert sum(sentence.startswith("popularity: judging") for sentence in said) == 1


def test_what_is_no_run_is_told(trained: Callable[..., Path], interactions: pl.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle or run folder"):
        report_runs([tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(ConfigError, match="at least one run"):
        report_runs([], tmp_path / "out")
    with pytest.raises(ConfigError, match="--output DIR"):
        report_runs([trained(), trained(seed=2)], interactions=interactions)
    with pytest.raises(ConfigError, match="came 1 for 2 runs"):
        report_runs([trained(), trained(seed=2)], tmp_path / "out", labels=["a"], interactions=interactions)
    with pytest.raises(ConfigError, match="at least 0"):
        report_runs([trained()], tmp_path / "out", users=-1, interactions=interactions)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("")
    with pytest.raises(ConfigError, match="holds other things"):  # before anything is read
        report_runs([tmp_path / "nowhere"], tmp_path / "home", interactions=interactions)
    shutil.copytree(trained(), tmp_path / "old")
    shutil.rmtree(tmp_path / "old" / "judged")
    with pytest.raises(BundleError, match="judge the run again: twotower evaluate"):
        report_runs([tmp_path / "old"], interactions=interactions)
    for name, text, said in (
        ("metrics.jsonl", '{"phase": "select"}\n', "not the records of a training"),
        ("metrics.jsonl", '{"phase": ', "not the records of a training"),
        ("result.json", "{", "damaged"),
        ("result.json", "{}", "not the figures of a run"),
        ("result.json", "[]", "not the figures of a run"),
        ("data.json", "{", "not what a run reports of its tables"),
        ("data.json", None, "missing"),
    ):
        shutil.copytree(trained(), tmp_path / "damaged", dirs_exist_ok=True)
        if text is None:
            (tmp_path / "damaged" / name).unlink()
        else:
            (tmp_path / "damaged" / name).write_text(text)
        with pytest.raises(BundleError, match=said):
            report_runs([tmp_path / "damaged"], baselines=False, diagnosis=False, interactions=interactions)
    assert not (tmp_path / "out").exists()


def test_runs_of_one_name_are_told_apart_by_their_folders(
    trained: Callable[..., Path], interactions: pl.DataFrame, tmp_path: Path
) -> None:
    for name in ("x", "y"):
        shutil.copytree(trained(), tmp_path / name / "seed-1")
    found = report_runs(
        [tmp_path / "x" / "seed-1", tmp_path / "y" / "seed-1"],
        tmp_path / "out",
        baselines=False,
        diagnosis=False,
        interactions=interactions,
    )
    assert [run.label for run in found.report.runs] == ["x/seed-1", "y/seed-1"]
