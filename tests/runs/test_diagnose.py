"""Every diagnosis is found where its fault was planted in a whole run, and none in a sound one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

import numpy as np
import polars as pl
import pytest
import torch

from twotower.diagnosis import Diagnosis, Finding
from twotower.losses import FullSoftmax
from twotower.recommender import Recommender, StoredUsers
from twotower.runs import diagnose, parse_recipe, run

Section: TypeAlias = dict[str, Any]


class Tables(TypedDict):
    """As `run` and `diagnose` take them."""

    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame


HISTORY: Section = {"kind": "history", "mode": "before", "embedding": {"dim": 16, "pooling": "mean"}}
USER: Section = {"kind": "id", "column": "user", "embedding": {"dim": 16}}
GROUP: Section = {"kind": "category", "column": "group", "embedding": {"dim": 8}}
ITEM: Section = {"kind": "id", "column": "item", "embedding": {"dim": 16}}
GENRE: Section = {"kind": "category", "column": "genre", "embedding": {"dim": 8}}


def make_tables(*, num_users: int = 150, num_items: int = 120, rows_per_user: int = 30, seed: int = 0) -> Tables:
    """Users of four groups mostly choose items of their own genre, popular ones first; users and times are mixed."""
    rng = np.random.default_rng(seed)
    genre = np.arange(num_items) % 4
    group = np.arange(num_users) % 4
    weight = 1.0 / (1 + np.arange(num_items) // 4) ** 0.8
    users, items = [], []
    for user in range(num_users):
        liked = weight * np.where(genre == group[user], 1.0, 0.08)
        users += [user] * rows_per_user
        items += rng.choice(num_items, rows_per_user, replace=False, p=liked / liked.sum()).tolist()
    order = rng.permutation(len(users))
    return {
        "interactions": pl.DataFrame(
            {
                "user": np.array(users)[order],
                "item": np.array(items)[order],
                "time": 1_600_000_000 + 3_600 * np.arange(len(users)),
            }
        ),
        "items": pl.DataFrame({"item": np.arange(num_items), "genre": [f"g{g}" for g in genre], "shop": ["one"] * num_items}),
        "users": pl.DataFrame(
            {
                "user": np.arange(num_users),
                "group": [f"u{g}" for g in group],
                "shoe_size": rng.integers(36, 47, num_users),
                "band": [f"b{band}" for band in rng.integers(0, 3, num_users)],
            }
        ),
    }


def make(query: list[Section], candidate: list[Section], **sections: Section) -> Section:
    """A sound recipe, with its sections' keys overridden."""
    base: Section = {
        "name": "planted",
        "device": "cpu",
        "data": {"columns": {"user": "user", "item": "item", "time": "time"}},
        "split": {"kind": "time", "test": 0.2, "validation": 0.2},
        "query": {"features": query},
        "candidate": {"features": candidate},
        "model": {"layer_sizes": [16]},
        "loss": {"kind": "full"},
        "training": {
            "epochs": 12,
            "batch_size": 256,
            "optimizer": {"kind": "adamw", "learning_rate": 0.02},
            "early_stopping": {"metric": "recall@10"},
        },
        "evaluation": {"ks": [1, 10], "draws": 0, "per_user": False},
    }
    for name, section in sections.items():
        base[name] = section if name == "split" else {**base.get(name, {}), **section}
    return base


Plant: TypeAlias = Callable[..., Diagnosis]


@pytest.fixture(scope="session")
def tables() -> Tables:
    return make_tables()


@pytest.fixture(scope="session")
def sound(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which nothing is wrong; for reading only."""
    folder = tmp_path_factory.mktemp("sound") / "run"
    run(parse_recipe(make([HISTORY, GROUP], [ITEM, GENRE])), folder, **tables)
    return folder


@pytest.fixture
def plant(tables: Tables, tmp_path: Path) -> Plant:
    """Train a recipe and diagnose it."""

    def train(recipe: Section, frames: Tables = tables) -> Diagnosis:
        run(parse_recipe(recipe), tmp_path / "run", **frames)
        return diagnose(tmp_path / "run", **frames)

    return train


def found(diagnosis: Diagnosis, code: str) -> Finding:
    by_code = {finding.code: finding for finding in diagnosis.findings}
    assert code in by_code, f"found {sorted(by_code)}, not made {diagnosis.not_made}"
    return by_code[code]


def codes(diagnosis: Diagnosis) -> list[str]:
    return [finding.code for finding in diagnosis.findings]


def test_nothing_is_found_in_a_sound_run(sound: Path, tables: Tables) -> None:
    diagnosis = diagnose(sound, **tables)
    assert codes(diagnosis) == []
    assert diagnosis.not_made == {}
    assert len(diagnosis.made) == 12


def test_collapsed_vectors_is_found_where_it_was_planted(plant: Plant) -> None:
    shop: Section = {"kind": "category", "column": "shop", "embedding": {"dim": 8}}
    finding = found(plant(make([GROUP], [shop])), "collapsed_vectors")
    assert "100% of" in finding.evidence[0]
    assert any("logarithm of 120 candidates" in sentence for sentence in finding.evidence)  # the loss is its consequence


def test_stuck_loss_is_found_where_it_was_planted(plant: Plant) -> None:
    recipe = make([HISTORY], [ITEM], training={"epochs": 1, "optimizer": {"kind": "adamw", "learning_rate": 1e-8}})
    diagnosis = plant(recipe)
    assert "logarithm of 120 candidates" in found(diagnosis, "stuck_loss").evidence[0]


def test_temperature_is_found_where_it_was_planted_too_high(plant: Plant) -> None:
    recipe = make([HISTORY, GROUP], [ITEM, GENRE], model={"layer_sizes": [16], "l2_normalise": True}, loss={"temperature": 5.0})
    finding = found(plant(recipe), "temperature")
    assert "too high" in finding.title
    assert finding.fix[0].startswith("loss.temperature = 0.")


def test_temperature_is_found_where_it_was_planted_too_low(plant: Plant) -> None:
    recipe = make(
        [USER],
        [ITEM],
        model={"layer_sizes": [16], "l2_normalise": True},
        loss={"temperature": 0.0005},
        training={"early_stopping": False},
    )
    assert "too low" in found(plant(recipe), "temperature").title


def test_false_negatives_is_found_where_it_was_planted(plant: Plant) -> None:
    recipe = make([HISTORY, GROUP], [ITEM, GENRE], loss={"kind": "in_batch", "mask_accidental_hits": False, "log_q": True})
    finding = found(plant(recipe), "false_negatives")
    assert finding.fix[0] == "loss.mask_accidental_hits = true"


def test_popularity_only_is_found_where_it_was_planted(plant: Plant) -> None:
    band: Section = {"kind": "category", "column": "band", "embedding": {"dim": 8}}
    assert "popularity_only" in codes(plant(make([band], [ITEM])))


def test_head_bias_is_found_where_it_was_planted(plant: Plant) -> None:
    recipe = make([USER], [ITEM], loss={"kind": "in_batch", "log_q": False})
    assert found(plant(recipe), "head_bias").fix[0] == "loss.log_q = true"


def test_overfitting_is_found_where_it_was_planted(plant: Plant) -> None:
    recipe = make([USER], [ITEM], training={"epochs": 30, "early_stopping": False})
    finding = found(plant(recipe), "overfitting")
    assert "the kept weights are of epoch 30" in finding.evidence[0]


def test_leakage_is_found_where_it_was_planted(plant: Plant) -> None:
    others = {**HISTORY, "mode": "others"}
    diagnosis = plant(make([others, GROUP], [ITEM, GENRE], split={"kind": "random", "test": 0.2, "validation": 0.2}))
    assert codes(diagnosis) == ["leakage"]
    assert "'history' in" in found(diagnosis, "leakage").evidence[1]


def test_leakage_is_found_where_the_target_is_in_its_own_history(plant: Plant, tables: Tables) -> None:
    rows = tables["interactions"].sort("time")
    first = rows.head(3600)  # in train, everything is chosen twice
    twice = pl.concat([first, first, rows.tail(900)]).with_columns(time=1_600_000_000 + pl.int_range(pl.len()))
    again = {**HISTORY, "own_item": "allow"}
    recipe = make([again], [ITEM], split={"kind": "time", "test": 900, "validation": 600}, training={"epochs": 1})
    finding = found(plant(recipe, {**tables, "interactions": twice}), "leakage")
    assert "the target is among its own inputs" in finding.evidence[0]


def test_leakage_is_found_where_all_test_users_are_unseen(plant: Plant, tables: Tables) -> None:
    rows = tables["interactions"].with_columns(part=pl.lit("train"))
    part = pl.when(pl.col("user") % 5 == 4).then(pl.lit("test")).when(pl.col("user") % 5 == 3).then(pl.lit("validation"))
    frames: Tables = {**tables, "interactions": rows.with_columns(part=part.otherwise(pl.lit("train")))}
    recipe = make([USER], [ITEM], split={"kind": "given", "column": "part"}, training={"epochs": 1})
    finding = found(plant(recipe, frames), "leakage")
    assert finding.title.startswith("The test can't be passed")


def test_idle_features_is_found_where_it_was_planted(plant: Plant) -> None:
    noise: Section = {"kind": "number", "column": "shoe_size"}
    shop: Section = {"kind": "category", "column": "shop", "embedding": {"dim": 2}}
    recipe = make(
        [GROUP, noise],
        [ITEM, GENRE, shop],
        split={"kind": "time", "test": 0.2, "validation": 0.4},
        training={
            "epochs": 8,
            "optimizer": {"kind": "adamw", "learning_rate": 0.005},
            "early_stopping": {"metric": "recall@30"},
        },
        evaluation={"ks": [30]},
    )
    finding = found(plant(recipe, make_tables(num_users=300, rows_per_user=40)), "idle_features")
    assert finding.title == "Features carry nothing: 'shoe_size', 'shop'"
    assert finding.evidence[1].endswith("has the same value in every row")


def test_two_features_that_say_the_same_are_not_idle(plant: Plant, tables: Tables) -> None:
    people = tables["users"].with_columns(twin=pl.col("group"))
    twin: Section = {**GROUP, "column": "twin"}
    diagnosis = plant(make([GROUP, twin], [ITEM, GENRE]), {**tables, "users": people})
    assert "idle_features" not in codes(diagnosis)


def test_serving_mismatch_is_found_where_it_was_planted(sound: Path, tables: Tables, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(sound, folder)
    shipped = Recommender.load(folder)
    swapped = Recommender(
        shipped.model,
        shipped.preprocessor,
        shipped.catalogue,
        shipped.item_vectors_ND.flip(0),
        shipped.users,
        shipped.defaults,
        shipped.card,
    )
    swapped.save(folder / "bundle")
    finding = found(diagnose(folder, **tables), "serving_mismatch")
    assert finding.severity == "fault"
    assert "120 item vectors" in finding.evidence[0]


def test_serving_mismatch_is_found_where_histories_were_swapped(sound: Path, tables: Tables, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(sound, folder)
    shipped = Recommender.load(folder)
    histories = shipped.users.item_histories
    flipped = histories.take(torch.arange(histories.num_users).flip(0))
    Recommender(
        shipped.model,
        shipped.preprocessor,
        shipped.catalogue,
        shipped.item_vectors_ND,
        StoredUsers(shipped.users.table, flipped),
        shipped.defaults,
        shipped.card,
    ).save(folder / "bundle")
    diagnosis = diagnose(folder, **tables)
    assert "query vectors of the bundle" in found(diagnosis, "serving_mismatch").evidence[0]


def test_serving_mismatch_is_found_where_time_goes_on(plant: Plant) -> None:
    time: Section = {"kind": "timestamp", "column": "time", "standardise": True}
    finding = found(plant(make([HISTORY, time], [ITEM], training={"epochs": 1})), "serving_mismatch")
    assert finding.severity == "warning"
    assert finding.evidence[0].startswith("100% of the test rows have a 'time' outside of train's range")


@pytest.mark.parametrize(("clip", "mismatch"), [(None, True), ([0, 10], False)])
def test_what_was_declared_to_be_clipped_is_no_mismatch(plant: Plant, clip: list[int] | None, mismatch: bool) -> None:
    time: Section = {"kind": "number", "column": "time", "clip": clip}
    evidence = [line for one in plant(make([HISTORY, time], [ITEM], training={"epochs": 1})).findings for line in one.evidence]
    assert any(line.startswith("100% of the test rows have a 'time' outside of train's") for line in evidence) is mismatch


def test_latest_contexts_and_short_histories_are_served_as_trained(plant: Plant, tables: Tables) -> None:
    device: Section = {"kind": "category", "column": "device", "embedding": {"dim": 4}}
    short = {**HISTORY, "max_length": 2}
    rows = tables["interactions"].with_columns(device=pl.Series(np.random.default_rng(3).choice(["tv", "phone"], 4500)))
    diagnosis = plant(make([short, device], [ITEM], training={"epochs": 3}), {**tables, "interactions": rows})
    assert "serving_mismatch" in diagnosis.made
    assert "serving_mismatch" not in codes(diagnosis)


def test_serving_mismatch_is_found_where_most_users_lack_a_value(plant: Plant, tables: Tables) -> None:
    device: Section = {"kind": "category", "column": "device", "embedding": {"dim": 4}}
    idle = pl.DataFrame({"user": np.arange(1000, 1400), "group": ["u0"] * 400, "shoe_size": [40] * 400, "band": ["b0"] * 400})
    frames: Tables = {
        "interactions": tables["interactions"].with_columns(device=pl.lit("tv")),
        "items": tables["items"],
        "users": pl.concat([tables["users"], idle.cast(tables["users"].schema)]),
    }
    finding = found(plant(make([HISTORY, device], [ITEM], training={"epochs": 1}), frames), "serving_mismatch")
    assert "'device' is assumed for 73% of the known users" in finding.evidence[0]


def test_out_of_vocabulary_is_found_where_it_was_planted(plant: Plant, tables: Tables) -> None:
    rows = tables["interactions"]
    rows = rows.sort(rows["user"] % 5 == 4, "time")  # the users of the test are no one else's
    frames: Tables = {**tables, "interactions": rows.with_columns(time=1_600_000_000 + pl.int_range(pl.len()))}
    user = {**USER, "embedding": {"dim": 16, "id_dropout": 0}}
    finding = found(plant(make([HISTORY, user], [ITEM]), frames), "out_of_vocabulary")
    assert finding.severity == "fault"
    assert "100% of the values of 'user' (query)" in finding.evidence[0]


def test_too_little_data_is_found_where_it_was_planted(plant: Plant) -> None:
    wide = {**USER, "embedding": {"dim": 512}}
    finding = found(plant(make([wide, HISTORY], [ITEM, GENRE], training={"epochs": 1})), "too_little_data")
    assert "'user' (query) has 150 vectors of 512 numbers" in finding.evidence[0]


def test_too_little_data_is_found_where_most_of_the_catalogue_was_never_seen(plant: Plant, tables: Tables) -> None:
    more = pl.DataFrame({"item": np.arange(120, 300), "genre": ["g0"] * 180, "shop": ["one"] * 180})
    frames: Tables = {**tables, "items": pl.concat([tables["items"], more])}
    finding = found(plant(make([GROUP], [ITEM], training={"epochs": 1}), frames), "too_little_data")
    assert "180 of 300 items (60%) have no train row" in finding.evidence[0]


def test_after_a_refit_the_model_of_before_is_asked(tables: Tables, tmp_path: Path) -> None:
    recipe = make([HISTORY, GROUP], [ITEM, GENRE], training={"epochs": 2}, loss={"temperature": 0.5, "learn_temperature": True})
    run(parse_recipe({**recipe, "refit": "all"}), tmp_path / "run", **tables)
    assert diagnose(tmp_path / "run", **tables).not_made == {}
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    not_made = diagnose(tmp_path / "run", **tables).not_made
    assert "refitted on its validation rows" in not_made["idle_features"]
    assert "the checkpoint that holds it is not" in not_made["temperature"]


def test_a_bundle_alone_says_what_it_can(sound: Path, tables: Tables) -> None:
    diagnosis = diagnose(sound / "bundle", **tables)
    assert diagnosis.findings == ()
    assert list(diagnosis.not_made) == ["overfitting"]


def test_a_loss_of_ones_own_is_not_taken_for_the_recipes(sound: Path, tables: Tables) -> None:
    class Mine(FullSoftmax):
        def __init__(self) -> None:
            super().__init__()
            self.offset = torch.nn.Parameter(torch.zeros(1))

    not_made = diagnose(sound, loss=Mine, **tables).not_made
    assert "pass the builder and the loss" in not_made["stuck_loss"]


def test_the_same_run_gives_the_same_diagnosis_and_is_not_changed(sound: Path, tables: Tables) -> None:
    before = {path: path.stat().st_mtime_ns for path in sound.rglob("*")}
    first, again = (json.dumps(diagnose(sound, **tables).to_json()) for _ in range(2))
    assert first == again
    assert {path: path.stat().st_mtime_ns for path in sound.rglob("*")} == before


def test_a_run_without_validation_rows_and_times(plant: Plant, tables: Tables) -> None:
    frames: Tables = {**tables, "interactions": tables["interactions"].drop("time")}
    recipe = make([USER], [ITEM, GENRE], split={"kind": "random", "test": 0.2, "validation": 0}, training={"epochs": 1})
    recipe["data"] = {"columns": {"user": "user", "item": "item", "order": "row"}}
    recipe["training"]["early_stopping"] = False
    diagnosis = plant(recipe, frames)
    assert sorted(diagnosis.not_made) == ["idle_features", "overfitting"]
    assert "leakage" not in codes(diagnosis)
