from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from twotower.errors import ConfigError, TrainingError
from twotower.losses import CountMinSketch, StreamedLogQ
from twotower.models import TwoTower
from twotower.training import Checkpoints, EpochDone, StepDone, TrainingEvent, TrainingStarted

World = Callable[..., Any]
NO_TIME = {"seconds": 0.0}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def figures(*values: float) -> Callable[[Any], dict[str, float]]:
    """A validation that gives these figures, one after the other."""
    given = iter(values)
    return lambda _: {"recall@100": next(given)}


@pytest.mark.parametrize(
    ("update", "optimizer"),
    [
        ("dense", {"kind": "adagrad", "learning_rate": 0.2}),
        ("rows", {"kind": "adagrad", "learning_rate": 0.2}),
        ("dense", {"kind": "adamw", "learning_rate": 0.02}),
        ("rows", {"kind": "adamw", "learning_rate": 0.02, "sparse_learning_rate": 0.2}),
        ("rows", {"kind": "rowwise_adagrad", "learning_rate": 0.2}),
    ],
)
def test_a_known_world_is_learned(world: World, update: str, optimizer: dict[str, Any]) -> None:
    # without histories: where everybody does everything, the one item that is missing from a history is the answer
    found = world(update=update, history=False)
    assert found.liked_first()["liked first"] < 0.5
    result = found.train({"epochs": 30, "optimizer": optimizer})
    assert found.liked_first()["liked first"] == 1.0
    losses = [record["loss"] for record in result.records]
    assert losses[-1] < losses[0]
    assert (result.epoch, result.epochs_run, len(result.records)) == (30, 30, 30)
    assert not found.model.training
    assert not found.loss.training


def test_the_same_seed_gives_the_same_bits_and_another_does_not(world: World) -> None:
    ends = []
    for seed in (7, 7, 8):
        found = world(dropout=0.3)
        found.train(seed=seed)
        ends.append(found.state())
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])


def test_torchs_random_state_is_neither_read_nor_changed(world: World) -> None:
    ends = []
    with torch.random.fork_rng():
        for outer in (1, 2):
            torch.manual_seed(outer)
            before = torch.get_rng_state()
            found = world(dropout=0.3)
            found.train()
            assert torch.equal(torch.get_rng_state(), before)
            ends.append(found.state())
            with pytest.raises(ConfigError):
                world(dropout=0.3).train({"early_stopping": {"metric": "x"}}, validate=lambda _: {"y": 1.0})
            assert torch.equal(torch.get_rng_state(), before)
    assert same(*ends)


def test_validation_does_not_disturb_training(world: World) -> None:
    def noisy(model: Any) -> dict[str, float]:
        assert not model.training
        return {"x": float(torch.rand(3).sum())}

    plain, validated = world(dropout=0.3), world(dropout=0.3)
    plain.train()
    validated.train(validate=noisy)
    assert same(plain.state(), validated.state())


def test_what_is_told(world: World) -> None:
    events: list[TrainingEvent] = []
    found = world()
    result = found.train({"epochs": 2, "validate_every": 2}, validate=lambda _: {"x": 0.5}, listener=events.append)
    assert events[0] == TrainingStarted(epoch=0, batch=0, epochs=2, batches=5, rows=48)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [(step.epoch, step.batch, step.step, step.rows) for step in steps] == [
        (epoch, batch, epoch * 5 + batch, 8 if batch == 5 else 10) for epoch in range(2) for batch in range(1, 6)
    ]
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert [(e.epoch, e.rows, e.metrics, e.best, e.learning_rate) for e in epochs] == [
        (1, 48, {}, False, 0.1),
        (2, 48, {"x": 0.5}, False, 0.1),
    ]
    for epoch in epochs:
        own = [step for step in steps if step.epoch == epoch.epoch - 1]
        assert epoch.loss == pytest.approx(sum(step.loss * step.rows for step in own) / 48)
        assert epoch.seconds > 0
    assert [{**record, **NO_TIME} for record in result.records] == [{**epoch.to_json(), **NO_TIME} for epoch in epochs]
    assert result.seconds == pytest.approx(sum(epoch.seconds for epoch in epochs))
    assert result.rows_per_s == pytest.approx(96 / result.seconds)


def test_a_sum_is_told_per_row_too(world: World) -> None:
    losses: dict[str, list[float]] = {}
    for reduction in ("mean", "sum"):
        found = world(reduction=reduction)
        steps: list[TrainingEvent] = []
        result = found.train({"epochs": 1, "optimizer": {"learning_rate": 1e-9}}, listener=steps.append)
        losses[reduction] = [step.loss for step in steps if isinstance(step, StepDone)] + [result.records[0]["loss"]]
    assert losses["sum"] == pytest.approx(losses["mean"], rel=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 4},
        {"clip_norm": 0.05},
        {"optimizer": {"kind": "adamw"}},
        {"optimizer": {"learning_rate": 0.2}},
        {"schedule": {"warmup_steps": 4}},
        {"schedule": {"decay": "linear"}},
        {"schedule": {"decay": "cosine"}},
        {"schedule": {"decay": "linear", "final_fraction": 0.5}},
    ],
)
@pytest.mark.parametrize("update", ["dense", "rows"])
def test_every_option_of_the_loop_changes_the_weights(world: World, change: dict[str, Any], update: str) -> None:
    plain, changed = world(update=update), world(update=update)
    plain.train()
    changed.train(change)
    assert not same(plain.state(), changed.state())


def test_the_rate_warms_up_and_decays_over_all_epochs(world: World) -> None:
    result = world().train(
        {"epochs": 4, "schedule": {"warmup_steps": 10, "decay": "linear"}, "optimizer": {"learning_rate": 1.0}}
    )
    # the last steps of the epochs are 4, 9, 14 and 19 of 20: half-way up, up, then 4 and 9 tenths of the way down
    assert [record["learning_rate"] for record in result.records] == pytest.approx([0.5, 1.0, 0.6, 0.1])


def test_stopping_after_some_epochs_keeps_the_schedule_of_all(world: World) -> None:
    config = {"epochs": 4, "schedule": {"warmup_steps": 3, "decay": "cosine"}}
    whole, part, short = world(), world(), world()
    states: list[dict[str, torch.Tensor]] = []
    whole.train(config, listener=lambda event: states.append(whole.state()) if isinstance(event, EpochDone) else None)
    result = part.train(config, stop_after=2)
    short.train({**config, "epochs": 2})
    assert (result.epoch, result.epochs_run) == (2, 2)
    assert same(part.state(), states[1])
    assert not same(short.state(), states[1])
    for wrong in (0, 5):
        with pytest.raises(ValueError, match=rf"stop_after must be in \[1, 4\], the epochs of the schedule; came {wrong}"):
            world().train(config, stop_after=wrong)


@pytest.mark.parametrize("in_memory", [True, False])
def test_early_stopping_keeps_the_best_epoch(world: World, in_memory: bool, tmp_path: Any) -> None:
    found = world(learned_temperature=True)
    states: list[dict[str, torch.Tensor]] = []
    told: list[EpochDone] = []

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, EpochDone):
            states.append(found.state())
            told.append(event)

    result = found.train(
        {"epochs": 9, "early_stopping": {"patience": 2}},
        validate=figures(0.1, 0.3, 0.3, 0.2),
        listener=listen,
        checkpoints=None if in_memory else Checkpoints(tmp_path, "x"),
    )
    assert (result.epoch, result.epochs_run) == (2, 4)
    assert [event.best for event in told] == [True, True, False, False]
    assert same(found.state(), states[1])
    assert all(not torch.equal(states[1][name], states[3][name]) for name in states[1] if "layers" in name)
    assert not torch.equal(states[1]["loss.temperature.log_excess"], states[3]["loss.temperature.log_excess"])


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_a_model_counts_is_that_of_the_best_epoch_too(world: World, in_memory: bool, tmp_path: Any) -> None:
    found = world()
    found.model.register_buffer("counted", torch.zeros(1))  # as the running means of batch normalisation
    judged = figures(0.1, 0.3, 0.2, 0.2)

    def validate(model: TwoTower) -> Mapping[str, float]:
        model.get_buffer("counted").add_(1)
        return judged(model)

    options = {"checkpoints": None if in_memory else Checkpoints(tmp_path, "x")}
    assert found.train({"epochs": 4, "early_stopping": {"patience": None}}, validate=validate, **options).epoch == 2
    assert found.model.get_buffer("counted").tolist() == [2.0]


@pytest.mark.parametrize(
    ("stopping", "values", "epoch", "epochs_run"),
    [
        ({"patience": 1}, (0.1, 0.2, 0.2, 0.9), 2, 3),
        ({"patience": 2}, (0.1, 0.2, 0.2, 0.9), 4, 4),
        ({"patience": None}, (0.9, 0.1, 0.1, 0.1), 1, 4),
        ({"patience": 1, "min_delta": 0.15}, (0.1, 0.2, 0.9, 0.9), 1, 2),
        ({"patience": 2, "min_delta": 0.15}, (0.1, 0.2, 0.26, 0.3), 3, 4),
        (None, (0.9, 0.1, 0.1, 0.1), 4, 4),
        (False, (0.9, 0.1, 0.1, 0.1), 4, 4),
    ],
)
def test_when_to_stop(world: World, stopping: Any, values: tuple[float, ...], epoch: int, epochs_run: int) -> None:
    result = world().train({"epochs": 4, "early_stopping": stopping}, validate=figures(*values))
    assert (result.epoch, result.epochs_run) == (epoch, epochs_run)


def test_epochs_between_validations_and_the_last_one_always(world: World) -> None:
    for every, epochs, stop_after, validated in ((1, 3, None, [1, 2, 3]), (2, 5, None, [2, 4, 5]), (3, 9, 4, [3, 4])):
        result = world().train(
            {"epochs": epochs, "validate_every": every}, stop_after=stop_after, validate=lambda _: {"x": 1.0}
        )
        assert [record["epoch"] for record in result.records if record["metrics"]] == validated


def test_early_stopping_needs_its_figure(world: World) -> None:
    with pytest.raises(ConfigError, match=r"early_stopping.metric: no 'recal@9' among what validation gives: recall@9, mrr"):
        world().train({"early_stopping": {"metric": "recal@9"}}, validate=lambda _: {"recall@9": 0.1, "mrr": 0.1})
    with pytest.raises(TrainingError, match=r"validation gives recall@100 = nan after epoch 1"):
        world().train({"early_stopping": {}}, validate=figures(float("nan")))


def test_a_loss_per_row_is_refused(world: World) -> None:
    with pytest.raises(ValueError, match="reduction 'mean' or 'sum'; came 'none'"):
        world(reduction="none").train()


def test_weights_of_rows_count(world: World) -> None:
    weights = torch.ones(48)
    weights[:24] = 0.1
    plain, weighted = world(), world(weights=weights)
    plain.train()
    weighted.train()
    assert not same(plain.state(), weighted.state())


def test_spoilt_features_are_named_with_their_rows(world: World) -> None:
    mood = torch.zeros(48, 1)
    mood[[5, 31]] = float("nan")
    found = world(mood=mood)
    order = found.batches.order(0).tolist()
    first = min(order.index(5), order.index(31))
    with pytest.raises(TrainingError) as caught:
        found.train()
    message = str(caught.value)
    assert f"the loss is not a finite number in epoch 1, batch {first // 10 + 1} (step {first // 10 + 1})" in message
    assert "query feature 'mood' (rows " in message
    assert str(order[first]) in message.partition("(rows ")[2]


def test_spoilt_items_are_named(world: World) -> None:
    found = world()
    found.items["price"] = torch.tensor([[0.0]] * 6 + [[float("inf")], [0.0]])
    with torch.no_grad():
        next(iter(found.model.candidate.layers.parameters())).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"item feature 'price' \(rows 6 of the catalogue\)"):
        found.train()


def test_a_rate_that_is_too_large_is_told(world: World) -> None:
    with pytest.raises(TrainingError, match=r"learning rate \(1e\+30\)"):
        world().train({"optimizer": {"learning_rate": 1e30}})


def test_spoilt_weights_are_told(world: World) -> None:
    found = world()
    with torch.no_grad():
        found.model.query.layers.layers[0].weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"batch 1 \(step 1\); most likely that the learning rate .* weights query.layers"):
        found.train()


@pytest.mark.parametrize("saving", [True, False])
def test_weights_that_are_spoilt_by_a_finite_loss_are_neither_kept_nor_judged(
    world: World, saving: bool, tmp_path: Any
) -> None:
    found = world()
    weight = found.model.candidate.layers.layers[0].weight
    steps = itertools.count(1)

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        return gradient * (float("inf") if next(steps) == 5 else 1.0)

    weight.register_hook(spoil)
    with pytest.raises(TrainingError, match=r"a weight is not a finite number in epoch 1, batch 5"):
        found.train(
            {"checkpoint_every_s": 0.0},
            validate=lambda _: pytest.fail("was judged"),
            checkpoints=Checkpoints(tmp_path, "x") if saving else None,
        )
    if saving:
        resumed = world()
        resumed.train({"checkpoint_every_s": 0.0}, checkpoints=Checkpoints(tmp_path, "x", resume=True))
        undisturbed = world()
        undisturbed.train()
        assert same(resumed.state(), undisturbed.state())


def test_a_gradient_that_is_not_finite_stops_before_it_is_applied(world: World) -> None:
    found = world()
    weight = found.model.candidate.layers.layers[0].weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = found.state()
    with pytest.raises(TrainingError, match=r"a gradient is not a finite number in epoch 1, batch 1 \(step 1\)"):
        found.train({"clip_norm": 1.0})
    assert same(found.state(), before)


def test_a_batch_of_weights_zero_is_told(world: World) -> None:
    with pytest.raises(TrainingError, match=r"the mean loss .* all sample weights of the batch are 0"):
        world(weights=torch.zeros(48)).train()
    found = world(weights=torch.zeros(48), reduction="sum")
    before = found.state()
    found.train()
    assert same(found.state(), before)


def test_log_q_is_said_in_one_way(world: World) -> None:
    found = world(loss_kind="sketch")
    with pytest.raises(ValueError, match="log_q_N and streamed_log_q say the same: give one of them"):
        found.train(log_q_N=torch.zeros(8))


def test_a_sketch_of_an_epoch_has_the_counts_of_its_rows(world: World) -> None:
    found = world(loss_kind="sketch")
    streamed = found.log_q["streamed_log_q"] = StreamedLogQ(CountMinSketch(2**12))
    found.train({"epochs": 2})
    counts = torch.bincount(found.batches.examples.item_rows, minlength=8)
    assert streamed.sketch.estimate(torch.arange(8)).tolist() == (2 * counts).tolist()
