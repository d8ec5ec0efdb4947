"""The study: values by seed, giving up, interruptions, damage."""

from __future__ import annotations

import importlib
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from twotower.errors import ConfigError, MissingExtraError, StoreError
from twotower.runs.optuna_study import Study, create_study, open_study, optuna_library, storage_faults
from twotower.runs.trial_record import TrialEnd
from twotower.runs.tune_config import TuneKeyConfig

SPACE = {
    "rate": TuneKeyConfig(low=1e-4, high=1e-1, log=True),
    "layers": TuneKeyConfig(choices=((8,), (16, 8))),
    "dropout": TuneKeyConfig(low=0.0, high=0.5, step=0.1),
    "count": TuneKeyConfig(low=1, high=64, log=True),
}


@pytest.fixture
def optuna() -> Any:
    return pytest.importorskip("optuna")


def opened(path: Path, **changes: Any) -> Study:
    if not path.exists():
        create_study(path, {"of": "this"}, smaller=changes.pop("smaller", False))
    options: dict[str, Any] = {"seed": 3, "pruner": "none", "epochs": 4, "every": 1, "parallel": False, **changes}
    return open_study(path, SPACE, **options)


def value_of(settings: dict[str, Any]) -> float:
    return float(settings["dropout"]) + 0.01 * int(settings["count"]) - abs(float(settings["rate"]) - 0.01)


def play(study: Study, trials: int) -> list[dict[str, Any]]:
    asked = []
    for _ in range(trials):
        number, settings = study.ask()
        asked.append(settings)
        study.report(number, 1, value_of(settings))
        study.tell(number, TrialEnd("done", value_of(settings), 1, 1))
    return asked


def test_values_are_those_of_the_space_and_of_the_seed(optuna: Any, tmp_path: Path) -> None:
    first = play(opened(tmp_path / "a.sqlite"), 14)
    assert all(SPACE[key].holds(value) for settings in first for key, value in settings.items() if key != "dropout")
    assert {round(10 * settings["dropout"]) for settings in first} <= set(range(6))
    assert all(len(f"{settings['rate']:g}".replace(".", "").replace("e-05", "").lstrip("0")) <= 4 for settings in first)
    assert isinstance(first[0]["layers"], tuple)
    assert play(opened(tmp_path / "b.sqlite"), 14) == first
    assert play(opened(tmp_path / "c.sqlite", seed=4), 3) != first[:3]


def test_an_interrupted_study_goes_on_as_if_it_had_not_been(optuna: Any, tmp_path: Path) -> None:
    whole = play(opened(tmp_path / "whole.sqlite"), 14)
    path = tmp_path / "cut.sqlite"
    study = opened(path)
    begun = play(study, 11)
    number, lost = study.ask()
    study.report(number, 1, 0.1)
    study.close()  # as good as killed: the trial is left running
    study = opened(path)
    assert study.records()[11].state == "running"
    assert study.requeue() == [11]
    assert study.requeue() == []
    assert [record.state for record in study.records()[11:]] == ["interrupted", "waiting"]
    again = play(study, 3)
    assert again[0] == lost
    assert [*begun, *again] == whole
    assert study.records()[12].again == 11
    assert not study.records()[11].counts


def test_the_recipe_itself_is_tried_first_with_its_exact_values(optuna: Any, tmp_path: Path) -> None:
    study = opened(tmp_path / "own.sqlite")
    own = {"rate": 0.0123456789, "layers": (16, 8), "dropout": 0.3, "count": 8}
    study.queue_own(own)
    number, settings = study.ask()
    assert (number, settings) == (0, own)
    study.close()
    study = opened(tmp_path / "own.sqlite")
    study.requeue()
    assert study.ask() == (1, own)
    assert [record.own for record in study.records()] == [True, True]


@pytest.mark.parametrize("smaller", [False, True])
def test_the_median_rule_gives_up_what_falls_behind(optuna: Any, tmp_path: Path, smaller: bool) -> None:
    study = opened(tmp_path / "m.sqlite", pruner="median", smaller=smaller, epochs=10)
    for value in (0.4, 0.5, 0.6, 0.7, 0.8):
        number, _ = study.ask()
        assert not any(study.report(number, epoch, value) for epoch in range(1, 5))
        study.tell(number, TrialEnd("done", value, 1, 4))
    number, _ = study.ask()
    assert not study.report(number, 1, 0.9 if smaller else 0.1)  # too early to tell
    assert study.report(number, 3, 0.9 if smaller else 0.1)
    study.tell(number, TrialEnd("pruned", 0.1, 1, 3))
    number, _ = study.ask()
    assert not study.report(number, 3, 0.1 if smaller else 0.9)
    assert study.records()[5].state == "pruned"
    assert study.records()[5].curve == {1: 0.9 if smaller else 0.1, 3: 0.9 if smaller else 0.1}


def test_hyperband_is_there_too(optuna: Any, tmp_path: Path) -> None:
    study = opened(tmp_path / "h.sqlite", pruner="hyperband", epochs=9)
    given_up = 0
    for trial in range(12):
        number, _ = study.ask()
        value = 1.0 / (1 + trial)
        pruned = any(study.report(number, epoch, value) for epoch in range(1, 10))
        study.tell(number, TrialEnd("pruned" if pruned else "done", value, 1, 9))
        given_up += pruned
    assert 0 < given_up < 12


def test_importance_finds_what_matters(optuna: Any, tmp_path: Path) -> None:
    study = opened(tmp_path / "i.sqlite")
    assert study.importances() == {}
    for _ in range(25):
        number, settings = study.ask()
        study.tell(number, TrialEnd("done", float(settings["dropout"]), 1, 1))
    found = study.importances()
    assert set(found) == set(SPACE)
    assert max(found, key=lambda key: found[key]) == "dropout"
    assert sum(found.values()) == pytest.approx(1)


def test_failures_are_kept_with_their_reason(optuna: Any, tmp_path: Path) -> None:
    study = opened(tmp_path / "f.sqlite")
    number, _ = study.ask()
    study.tell(number, TrialEnd("failed", reason="no number"))
    (record,) = study.records()
    assert (record.state, record.value, record.counts) == ("failed", None, True)
    assert record.end is not None
    assert record.end.reason == "no number"
    assert study.identity == {"of": "this"}


def test_damage_is_one_error(optuna: Any, tmp_path: Path) -> None:
    path = tmp_path / "d.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="damaged, or not the storage of a tuning"):
        opened(path)
    path.unlink()
    path.touch()
    with pytest.raises(StoreError, match="damaged, or not the storage of a tuning"):
        opened(path)
    path.unlink()
    create_study(path, ["no", "table"], smaller=False)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="damaged, or not the storage of a tuning"):
        opened(path)
    with pytest.raises(ConfigError, match="question mark"):
        opened(tmp_path / "what?.sqlite")


@pytest.mark.parametrize(
    "statement",
    ["DROP TABLE trial_params", "DELETE FROM trial_params WHERE param_name = 'rate'", "DELETE FROM trial_user_attributes",
     "UPDATE trial_user_attributes SET value_json = '{\"a\": 1}'"],
)  # fmt: skip
def test_a_trial_that_lost_its_values_or_its_figure_is_damage(optuna: Any, tmp_path: Path, statement: str) -> None:
    study = opened(tmp_path / "p.sqlite")
    play(study, 2)
    study.close()
    with closing(sqlite3.connect(tmp_path / "p.sqlite")) as connection, connection:
        connection.execute(statement)
    with pytest.raises(StoreError, match="damaged: trial 0 ended, and its values or its figure are not there"):
        opened(tmp_path / "p.sqlite").records()


def test_pages_that_are_damaged_or_missing_are_one_error(optuna: Any, tmp_path: Path) -> None:
    path = tmp_path / "q.sqlite"
    study = opened(path)
    play(study, 2)
    study.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE study_user_attributes")
        connection.execute("CREATE TABLE study_user_attributes (other INTEGER)")
    with pytest.raises(StoreError, match="damaged, or not the storage of a tuning"):
        opened(path)
    path = tmp_path / "r.sqlite"
    study = opened(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE trials")
    with pytest.raises(StoreError, match=r"can't be read or written .*no such table"), storage_faults(path):
        study.ask()


def test_a_trial_that_was_cut_while_it_took_its_values_has_all_of_them_again(optuna: Any, tmp_path: Path) -> None:
    own = {"rate": 0.0123456789, "layers": (16, 8), "dropout": 0.3, "count": 8}
    study = opened(tmp_path / "cut.sqlite")
    study.queue_own(own)
    begun = study._study.ask()
    begun.suggest_int("count", 1, 64, log=True)  # and killed
    study.close()
    study = opened(tmp_path / "cut.sqlite")
    assert study.requeue() == [0]
    assert study.ask() == (1, own)


def test_without_optuna_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr(importlib, "import_module", _missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'twotower\[tune\]'"):
        optuna_library()


def _missing(name: str) -> Any:
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)
