from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.cli.outcome_lines import outcome_lines
from twotower.runs import parse_recipe, run


def figures(rmse: float, mae: float, *, interval: bool = True) -> dict[str, Any]:
    return {"rmse": rmse, "mae": mae, "intervals": {"rmse": [rmse - 0.01, rmse + 0.02], "mae": [0, 1]} if interval else {}}


def judged(interval: bool = True, low: float = -0.02, high: float = -0.01, **groups: Any) -> dict[str, Any]:
    return {
        "groups": groups,
        "rows": 19_990,
        "not_judged": 10,
        "model": figures(0.9123, 0.7, interval=interval),
        "mean": figures(1.1, 0.9, interval=interval),
        "damped_means": figures(0.95, 0.75, interval=interval),
        "differences": {"damped_means": {"mean_squared_error": -0.015, "interval": [low, high], "p_value": 0.01}}
        if interval
        else {},
    }


def test_lines_hold_every_figure() -> None:
    lines = outcome_lines("stars", judged())
    assert lines[0] == "stars as predicted for 19,990 test rows (smaller is better; 10 can't be judged)"
    assert lines[1].split() == ["rmse", "95%", "from", "to", "mae"]
    assert [line.split() for line in lines[2:5]] == [
        ["model", "0.9123", "0.9023", "0.9323", "0.7000"],
        ["damped", "means", "0.9500", "0.9400", "0.9700", "0.7500"],
        ["mean", "1.1000", "1.0900", "1.1200", "0.9000"],
    ]
    assert lines[5] == "  model against damped means: better (squared error -0.0200 to -0.0100)"
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.1, 0.1, "no difference that these rows can show"), (0.1, 0.2, "worse"), (-0.2, -0.1, "better")],
)
def test_the_verdict_is_of_the_interval(low: float, high: float, verdict: str) -> None:
    assert outcome_lines("stars", judged(low=low, high=high))[-1].startswith(f"  model against damped means: {verdict} (")


def test_warm_and_cold_users_apart() -> None:
    warm, cold = (
        {"rows": rows, "model": figures(model, 0.5), "damped_means": figures(means, 0.5), "mean": figures(1.5, 1.0)}
        for rows, model, means in ((14_000, 0.9, 0.95), (5990, 1.1, 1.05))
    )
    assert outcome_lines("stars", judged(warm=warm, cold=cold))[5:7] == [
        "  rmse, users with train rows (14,000 rows): model 0.9000, means 0.9500",
        "  rmse, users without train rows (5,990 rows): model 1.1000, means 1.0500",
    ]


def test_without_draws_there_are_no_intervals() -> None:
    lines = outcome_lines("stars", judged(interval=False))
    assert lines[2].split() == ["model", "0.9123", "0.7000"]
    assert len(lines) == 5


def test_without_rows_a_sentence_says_so() -> None:
    assert outcome_lines("stars", {"rows": 0, "not_judged": 4}) == ["stars: no test row has one, so nothing was judged"]


def test_the_verdict_of_a_run_ends_with_its_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from twotower.cli.verdict import print_verdict

    recipe = parse_recipe(
        {
            "name": "small",
            "device": "cpu",
            "data": {"columns": {"user": "user", "item": "item", "time": "time"}},
            "query": {"features": [{"kind": "id", "column": "user", "embedding": {"dim": 4}}]},
            "candidate": {"features": [{"kind": "id", "column": "item", "embedding": {"dim": 4}}]},
            "tasks": [{"name": "stars", "column": "rating"}],
            "training": {"epochs": 1, "early_stopping": False},
            "evaluation": {"ks": [1, 3], "draws": 10},
        }
    )
    rows = [(u, (3 * u + 5 * s) % 8, s) for s in range(8) for u in range(10)]
    table = pl.DataFrame(
        {
            "user": [u for u, _, _ in rows],
            "item": [i for _, i, _ in rows],
            "time": range(80),
            "rating": [i % 5 for _, i, _ in rows],
        }
    )
    summary = run(recipe, tmp_path / "run", interactions=table).summary
    print_verdict(summary)
    lines = capsys.readouterr().out.splitlines()
    expected = outcome_lines("stars", summary["outcomes"]["stars"])
    assert lines[-len(expected) - 2 :] == ["", *expected, ""]
