"""Tasks beside retrieval: which rows teach them, what they weigh, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from twotower.errors import ConfigError
from twotower.losses import cumulative_cross_entropy, squared_error
from twotower.spec import HeadSpec, OrdinalHeadSpec, RegressionHeadSpec
from twotower.training import EpochDone, Objective, OutcomeTask, StepDone, TrainingEvent, TrainingResult
from twotower.training.step import batch_loss, batch_losses

World = Callable[..., Any]
CPU = torch.device("cpu")
NAN = float("nan")
REGRESSION = RegressionHeadSpec(name="stars", mean=3.0, scale=2.0, low=1.0, high=5.0)
ORDINAL = OrdinalHeadSpec(name="level", levels=(1.0, 3.0, 5.0), shares=(0.2, 0.3, 0.5))
STARS = OutcomeTask("stars", "rating", squared_error, 0.5)
LEVEL = OutcomeTask("level", "rating", cumulative_cross_entropy, 2.0)


def ratings() -> torch.Tensor:
    """1, 3 or 5 for each of the 48 rows, every fifth unknown."""
    rows = torch.arange(48)
    return (1.0 + 2.0 * (rows % 3)).double().masked_fill(rows % 5 == 0, NAN)


def rated(world: World, *heads: HeadSpec, values: torch.Tensor | None = None, **options: Any) -> Any:
    return world(heads=heads or (REGRESSION, ORDINAL), outcomes={"rating": ratings() if values is None else values}, **options)


def losses_of(found: Any, batch: Any, objective: Objective) -> dict[str, float]:
    parts = batch_losses(found.model, found.loss, batch, found.items, log_q_N=None, device=CPU, objective=objective)
    return {name: float(value.detach()) for name, value in parts.items()}


def slowly(found: Any, batch: Any, weights: list[float] | None = None, *, summed: bool = False) -> float:
    """The squared error of the head for each row that has a rating, its own item looked up for itself."""
    queries = found.model.encode_queries(batch.queries)
    items = found.model.encode_candidates(found.items)
    total = weight = 0.0
    for place, row in enumerate(batch.rows.tolist()):
        rating = float(found.batches.examples.outcomes["rating"][row])
        if rating != rating:  # unknown
            continue
        own = items[int(found.batches.examples.item_rows[row])]
        output = float(found.model.head("stars")(queries[place][None], own[None]).detach())
        here = 1.0 if weights is None else weights[place]
        total += here * (output - (rating - 3.0) / 2.0) ** 2
        weight += here
    return total if summed else total / weight


@pytest.mark.parametrize("full", [False, True])
def test_rows_without_an_outcome_do_not_take_part(world: World, full: bool) -> None:
    found = rated(world)
    batch = found.batches.batch(0, 1)
    assert 0 < int(batch.outcomes["rating"].isnan().sum()) < 10
    if full:
        own = found.batches.examples.item_rows[batch.rows]
        batch = replace(batch, candidate_rows=None, counts=None, positives=own)
    losses = losses_of(found, batch, Objective((STARS,)))
    assert losses["stars"] == pytest.approx(slowly(found, batch), rel=1e-5)
    plain = float(batch_loss(found.model, found.loss, batch, found.items, log_q_N=None, device=CPU).detach())
    assert losses["retrieval"] == plain


def test_sample_weights_weigh_a_task_too(world: World) -> None:
    found = rated(world)
    weights = [0.0, 1.0, 2.0, 3.0, 0.5, 0.0, 1.0, 1.0, 4.0, 2.0]
    batch = replace(found.batches.batch(0, 0), weights=torch.tensor(weights))
    assert losses_of(found, batch, Objective((STARS,)))["stars"] == pytest.approx(slowly(found, batch, weights), rel=1e-5)


def test_a_task_is_reduced_as_retrieval_is(world: World) -> None:
    found = rated(world, reduction="sum")
    batch = found.batches.batch(0, 0)
    assert losses_of(found, batch, Objective((STARS,)))["stars"] == pytest.approx(slowly(found, batch, summed=True), rel=1e-5)


@pytest.mark.parametrize("weights", [None, torch.ones(10)])
def test_a_batch_without_any_outcome_costs_nothing_and_goes_on(world: World, weights: torch.Tensor | None) -> None:
    found = rated(world, values=torch.full((48,), NAN, dtype=torch.float64))
    batch = replace(found.batches.batch(0, 0), weights=weights)
    objective = Objective((STARS,), retrieval=0.0)
    parts = batch_losses(found.model, found.loss, batch, found.items, log_q_N=None, device=CPU, objective=objective)
    objective.total(parts).backward()  # type: ignore[no-untyped-call]
    assert float(parts["stars"].detach()) == 0.0
    only_zero = replace(found.batches.batch(0, 0), outcomes={"rating": torch.ones(10)}, weights=torch.zeros(10))
    assert losses_of(found, only_zero, objective)["stars"] == 0.0


def test_the_total_weighs_every_loss(world: World) -> None:
    found = rated(world)
    batch = found.batches.batch(0, 0)
    objective = Objective((STARS, LEVEL), retrieval=3.0)
    parts = batch_losses(found.model, found.loss, batch, found.items, log_q_N=None, device=CPU, objective=objective)
    assert list(parts) == ["retrieval", "stars", "level"]
    expected = 3.0 * parts["retrieval"] + 0.5 * parts["stars"] + 2.0 * parts["level"]
    torch.testing.assert_close(objective.total(parts), expected)
    assert list(losses_of(found, batch, Objective((LEVEL,), retrieval=0.0))) == ["level"]


def test_objectives_that_learn_nothing_are_refused() -> None:
    for tasks, retrieval, message in (
        ((), 0.0, "something to learn"),
        ((replace(STARS, weight=0.0),), 1.0, "above 0"),
        ((STARS,), -1.0, "at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Objective(tasks, retrieval)


def state_after(found: Any, objective: Objective | None = None, **options: Any) -> dict[str, torch.Tensor]:
    found.train(**({} if objective is None else {"objective": objective}), **options)
    return dict(found.state())


def test_without_tasks_every_bit_is_as_before(world: World) -> None:
    before, after = state_after(world()), state_after(world(), Objective())
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_every_weight_changes_the_result(world: World) -> None:
    def tower(objective: Objective) -> torch.Tensor:
        return state_after(rated(world), objective)["model.embeddings.table:user"]

    tables = [
        tower(objective)
        for objective in (
            Objective(),
            Objective((STARS,)),
            Objective((replace(STARS, weight=1.0),)),
            Objective((STARS,), retrieval=0.25),
            Objective((STARS,), retrieval=0.0),
            Objective((LEVEL,)),
        )
    ]
    assert all(not torch.equal(one, other) for i, one in enumerate(tables) for other in tables[:i])


def test_what_is_told_of_the_losses(world: World) -> None:
    events: list[TrainingEvent] = []
    found = rated(world)
    result: TrainingResult = found.train(objective=Objective((STARS, LEVEL), retrieval=3.0), listener=events.append)
    steps = [event for event in events if isinstance(event, StepDone)]
    epochs = [event for event in events if isinstance(event, EpochDone)]
    told: list[StepDone | EpochDone] = [*steps, *epochs]
    for event in told:
        weighed = 3.0 * event.losses["retrieval"] + 0.5 * event.losses["stars"] + 2.0 * event.losses["level"]
        assert event.loss == pytest.approx(weighed, rel=1e-5)
    first = [step for step in steps if step.epoch == 0]
    for name in ("retrieval", "stars", "level"):
        expected = sum(step.losses[name] * step.rows for step in first) / sum(step.rows for step in first)
        assert epochs[0].losses[name] == pytest.approx(expected)
    assert result.records[0]["losses"] == epochs[0].losses
    plain = world().train()
    assert "losses" not in plain.records[0]


def test_sums_are_told_per_row(world: World) -> None:
    events: list[TrainingEvent] = []
    rated(world, reduction="sum").train(objective=Objective((STARS,)), listener=events.append)
    for event in events:
        if isinstance(event, StepDone | EpochDone):
            assert event.loss == pytest.approx(event.losses["retrieval"] + 0.5 * event.losses["stars"], rel=1e-5)


def with_a_hidden_layer(head: HeadSpec) -> HeadSpec:
    return head.model_copy(update={"layer_sizes": (16,)})


@pytest.mark.parametrize("task", [STARS, LEVEL])
def test_a_head_learns_what_user_and_item_decide(world: World, task: OutcomeTask) -> None:
    made = world()
    users, items = made.batches.examples.user_rows, made.batches.examples.item_rows
    values = (1.0 + 2.0 * ((users % 4 // 2) + (items > 3))).double()
    found = rated(world, with_a_hidden_layer(REGRESSION), with_a_hidden_layer(ORDINAL), values=values)
    config = {"epochs": 60, "optimizer": {"kind": "adamw", "learning_rate": 0.03}}
    found.train(config, objective=Objective((replace(task, weight=3.0),)))
    rows = torch.arange(48)
    with torch.no_grad():
        head = found.model.head(task.name)
        queries = found.model.encode_queries(found.batches.examples.queries(rows, training=False))
        predicted = head.predict(head(queries, found.model.encode_candidates(found.items)[items]))
    assert float((predicted - values).square().mean().sqrt()) < 0.4 < float(values.std())


def test_a_model_without_the_head_is_refused(world: World) -> None:
    with pytest.raises(ConfigError, match=r"must have a head for every task; it has none for 'stars'"):
        world().train(objective=Objective((STARS,)))


def test_of_errors_the_smallest_is_the_best(world: World) -> None:
    def best(metric: str) -> tuple[int, int]:
        figures = iter([0.9, 0.7, 0.8, 0.75, 0.95])
        config = {"epochs": 5, "early_stopping": {"metric": metric, "patience": 2}}
        result = world().train(config, validate=lambda _: {metric: next(figures)})
        return result.epoch, result.epochs_run

    assert best("rating rmse") == (2, 4)
    assert best("rating mae") == (2, 4)
    assert best("recall@100") == (1, 3)


def test_an_improvement_of_an_error_is_more_than_the_least_that_counts(world: World) -> None:
    def best(least: float) -> int:
        figures = iter([0.9, 0.8, 0.7])
        config = {"epochs": 3, "early_stopping": {"metric": "rating rmse", "patience": None, "min_delta": least}}
        return int(world().train(config, validate=lambda _: {"rating rmse": next(figures)}).epoch)

    assert (best(0.05), best(0.15), best(0.5)) == (3, 3, 1)
