from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from twotower.diagnosis import Curve, NotMade
from twotower.runs import LoadedRun, Recipe, load_run, run
from twotower.runs.knowledge_evidence import known_of_test, validation_curve
from twotower.runs.probe import headline

MakeRecipe = Callable[..., Recipe]
HISTORIES: list[dict[str, Any]] = [
    {"kind": "history", "name": "all", "mode": "others", "embedding": {"dim": 4}},
    {"kind": "history", "name": "earlier", "mode": "before", "own_item": "allow", "embedding": {"dim": 4}},
]
ID: dict[str, Any] = {"kind": "id", "column": "user", "embedding": {"dim": 4}}


@pytest.fixture(scope="module", params=["random", "time"])
def loaded(
    request: pytest.FixtureRequest,
    make_recipe: MakeRecipe,
    interactions: pl.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> LoadedRun:
    recipe = make_recipe(query={"features": [*HISTORIES, ID]}, model={"layer_sizes": [4]})
    split = {"kind": request.param, "test": 20, "validation": 10}
    recipe = Recipe.model_validate(recipe.model_dump(mode="json") | {"split": split})
    folder: Path = tmp_path_factory.mktemp("knowledge") / "run"
    run(recipe, folder, interactions=interactions)
    return load_run(folder, interactions=interactions)


def test_shares_are_those_that_a_naive_count_finds(loaded: LoadedRun) -> None:
    rows = loaded.tables.interactions.frame.to_dicts()
    split = loaded.tables.split
    grows = loaded.recipe.split.kind == "time"
    fitted = [rows[row] for row in loaded.phase.fit_rows.tolist()]
    trained_items = {row["item"] for row in fitted}
    later = late_history = own_all = own_earlier = cold_user = cold_item = 0
    for row in (rows[number] for number in split.test.tolist()):
        of_user = [other for other in fitted if other["user"] == row["user"]]
        later += any(other["time"] > row["time"] for other in of_user)
        cold_user += not of_user
        cold_item += row["item"] not in trained_items
        known = [other for other in (rows if grows else fitted) if other["user"] == row["user"] and other is not row]
        known = [other for other in known if other["item"] in trained_items]
        before = [other for other in known if other["time"] < row["time"]]
        read = before if grows else known
        late_history += any(other["time"] > row["time"] for other in read)
        own_all += any(other["item"] == row["item"] for other in read)
        own_earlier += any(other["item"] == row["item"] for other in before)
    found = known_of_test(loaded)
    assert found.later_rows == pytest.approx(later / 20)
    assert dict(found.later_histories) == {"all": pytest.approx(late_history / 20), "earlier": 0.0}
    assert dict(found.own_in_test) == {"all": pytest.approx(own_all / 20), "earlier": pytest.approx(own_earlier / 20)}
    assert found.cold_users == pytest.approx(cold_user / 20)
    assert found.cold_items == pytest.approx(cold_item / 20)
    assert (late_history > 0) == (not grows)
    assert (later > 0) == (not grows)
    assert not found.only_user_ids
    assert found.only_item_ids


def test_own_items_of_train_rows_follow_the_histories_rules(loaded: LoadedRun) -> None:
    rows = loaded.tables.interactions.frame.to_dicts()
    fitted = [rows[row] for row in loaded.phase.fit_rows.tolist()]
    again = sum(
        any(o["user"] == row["user"] and o["item"] == row["item"] and o["time"] < row["time"] for o in fitted) for row in fitted
    )
    found = dict(known_of_test(loaded).own_in_train)
    assert found["all"] == 0  # own_item = 'exclude'
    assert found["earlier"] == pytest.approx(again / len(fitted))
    assert again > 0


def test_the_curve_is_that_of_the_choice_of_epochs(loaded: LoadedRun) -> None:
    recipe = loaded.recipe
    found = validation_curve(recipe, loaded.phase, loaded.records, kept_epoch=2, wanted=headline(recipe))
    assert isinstance(found, Curve)
    select = [record for record in loaded.records if record["phase"] == "select"]
    assert found.epochs == (1, 2)
    assert found.figures == tuple(record["metrics"]["recall@5"] for record in select)
    assert found.losses == tuple(record["loss"] for record in select)
    assert (found.kept_epoch, found.rows, found.of_test) == (2, 10, False)
    other = [{**select[0], "metrics": {"mrr": 0.5}}, select[1]]  # of an epoch that another figure was told of
    later = validation_curve(recipe, loaded.phase, other, kept_epoch=2, wanted=headline(recipe))
    assert isinstance(later, Curve)
    assert later.epochs == (2,)
    nothing = [{**record, "metrics": {}} for record in select]
    none = validation_curve(recipe, loaded.phase, nothing, kept_epoch=2, wanted=headline(recipe))
    assert isinstance(none, NotMade)


def test_where_retrieval_is_not_learned_the_curve_is_that_of_the_first_task(loaded: LoadedRun, make_recipe: MakeRecipe) -> None:
    sections: dict[str, Any] = {"training": {"early_stopping": False}, "tasks": [{"name": "stars", "column": "rating"}]}
    records = [
        {"phase": "select", "epoch": epoch, "loss": 1.0, "metrics": {"recall@5": 0.5, "stars rmse": 1.0 + epoch}}
        for epoch in (1, 2)
    ]
    alone = make_recipe(loss={"weight": 0}, **sections)
    found = validation_curve(alone, loaded.phase, records, kept_epoch=2, wanted=headline(alone))
    assert isinstance(found, Curve)
    assert (found.metric, found.figures, found.smaller_is_better) == ("stars rmse", (2.0, 3.0), True)
    both = make_recipe(**sections)
    found = validation_curve(both, loaded.phase, records, kept_epoch=2, wanted=headline(both))
    assert isinstance(found, Curve)
    assert (found.metric, found.smaller_is_better) == ("recall@5", False)
