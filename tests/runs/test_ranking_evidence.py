from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from twotower.diagnosis import HeadShares, Lift, NotMade
from twotower.runs import LoadedRun, Recipe, load_run, run
from twotower.runs.diagnose import diagnose_run
from twotower.runs.fit_model import OwnParts
from twotower.runs.probe import Probe, headline, make_probe
from twotower.runs.ranking_evidence import head_shares, popularity_likeness, vectors
from twotower.runs.trained_parts import measured_parts, selected_parts

MakeRecipe = Callable[..., Recipe]
LIFT = Lift("recall@5", 0.5, 0.4, 0.0, 0.2)


@pytest.fixture(scope="module")
def loaded(make_recipe: MakeRecipe, tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    rng = np.random.default_rng(2)
    weight = 1 / (1 + np.arange(30))
    frame = pl.DataFrame(
        {
            "user": [f"u{u}" for u in rng.integers(0, 20, 600)],
            "item": rng.choice(30, 600, p=weight / weight.sum()),
            "time": 1_600_000_000 + np.arange(600),
        }
    )
    folder: Path = tmp_path_factory.mktemp("ranking") / "run"
    recipe = make_recipe(loss={"kind": "in_batch", "log_q": False}, refit="train")
    recipe = Recipe.model_validate(recipe.model_dump(mode="json") | {"split": {"kind": "time", "test": 100, "validation": 100}})
    run(recipe, folder, interactions=frame)
    return load_run(folder, interactions=frame)


@pytest.fixture(scope="module")
def probe(loaded: LoadedRun) -> Probe:
    rows = loaded.tables.split.test
    return make_probe(loaded, loaded.recommender.model, loaded.phase, rows, of_test=True)


def test_lists_and_orders_are_those_of_the_scores(probe: Probe) -> None:
    rows = probe.one_per_user(300)
    users = probe.users[rows.numpy()].tolist()
    assert sorted(users) == sorted(set(probe.users.tolist()))
    scores = (probe.scorer.queries_QD[rows] @ probe.scorer.items_ND.T).numpy()
    lists = [set(np.argsort(-row, kind="stable")[:10].tolist()) for row in scores]
    popular = set(np.argsort(-probe.phase.item_counts, kind="stable")[:10].tolist())
    found = popularity_likeness(probe, LIFT)
    assert not isinstance(found, NotMade)
    assert found.overlap == pytest.approx(np.mean([len(row & popular) / 10 for row in lists]))
    pairs = [len(one & other) / 10 for one, other in itertools.combinations(lists, 2)]
    assert found.between == pytest.approx(np.mean(pairs))
    assert len(found.correlations) == len(users)
    assert found.lift is LIFT


def test_the_head_holds_a_third_of_the_train_rows(loaded: LoadedRun, probe: Probe) -> None:
    counts = probe.phase.item_counts.tolist()
    head: set[int] = set()
    for item in sorted(range(len(counts)), key=lambda item: -counts[item]):
        if 3 * sum(counts[other] for other in head) >= sum(counts):
            break
        head.add(item)
    items = probe.examples.item_rows.tolist()
    scores = (probe.scorer.queries_QD @ probe.scorer.items_ND.T).float().numpy()
    firsts = [np.argsort(-row, kind="stable")[:10].tolist() for row in scores]
    found = head_shares(measured_parts(loaded, OwnParts()), probe, headline(loaded.recipe))
    assert isinstance(found, HeadShares)
    assert found.head_items == len(head)
    assert found.recommended == pytest.approx(np.mean([item in head for row in firsts for item in row]))
    assert found.consumed == pytest.approx(np.mean([item in head for item in items]))
    hits = [item in row[:5] for row, item in zip(firsts, items, strict=True) if item in head]
    assert found.model == pytest.approx(np.mean(hits))
    assert (found.in_batch, found.corrected, found.cutoff) == (True, False, 5)


def test_vectors_are_of_items_and_users_that_were_trained_on(loaded: LoadedRun) -> None:
    found = vectors(measured_parts(loaded, OwnParts()), LIFT, trained=True)
    assert len(found.candidates_ND) == (loaded.phase.item_counts > 0).sum()
    assert len(found.queries_QD) == len(set(loaded.phase.train.user_rows.tolist()))


def test_after_a_refit_the_selected_model_is_another_and_knows_no_validation_rows(loaded: LoadedRun) -> None:
    selected, measured = selected_parts(loaded, OwnParts()), measured_parts(loaded, OwnParts())
    assert not isinstance(selected, NotMade)
    validation = set(loaded.tables.split.validation.tolist())
    assert not validation & set(selected.phase.fit_rows.tolist())
    assert validation <= set(measured.phase.fit_rows.tolist())
    wanted = headline(loaded.recipe)
    asked = make_probe(loaded, selected.model, selected.phase, loaded.tables.split.validation, of_test=False)
    told = loaded.result["selection"]["validation"]
    for name in ("recall@5", "recall@5 removed"):
        figure = replace(wanted, metric="recall@5", removed=name.endswith("removed"))
        assert asked.figures(asked.scorer, figure).mean() == pytest.approx(told[name])
    assert told["recall@5"] != told["recall@5 removed"]
    pairs = zip(selected.model.parameters(), measured.model.parameters(), strict=True)
    assert not all(one.shape == other.shape and torch.equal(one, other) for one, other in pairs)


def test_one_run_is_diagnosed_from_what_was_loaded(loaded: LoadedRun) -> None:
    assert diagnose_run(loaded).to_json() == diagnose_run(loaded).to_json()
