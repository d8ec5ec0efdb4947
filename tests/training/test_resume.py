"""A training that is interrupted and resumed ends in the same bits as one that was not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from twotower.bundle import read_tensors
from twotower.errors import CheckpointError
from twotower.losses import cumulative_cross_entropy, squared_error
from twotower.spec import OrdinalHeadSpec, RegressionHeadSpec
from twotower.training import Checkpoints, EpochDone, Objective, OutcomeTask, StepDone, TrainingEvent, TrainingStarted

World = Callable[..., Any]
EPOCHS, BATCHES = 4, 5


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    pass


def interrupt_at(step: int) -> Callable[[TrainingEvent], None]:
    """Raise while the given step is reported, before it can be saved."""

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, StepDone) and event.step == step:
            raise Interrupted

    return listen


def figure(made: Any) -> Callable[[Any], Mapping[str, float]]:
    """A figure of validation that depends on every weight, and is best somewhere in the middle."""

    def validate(model: Any) -> dict[str, float]:
        total = sum(float(parameter.detach().double().abs().sum()) for parameter in model.parameters())
        return {"recall@100": -abs(total - made.goal)}

    return validate


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "adagrad": ({"update": "dense"}, {"optimizer": {"kind": "adagrad"}}),
    "adamw": ({"update": "dense", "learned_temperature": True}, {"optimizer": {"kind": "adamw", "learning_rate": 0.02}}),
    "adamw, sparse tables": ({"update": "rows"}, {"optimizer": {"kind": "adamw", "learning_rate": 0.02}}),
    "exact adagrad, sparse tables": ({"update": "rows"}, {"optimizer": {"kind": "adagrad"}, "clip_norm": 0.5}),
    "rowwise": (
        {"update": "rows", "learned_temperature": True, "reduction": "sum"},
        {"optimizer": {"kind": "rowwise_adagrad"}},
    ),
}
CASES["a queue"] = ({"update": "rows", "queue_batches": 2}, {"optimizer": {"kind": "adamw", "learning_rate": 0.02}})
WEIGHTS = torch.arange(48).remainder(5).float() + 0.5
ADAMW = {"optimizer": {"kind": "adamw", "learning_rate": 0.02}}
CASES["counts of a sketch"] = ({"update": "rows", "loss_kind": "sketch", "weights": WEIGHTS, "queue_batches": 1}, ADAMW)
CASES["corrected log-Q"] = ({"loss_kind": "corrected", "weights": WEIGHTS, "extra_negatives": 3}, ADAMW)
CASES["bilateral softmax"] = ({"loss_kind": "bsl", "weights": WEIGHTS}, ADAMW)
CASES["gBCE"] = ({"loss_kind": "gbce", "weights": WEIGHTS, "extra_negatives": 4}, ADAMW)
CASES["propagation"] = (
    {"propagation": (0.5, 0.3, 0.2)},
    {"optimizer": {"kind": "adamw", "learning_rate": 0.02}},
)
RATING = {"rating": torch.arange(48, dtype=torch.float64).remainder(3).masked_fill(torch.arange(48) % 7 == 0, float("nan"))}
HEADS = (
    OrdinalHeadSpec(name="rating", levels=(0.0, 1.0, 2.0), shares=(0.3, 0.3, 0.4), layer_sizes=(3,)),
    RegressionHeadSpec(name="stars", mean=1.0, scale=0.8, low=0.0, high=2.0, inputs=("product",)),
)
CASES["two heads"] = (
    {"heads": HEADS, "outcomes": RATING},
    {"optimizer": {"kind": "adamw", "learning_rate": 0.02}},
)
OBJECTIVES = {
    "two heads": Objective(
        (
            OutcomeTask("rating", "rating", cumulative_cross_entropy, 0.5),
            OutcomeTask("stars", "rating", squared_error, 2.0),
        )
    )
}
SCHEDULE = {"schedule": {"warmup_steps": 6, "decay": "cosine"}, "checkpoint_every_s": 0.0, "epochs": EPOCHS}
STOPPING = {"early_stopping": {"patience": 1}}


def objective_of(case: str) -> dict[str, Objective]:
    return {"objective": OBJECTIVES[case]} if case in OBJECTIVES else {}


def train(
    world: World, case: str, folder: Path, *, goal: float = 0.0, resume: bool = False, every_s: float = 0.0, **options: Any
) -> tuple[Any, Any]:
    made, config = CASES[case]
    found = world(dropout=0.2, **made)
    found.goal = goal
    result = found.train(
        {**SCHEDULE, **STOPPING, **config, "checkpoint_every_s": every_s},
        validate=figure(found),
        checkpoints=Checkpoints(folder, "same", resume=resume),
        **objective_of(case),
        **options,
    )
    return found, result


def middle(world: World, case: str, folder: Path) -> float:
    """The figure's optimum such that the second epoch is the best, the third is not, and training stops there."""
    totals: list[float] = []
    made, config = CASES[case]
    found = world(dropout=0.2, **made)

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, EpochDone):
            totals.append(sum(float(p.detach().double().abs().sum()) for p in found.model.parameters()))

    found.train({**SCHEDULE, **config}, listener=listen, **objective_of(case))
    return totals[1]


def assert_same(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    for (name, value), (_, found) in zip(one[0].state().items(), other[0].state().items(), strict=True):
        assert torch.equal(value, found), name
    results = [(result.epoch, result.epochs_run, [{**r, "seconds": 0} for r in result.records]) for _, result in (one, other)]
    assert results[0] == results[1]


@pytest.mark.parametrize("case", CASES)
def test_resuming_from_every_batch_gives_the_same_bits(world: World, case: str, tmp_path: Path) -> None:
    goal = middle(world, case, tmp_path)

    def copy(event: TrainingEvent) -> None:
        """What would be on the disk if the step that is reported were the last that is heard of."""
        if isinstance(event, StepDone):
            shutil.copytree(tmp_path / "whole", tmp_path / str(event.step))

    whole = train(world, case, tmp_path / "whole", goal=goal, listener=copy)
    assert (whole[1].epoch, whole[1].epochs_run) == (2, 3)
    last = read_tensors(tmp_path / "whole" / "last.safetensors")[0]
    for step in range(1, whole[1].epochs_run * BATCHES + 1):
        folder = tmp_path / str(step)
        started: list[TrainingEvent] = []
        resumed = train(world, case, folder, goal=goal, resume=True, every_s=1e6, listener=started.append)
        assert_same(whole, resumed)
        # the state of the optimisers too
        found = read_tensors(folder / "last.safetensors")[0]
        assert found.keys() == last.keys()
        assert all(torch.equal(found[name], last[name]) for name in last)
        # and nothing was trained twice but the step that was lost
        assert isinstance(started[0], TrainingStarted)
        assert started[0].epoch * BATCHES + started[0].batch == step - 1
        assert [record["epoch"] for record in started[0].records] == list(range(1, started[0].epoch + 1))


def test_a_training_interrupted_again_and_again(world: World, tmp_path: Path) -> None:
    goal = middle(world, "adamw", tmp_path)
    whole = train(world, "adamw", tmp_path / "whole", goal=goal)
    for step in (2, 3, 6, 7, 11, 14):
        with pytest.raises(Interrupted):
            train(world, "adamw", tmp_path / "torn", goal=goal, resume=True, listener=interrupt_at(step))
    assert_same(whole, train(world, "adamw", tmp_path / "torn", goal=goal, resume=True))


def test_an_interruption_after_an_epoch_was_saved_loses_nothing(world: World, tmp_path: Path) -> None:
    def stop(event: TrainingEvent) -> None:
        if isinstance(event, EpochDone) and event.epoch == 2:
            raise Interrupted

    whole = train(world, "adagrad", tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(world, "adagrad", tmp_path / "torn", listener=stop)
    assert_same(whole, train(world, "adagrad", tmp_path / "torn", resume=True))


def test_a_finished_training_is_not_trained_again(world: World, tmp_path: Path) -> None:
    goal = middle(world, "adagrad", tmp_path)
    whole = train(world, "adagrad", tmp_path, goal=goal)
    events: list[TrainingEvent] = []
    again = train(world, "adagrad", tmp_path, goal=goal, resume=True, listener=events.append)
    assert [type(event) for event in events] == [TrainingStarted]
    assert_same(whole, again)


def test_without_resume_training_starts_over(world: World, tmp_path: Path) -> None:
    whole = train(world, "adagrad", tmp_path)
    events: list[TrainingEvent] = []
    again = train(world, "adagrad", tmp_path, listener=events.append)
    assert isinstance(events[0], TrainingStarted)
    assert (events[0].epoch, events[0].batch) == (0, 0)
    assert_same(whole, again)
    assert_same(whole, train(world, "adagrad", tmp_path / "new", resume=True))


def test_the_time_between_checkpoints(world: World, tmp_path: Path) -> None:
    for seconds, expected in ((0.0, True), (1e6, False)):
        found = world()
        with pytest.raises(Interrupted):
            found.train(
                {"checkpoint_every_s": seconds},
                checkpoints=Checkpoints(tmp_path / str(expected), "x"),
                listener=interrupt_at(7),
            )
        assert (tmp_path / str(expected) / "last.safetensors").exists() is expected


def test_a_better_epoch_is_saved_whatever_the_time(world: World, tmp_path: Path) -> None:
    found = world()
    with pytest.raises(Interrupted):
        found.train(
            {"checkpoint_every_s": 1e6, "early_stopping": {"metric": "x"}},
            validate=lambda _: {"x": 1.0},
            checkpoints=Checkpoints(tmp_path, "x"),
            listener=interrupt_at(7),
        )
    started: list[TrainingEvent] = []
    world().train(
        {"early_stopping": {"metric": "x"}},
        validate=lambda _: {"x": 1.0},
        listener=started.append,
        checkpoints=Checkpoints(tmp_path, "x", resume=True),
    )
    assert isinstance(started[0], TrainingStarted)
    assert (started[0].epoch, started[0].batch) == (1, 0)


def test_another_recipes_checkpoint_is_refused(world: World, tmp_path: Path) -> None:
    world().train(checkpoints=Checkpoints(tmp_path, "one"))
    with pytest.raises(CheckpointError, match="of another recipe, data set or library version"):
        world().train(checkpoints=Checkpoints(tmp_path, "two", resume=True))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda _: b"", lambda data: data[:-9] + b"\1" + data[-8:]])
def test_a_damaged_checkpoint_is_refused(world: World, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    world().train(checkpoints=Checkpoints(tmp_path, "x"))
    last = tmp_path / "last.safetensors"
    last.write_bytes(damage(last.read_bytes()))
    with pytest.raises(CheckpointError, match=r"last.safetensors: this checkpoint is damaged .* delete it, or train without"):
        world().train(checkpoints=Checkpoints(tmp_path, "x", resume=True))


def test_a_damaged_or_strange_best_epoch_is_refused(world: World, tmp_path: Path) -> None:
    goal = middle(world, "adagrad", tmp_path)
    train(world, "adagrad", tmp_path / "run", goal=goal)
    best = tmp_path / "run" / "best.safetensors"
    shutil.copy(tmp_path / "run" / "last.safetensors", best)
    with pytest.raises(CheckpointError, match=r"best.safetensors: holds epoch 3, the best was 2"):
        train(world, "adagrad", tmp_path / "run", goal=goal, resume=True)
    best.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"best.safetensors: this checkpoint is damaged"):
        train(world, "adagrad", tmp_path / "run", goal=goal, resume=True)


def test_what_dead_writers_left_is_removed(world: World, tmp_path: Path) -> None:
    left = tmp_path / ".last.safetensors.123-0123abcd.tmp"
    left.write_bytes(b"half")
    world().train(checkpoints=Checkpoints(tmp_path, "x"))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["last.safetensors"]


def test_a_folder_of_ranks_that_was_half_removed_is_not_what_is_gone_on_from(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes on from a folder of ranks ends in files; the process is killed while it removes the folder, newest first."""
    (tmp_path / "run" / "ranks").mkdir(parents=True)

    remove = shutil.rmtree

    def killed(path: Path, **options: Any) -> None:
        commits = sorted(Path(path).glob("last/*/commit"))
        if not commits:
            remove(path, **options)
            return
        for newer in commits[1:]:
            newer.unlink()
        raise Interrupted

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(Interrupted):
        train(world, "adamw", tmp_path / "run", resume=True)
    monkeypatch.undo()
    started: list[TrainingEvent] = []
    found = train(world, "adamw", tmp_path / "run", resume=True, listener=started.append)
    assert len(started) == 1, "it was over, and no step is taken again"
    assert_same(train(world, "adamw", tmp_path / "whole"), found)
    train(world, "adamw", tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} <= {"last.safetensors", "best.safetensors"}


def test_the_best_epoch_that_is_left_is_not_one_from_before_ranks_went_on(world: World, tmp_path: Path) -> None:
    """One process begins, and keeps its second epoch in a file; what went on in a folder of ranks finds the last one best."""
    config = {**SCHEDULE, "early_stopping": {"patience": None}}
    figures = iter([0.1, 0.5, 0.3, 0.9])

    def validate(model: Any) -> dict[str, float]:
        del model
        return {"recall@100": next(figures)}

    def stop(event: TrainingEvent) -> None:
        if isinstance(event, EpochDone) and event.epoch == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        world().train(config, validate=validate, checkpoints=Checkpoints(tmp_path, "same"), listener=stop)
    (tmp_path / "ranks").mkdir()
    result = world().train(config, validate=validate, checkpoints=Checkpoints(tmp_path, "same", resume=True))
    assert result.epoch == 4
    best, last = (read_tensors(tmp_path / f"{name}.safetensors")[0] for name in ("best", "last"))
    assert any(name.startswith("model:") for name in best)
    assert all(torch.equal(values, last[name]) for name, values in best.items())
