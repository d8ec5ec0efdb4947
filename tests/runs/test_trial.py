"""One trial: what it is judged by, and that test rows can't reach it."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from twotower.data import LeaveLastOut, SplitConfig, TimeSplit
from twotower.errors import ConfigError
from twotower.runs.run_many import Frames
from twotower.runs.search_space import check_space, search_space
from twotower.runs.trial import TrialGround, load_ground, tuning_metric, with_metric
from twotower.runs.tune_config import TuneKeyConfig


def _always(epoch: int, value: float) -> bool:
    return True


def ground_of(recipe: Any, interactions: pl.DataFrame) -> TrialGround:
    return load_ground(recipe, tuning_metric(recipe), Frames(interactions))


def curve_of(recipe: Any, interactions: pl.DataFrame) -> dict[int, float]:
    curve: dict[int, float] = {}

    def keep(epoch: int, value: float) -> bool:
        curve[epoch] = value
        return True

    end = ground_of(recipe, interactions).run(recipe, keep)
    assert end.state == "done", end.reason
    return curve


def test_a_trial_has_the_figure_of_the_epoch_that_is_kept(make_recipe: Any, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(training={"epochs": 6, "early_stopping": {"metric": "recall@5", "patience": 6}})
    seen: list[tuple[int, float]] = []

    def keep(epoch: int, value: float) -> bool:
        seen.append((epoch, value))
        return True

    end = ground_of(recipe, interactions).run(recipe, keep)
    assert [epoch for epoch, _ in seen] == [1, 2, 3, 4, 5, 6]
    assert (end.state, end.epochs_run, end.reason) == ("done", 6, "")
    assert end.value == max(value for _, value in seen) == dict(seen)[end.epoch]
    assert end.peak_memory_bytes > 2**20
    last = make_recipe(training={"epochs": 3, "early_stopping": False})
    assert ground_of(last, interactions).run(last, _always).epoch == 3


def test_the_figure_is_of_the_epoch_that_is_kept_and_not_the_highest(make_recipe: Any, interactions: pl.DataFrame) -> None:
    seen: dict[int, float] = {}

    def keep(epoch: int, value: float) -> bool:
        seen[epoch] = value
        return True

    slow = make_recipe(training={"epochs": 12, "early_stopping": {"metric": "mrr", "patience": 12, "min_delta": 0.99}})
    end = ground_of(slow, interactions).run(slow, keep)
    assert max(seen.values()) > seen[1]
    assert (end.epoch, end.value) == (1, seen[1])


def test_a_trial_ends_when_it_is_told_to_but_not_behind_its_last_epoch(make_recipe: Any, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(training={"epochs": 4})
    ground = ground_of(recipe, interactions)
    pruned = ground.run(recipe, lambda epoch, _: epoch < 2)
    assert (pruned.state, pruned.epochs_run) == ("pruned", 2)
    assert pruned.value is not None
    assert ground.run(recipe, lambda epoch, _: epoch < 4).state == "done"


def test_a_trial_that_is_given_up_has_its_best_until_then(
    make_recipe: Any, interactions: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = with_metric(make_recipe(training={"epochs": 12}), "mrr")
    for smaller, best in ((False, max), (True, min)):
        seen: list[float] = []
        monkeypatch.setattr("twotower.runs.trial.smaller_is_better", lambda _, smaller=smaller: smaller)

        def keep(epoch: int, value: float, seen: list[float] = seen) -> bool:
            seen.append(value)
            return epoch < 10

        end = load_ground(recipe, "mrr", Frames(interactions)).run(recipe, keep)
        assert len(set(seen)) > 1
        assert (end.state, end.value) == ("pruned", best(seen))


def test_preprocessing_is_fitted_anew_where_the_other_tower_differs(make_recipe: Any, interactions: pl.DataFrame) -> None:
    recipe = make_recipe()
    ground = ground_of(recipe, interactions)
    first = ground.build(recipe).phase
    other = make_recipe(candidate={"features": [{"kind": "id", "column": "item", "min_count": 2, "embedding": {"dim": 4}}]})
    assert ground.build(other).phase is not first


def test_a_trial_that_fails_says_why(make_recipe: Any, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(training={"optimizer": {"kind": "adamw", "learning_rate": 1e38}})
    end = ground_of(recipe, interactions).run(recipe, _always)
    assert (end.state, end.value) == ("failed", None)
    assert "finite" in end.reason


def test_preprocessing_is_fitted_anew_only_where_features_differ(make_recipe: Any, interactions: pl.DataFrame) -> None:
    recipe = make_recipe()
    ground = ground_of(recipe, interactions)
    first = ground.build(recipe).phase
    assert ground.build(make_recipe(training={"batch_size": 8})).phase is first
    other = {"features": [{"kind": "id", "column": "user", "min_count": 3, "embedding": {"dim": 4}}]}
    assert ground.build(make_recipe(query=other)).phase is not first


@pytest.mark.parametrize("split", [TimeSplit(test=20, validation=10), LeaveLastOut()], ids=lambda split: split.kind)
def test_poisoned_test_rows_change_nothing(make_recipe: Any, interactions: pl.DataFrame, split: SplitConfig) -> None:
    features = [{"kind": "history", "embedding": {"dim": 4}}, {"kind": "number", "column": "rating"}]
    sections: dict[str, Any] = {"query": {"features": features}, "model": {"layer_sizes": [4]}, "training": {"epochs": 3}}
    recipe = make_recipe(**sections).model_copy(update={"split": split})
    if split.kind == "time":
        is_test = pl.col("time") >= interactions["time"].sort()[80]
    else:
        is_test = pl.col("time") == pl.col("time").max().over("user")
    poisoned = interactions.with_columns(
        item=pl.when(is_test).then(pl.col("item") + 1000).otherwise(pl.col("item")),
        rating=pl.when(is_test).then(10**9).otherwise(pl.col("rating")),
    )
    assert not poisoned.equals(interactions)
    assert curve_of(recipe, poisoned) == curve_of(recipe, interactions)


def test_test_rows_that_are_not_there_change_nothing(make_recipe: Any, interactions: pl.DataFrame) -> None:
    recipe = make_recipe(training={"epochs": 3})
    assert len(ground_of(recipe, interactions).tables.split.test) == 0
    without = interactions.filter(pl.col("time") < interactions["time"].sort()[80])
    assert without.height == 80
    assert curve_of(make_recipe(split={"test": 0}, training={"epochs": 3}), without) == curve_of(recipe, interactions)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"split": {"validation": 0}}, "split.validation gives no rows"),
        ({"evaluation": {"validate_on": "test"}, "training": {"early_stopping": False}}, "would choose settings on test rows"),
        ({"data": {"fit_on": "all"}}, "lets preprocessing see test rows"),
    ],
)
def test_what_would_look_at_test_rows_is_refused(
    make_recipe: Any, interactions: pl.DataFrame, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        ground_of(make_recipe(**sections), interactions)


def test_the_metric_is_that_of_early_stopping_unless_another_is_named(make_recipe: Any) -> None:
    recipe = make_recipe()
    assert tuning_metric(recipe) == "recall@5"
    assert tuning_metric(make_recipe(training={"early_stopping": False}, evaluation={"ks": [1, 3]})) == "recall@3"
    by_mrr = with_metric(recipe, tuning_metric(recipe, "mrr removed"))
    assert by_mrr.training.early_stopping is not None
    assert by_mrr.training.early_stopping.metric == "mrr removed"
    assert with_metric(recipe, "recall@5") == recipe
    with pytest.raises(ConfigError, match=r"--metric 'recall@7': validation gives recall@1, recall@5"):
        with_metric(recipe, "recall@7")
    by_user = "ndcg@5 per user removed"
    for named in (recipe, make_recipe(training={"early_stopping": {"metric": by_user}})):
        stopping = with_metric(named, tuning_metric(named, by_user if named is recipe else None)).training.early_stopping
        assert stopping is not None
        assert stopping.metric == by_user
    with pytest.raises(ConfigError, match="per user where early stopping watches one"):
        with_metric(make_recipe(training={"early_stopping": False}), by_user)


def test_a_trial_is_judged_per_user_where_that_is_asked_for(make_recipe: Any, interactions: pl.DataFrame) -> None:
    metric = "recall@5 per user removed"
    recipe = with_metric(make_recipe(training={"epochs": 2}), metric)
    end = load_ground(recipe, metric, Frames(interactions)).run(recipe, _always)
    assert (end.state, end.reason) == ("done", "")
    assert end.value is not None


TASK = [{"name": "stars", "column": "rating"}]


def test_rankings_that_nothing_is_learned_for_are_nothing_to_tune_by(make_recipe: Any, interactions: pl.DataFrame) -> None:
    unlearned = make_recipe(tasks=TASK, loss={"weight": 0}, training={"early_stopping": False})
    says = "says nothing where retrieval is not learned .loss.weight = 0.: name one of stars rmse, stars mae, or give"
    with pytest.raises(ConfigError, match=f"--metric 'recall@5': {says}"):
        with_metric(unlearned, tuning_metric(unlearned))
    with pytest.raises(ConfigError, match=f"--metric 'ndcg@10 removed': {says}"):
        with_metric(unlearned, "ndcg@10 removed")
    assert with_metric(unlearned, "stars rmse") == unlearned
    learned = make_recipe(tasks=TASK, training={"early_stopping": False})
    ground = load_ground(learned, "recall@5", Frames(interactions))
    with pytest.raises(ConfigError, match=f"--metric 'recall@5': {says}"):
        ground.build(unlearned)
    # a space with such an end
    space = search_space(learned.model_copy(update={"tune": {"loss.weight": TuneKeyConfig(low=0.0, high=1.0)}}))
    assert [fault.partition(":")[0] for fault in check_space(learned, space, ground.build)["loss.weight"]] == [
        "tune.loss.weight = 0.0"
    ]
    by_error = load_ground(learned, "stars mae", Frames(interactions))
    assert check_space(learned, space, by_error.build) == {}
