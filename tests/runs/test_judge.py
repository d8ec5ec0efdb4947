"""What judging keeps of every row, and that figures of groups are figures of those rows."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from emulated_device import DEVICE, emulated

from twotower.errors import BundleError
from twotower.runs import Recipe, load_run, reevaluate, run
from twotower.training import DeviceName

MakeRecipe = Callable[..., Recipe]


def small(make_recipe: MakeRecipe, interactions: pl.DataFrame, folder: Path, **sections: object) -> Path:
    recipe = make_recipe(evaluation={"draws": 30, "per_user": True, "ks": [1, 3, 5]}, **sections)
    return run(recipe, folder, interactions=interactions).folder


def test_figures_follow_from_the_rows_that_were_kept(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    loaded = load_run(small(make_recipe, interactions, tmp_path / "run"), interactions=interactions)
    rows, frozen, result = loaded.judged(), loaded.judged(frozen=True), loaded.result
    assert rows is not None
    assert frozen is not None
    assert list(rows.rankers) == ["model", "popularity", "random"]
    assert rows.rows.tolist() == loaded.tables.split.test.tolist()
    figures = {"model": result["metrics"]["test"], **result["baselines"]}
    for name in rows.rankers:
        for variant, removed in (("seen_included", False), ("seen_removed", True)):
            for key in ("recall@3", "ndcg@10", "mrr"):
                assert rows.values(name, key, removed=removed).mean() == pytest.approx(figures[name][variant][key])
                assert frozen.values(name, key, removed=removed).mean() == pytest.approx(
                    result["details"][name]["frozen"][variant][key]
                )


def test_facts_of_the_rows_are_counted_by_hand(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    loaded = load_run(small(make_recipe, interactions, tmp_path / "run"), interactions=interactions)
    rows, frozen = loaded.judged(), loaded.judged(frozen=True)
    assert rows is not None
    assert frozen is not None
    ordered = interactions.sort("time").with_row_index("place")
    train = ordered.head(70)
    known = set(train["item"])
    for place, row in enumerate(ordered.tail(20).iter_rows(named=True)):
        found = int(np.flatnonzero(interactions["time"].to_numpy() == row["time"])[0])
        i = rows.rows.tolist().index(found)
        before = ordered.filter((pl.col("place") < 80 + place) & (pl.col("user") == row["user"]))
        mine = train.filter(pl.col("user") == row["user"])
        assert rows.history_lengths[i] == len(set(before["item"]) & known)
        assert frozen.history_lengths[i] == len(set(mine["item"]))
        assert rows.warm[i] == frozen.warm[i] == (mine.height > 0)
        assert rows.item_counts[i] == train.filter(pl.col("item") == row["item"]).height
        assert (rows.item_rows[i] >= 0) == (row["item"] in known)


def test_groups_have_intervals_around_their_figures(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    loaded = load_run(small(make_recipe, interactions, tmp_path / "run"), interactions=interactions)
    details, judged = loaded.result["details"]["model"], loaded.judged()
    assert judged is not None
    assert set(details["group_intervals"]) == {"warm", "cold", "per_user", "frozen"}
    for group, intervals in details["group_intervals"].items():
        for variant in ("seen_included", "seen_removed"):
            low, high = intervals[variant]["recall@3"]
            assert 0 <= low <= details[group][variant]["recall@3"] <= high <= 1
    assert details["warm"]["seen_removed"]["recall@3"] == pytest.approx(
        judged.values("model", "recall@3", removed=True)[judged.warm].mean()
    )


def test_judging_again_brings_back_lost_ranks(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    folder = small(make_recipe, interactions, tmp_path / "run")
    loaded = load_run(folder, interactions=interactions)
    before = loaded.judged()
    assert before is not None
    loaded.place.judged.unlink()
    with pytest.raises(BundleError, match="judge the run again"):
        loaded.judged()
    reevaluate(folder, interactions=interactions)
    after = loaded.judged()
    assert after is not None
    assert after.to_frame().equals(before.to_frame())


@pytest.mark.parametrize("asked", [None, "auto"])
def test_judging_again_on_a_device(
    asked: DeviceName | None,
    make_recipe: MakeRecipe,
    interactions: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = [{"name": "stars", "column": "rating"}]
    folder = small(make_recipe, interactions, tmp_path / "run", tasks=tasks)
    resolved = []

    def resolve(name: DeviceName) -> torch.device:
        resolved.append(name)
        return DEVICE

    monkeypatch.setattr(sys.modules["twotower.runs.reevaluate"], "resolve_device", resolve)
    before = load_run(folder, interactions=interactions)
    with emulated() as emulation:
        again = reevaluate(folder, interactions=interactions, device=asked)
        assert emulation.waits.total() > 0
    assert resolved == [asked or "cpu"]
    assert again["metrics"] == before.result["metrics"]
    assert again["details"] == before.result["details"]
    outcomes, expected = again["outcomes"]["stars"]["model"], before.result["outcomes"]["stars"]["model"]
    assert outcomes["rmse"] == pytest.approx(expected["rmse"], rel=1e-6)


def test_a_bundle_alone_has_no_records(make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path) -> None:
    folder = small(make_recipe, interactions, tmp_path / "run")
    loaded = load_run(folder / "bundle", interactions=interactions)
    with pytest.raises(BundleError, match="needs the whole folder of a finished run"):
        _ = loaded.records


def test_no_frozen_ranks_where_histories_do_not_grow(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    folder = small(
        make_recipe, interactions, tmp_path / "run", split={"kind": "random", "test": 20, "validation": 10, "seed": 0}
    )
    loaded = load_run(folder, interactions=interactions)
    assert loaded.judged() is not None
    assert loaded.judged(frozen=True) is None
    assert not loaded.place.judged_frozen.exists()


def test_training_judges_the_baselines_that_the_recipe_names(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    folder = small(make_recipe, interactions, tmp_path / "run", baselines={"train": ["item_neighbours", "popularity"]})
    loaded = load_run(folder, interactions=interactions)
    judged = loaded.judged()
    assert judged is not None
    assert list(judged.rankers) == ["model", "item_neighbours", "popularity"]
    assert list(loaded.result["baselines"]) == ["item_neighbours", "popularity"]
    again = reevaluate(folder, interactions=interactions)
    assert again["baselines"] == loaded.result["baselines"]
