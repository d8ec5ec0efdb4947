"""A training that is killed again and again, and goes on with another number of ranks each time, is an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.distributed.in_ranks import in_ranks, preload
from tests.training.test_over_ranks import recipe as toy
from tests.training.test_split_tables import prepared, recipe, weights
from torch import Tensor

from twotower.data.batches import Batch, Batches
from twotower.distributed import ALONE, Ranks
from twotower.distributed import Checkpoints as RankCheckpoints
from twotower.errors import CheckpointError
from twotower.runs import Recipe
from twotower.runs.fit_model import UntrainedModel
from twotower.runs.tasks import objective
from twotower.training import Checkpoints, TrainedParameters, TrainingEvent, TrainingStarted, train
from twotower.training.checkpoint import Progress
from twotower.training.shared_state import SharedState

preload("tests.distributed.with_torchrec")

EPOCHS = 4


def local() -> Recipe:
    """Everything in optimisers' states that a checkpoint must hold, and a sketch."""
    return toy(
        loss={"kind": "in_batch", "sketch": {"width": 16}},
        training={"epochs": EPOCHS, "checkpoint_every_s": 0, "early_stopping": {"metric": "recall@2", "patience": None}},
    )


def split() -> Recipe:
    return recipe("sketch", epochs=EPOCHS, checkpoint_every_s=0, early_stopping={"metric": "recall@2", "patience": None})


class Noted:
    """Batches that write down which rows each rank takes at which step."""

    def __init__(self, batches: Batches, path: Path, session: int, rank: int) -> None:
        self.batches, self.path, self.of = batches, path, (session, rank)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)

    def __len__(self) -> int:
        return len(self.batches)

    def batch(self, epoch: int, place: int) -> Batch:
        found = self.batches.batch(epoch, place)
        with self.path.open("a") as file:
            file.write(json.dumps([*self.of, epoch * len(self.batches) + place, found.rows.tolist()]) + "\n")
        return found


def run(ranks: Ranks, of: Recipe, folder: Path, kill_at: int | None = None, victim: int = 0, session: int = 0) -> Any:
    """Train, or go on; one rank is killed after so many steps of this session.

    Returns:
        Where it went on, records, weights, accumulators, and what was refused.
    """
    torch.manual_seed(0)
    untrained = prepared(of, ranks)
    started: list[TrainingStarted] = []
    taken = 0

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, TrainingStarted):
            started.append(event)

    trained = 0  # epochs, the one that goes on counted

    def validate(model: Any) -> dict[str, float]:
        del model
        return {"recall@2": {1: 0.1, 2: 0.5, 3: 0.3, 4: 0.2}[trained]}  # the second is the best

    step = Batches.batch

    def stepped(self: Batches, epoch: int, place: int) -> Batch:
        nonlocal taken, trained
        if kill_at is not None and taken == kill_at and ranks.rank == victim % ranks.size:
            os.kill(os.getpid(), signal.SIGKILL)
        taken += 1
        trained = epoch + 1
        return step(self, epoch, place)

    Batches.batch = stepped  # type: ignore[method-assign, assignment]
    noted: Any = Noted(untrained.batches, folder / "rows.jsonl", session, ranks.rank)
    result = train(
        untrained.model,
        untrained.loss,
        noted,
        untrained.phase.items,
        config=of.training,
        seed=of.seed,
        device=torch.device("cpu"),
        log_q_N=untrained.log_q_N,
        streamed_log_q=untrained.streamed_log_q,
        objective=objective(of),
        validate=validate,
        checkpoints=Checkpoints(folder / "checkpoints", "of this test", resume=True),
        listener=listen,
        ranks=ranks,
    )
    Batches.batch = step  # type: ignore[method-assign]
    return started, result.epoch, [record["loss"] for record in result.records], kept(untrained, ranks)


def kept(untrained: UntrainedModel, ranks: Ranks) -> dict[str, Tensor]:
    found = weights(untrained, ranks)
    assert untrained.streamed_log_q is not None
    return found | {f"sketch.{key}": value.clone() for key, value in untrained.streamed_log_q.state_dict().items()}


def alone(of: Recipe, folder: Path) -> Any:
    folder.mkdir()
    return run(ALONE, of, folder)


def rows_of_steps(path: Path, *, num_batches: int) -> list[list[int]]:
    """The rows that the last session to take each step took, ranks one after the other."""
    sessions: dict[int, dict[int, dict[int, list[int]]]] = {}
    for line in path.read_text().splitlines():
        session, rank, step, rows = json.loads(line)
        sessions.setdefault(session, {}).setdefault(step, {})[rank] = rows
    found: dict[int, list[int]] = {}
    for _, steps in sorted(sessions.items()):
        assert min(steps) <= len(found), "steps were left out"
        assert sorted(steps) == list(range(min(steps), max(steps) + 1))
        found |= {step: [row for _, rows in sorted(by_rank.items()) for row in rows] for step, by_rank in steps.items()}
    assert sorted(found) == list(range(EPOCHS * num_batches))
    return [found[step] for step in sorted(found)]


@pytest.mark.parametrize("tables", ["local", "split"])
@pytest.mark.parametrize("seed", [1, 2])
def test_two_one_four_two_with_kills(tables: str, seed: int, tmp_path: Path) -> None:
    of = local() if tables == "local" else split()
    _, best, losses, expected = alone(of, tmp_path / "undisturbed")
    num_batches = len(prepared(of, ALONE).batches)
    draw = random.Random(seed)
    folder = tmp_path / "disturbed"
    folder.mkdir()
    for session, size in enumerate((2, 1, 4)):
        with pytest.raises(AssertionError, match=r"died|has lost the others|Checkpoint"):
            in_ranks(run, size, of, folder, draw.randrange(1, num_batches + 2), draw.randrange(size), session)
    found = in_ranks(run, 2, of, folder, None, 0, 3)
    for started, epoch, its_losses, its in found:
        if started:
            assert (started[0].epoch, started[0].batch) != (0, 0), "it went on, and did not begin anew"
        assert epoch == best == 2
        assert its_losses == pytest.approx(losses, rel=1e-5)
        assert its.keys() == expected.keys()
        for name, values in expected.items():
            assert torch.allclose(its[name], values, rtol=1e-5, atol=1e-6), name
    sequence = rows_of_steps(folder / "rows.jsonl", num_batches=num_batches)
    assert sequence == rows_of_steps(tmp_path / "undisturbed" / "rows.jsonl", num_batches=num_batches)


def _copied(ranks: Ranks, of: Recipe, folder: Path) -> list[tuple[str, bool]]:
    saved: list[tuple[str, bool]] = []
    save = RankCheckpoints.save

    def noted(self: Any, state: Any, *, name: str = "last", copied: bool = True, **more: Any) -> None:
        saved.append((name, copied))
        save(self, state, name=name, copied=copied, **more)

    RankCheckpoints.save = noted  # type: ignore[method-assign]
    run(ranks, of, folder)
    RankCheckpoints.save = save  # type: ignore[method-assign]
    return saved


def test_only_the_end_is_written_without_a_copy(tmp_path: Path) -> None:
    for saved in in_ranks(_copied, 2, split(), tmp_path):
        assert saved[-1] == ("last", False)
        assert all(copied for _, copied in saved[:-1])
        assert len(saved) > EPOCHS


def stopped(ranks: Ranks, of: Recipe, folder: Path, steps: int) -> dict[str, Tensor]:
    """Train for some steps and stop as Ctrl-C does; the weights then."""
    untrained = prepared(of, ranks)

    def listen(event: TrainingEvent) -> None:
        del event

    class Enough(Exception):  # noqa: N818
        pass

    step = Batches.batch

    def stepped(self: Batches, epoch: int, place: int) -> Batch:
        if epoch * len(self) + place == steps:
            raise Enough
        return step(self, epoch, place)

    Batches.batch = stepped  # type: ignore[method-assign, assignment]
    try:
        with pytest.raises(Enough):
            train(
                untrained.model,
                untrained.loss,
                untrained.batches,
                untrained.phase.items,
                config=of.training.model_copy(update={"early_stopping": None}),
                seed=of.seed,
                device=torch.device("cpu"),
                streamed_log_q=untrained.streamed_log_q,
                objective=objective(of),
                checkpoints=Checkpoints(folder, "of this test", resume=True),
                listener=listen,
                ranks=ranks,
            )
    finally:
        Batches.batch = step  # type: ignore[method-assign]
    return kept(untrained, ranks)


@pytest.mark.parametrize("tables", ["local", "split"])
def test_what_other_ranks_read_is_what_was_written_to_the_bit(tables: str, tmp_path: Path) -> None:
    of = local() if tables == "local" else split()
    wrote = in_ranks(stopped, 2, of, tmp_path, 3)[0]
    for size in (4, 1, 2):
        read = in_ranks(stopped, size, of, tmp_path, 3)
        for its in read:
            assert its.keys() == wrote.keys()
            assert all(torch.equal(values, its[name]) for name, values in wrote.items())


def resumed(ranks: Ranks, of: Recipe, folder: Path) -> tuple[str, tuple[str, ...], int]:
    try:
        started, *_ = run(ranks, of, folder)
    except CheckpointError as error:
        return str(error), (), 0
    return "", started[0].refused if started else (), started[0].batch if started else -1


@pytest.mark.parametrize("size", [1, 2])
def test_a_damaged_checkpoint_is_passed_over_and_said(size: int, tmp_path: Path) -> None:
    of = split()
    (tmp_path / "run").mkdir()
    in_ranks(stopped, 2, of, tmp_path / "run" / "checkpoints", 3)
    last = tmp_path / "run" / "checkpoints" / "ranks" / "last"
    newest = sorted(path.name for path in last.iterdir())[-1]
    shard = next((last / newest).glob("*.safetensors"))
    values = bytearray(shard.read_bytes())
    values[-1] ^= 1
    shard.write_bytes(values)
    fault, refused, batch = in_ranks(resumed, size, of, tmp_path / "run")[0]
    assert (fault, batch) == ("", 2)
    assert len(refused) == 1
    assert "is refused" in refused[0]
    assert "(step 2) is used instead" in refused[0]


def test_where_none_is_whole_nobody_begins_anew(tmp_path: Path) -> None:
    of = split()
    (tmp_path / "run").mkdir()
    in_ranks(stopped, 2, of, tmp_path / "run" / "checkpoints", 3)
    for commit in (tmp_path / "run" / "checkpoints" / "ranks" / "last").glob("*/commit"):
        commit.write_text("nothing")
    for fault, _, _ in in_ranks(resumed, 2, of, tmp_path / "run"):
        assert "none of its checkpoints is whole" in fault


def test_the_best_epoch_before_is_kept_until_the_last_state_says_otherwise(tmp_path: Path) -> None:
    """All are killed after the weights of a better epoch are kept, and before the state that says so."""
    of = split()
    (tmp_path / "run").mkdir()
    kept_epochs = in_ranks(bests, 2, of, tmp_path / "run")
    assert kept_epochs == [["best-2", "best-3"]] * 2


def bests(ranks: Ranks, of: Recipe, folder: Path) -> list[str]:
    untrained = prepared(of, ranks)
    parameters = TrainedParameters(untrained.model, untrained.loss, of.training.optimizer)
    state = SharedState(parameters, parameters.modules, folder, "of this test", ranks)
    expected = {}
    for epoch, before in ((1, 0), (2, 1), (3, 2)):
        with torch.no_grad():
            for parameter in untrained.model.parameters():
                parameter.fill_(epoch)
        state.save_best(Progress(epoch=epoch, best_epoch=epoch), before)
        expected[epoch] = weights(untrained, ranks)
    state.wait()
    for epoch in (2, 3):
        assert state.load_best(epoch)
        assert all(torch.equal(values, expected[epoch][name]) for name, values in weights(untrained, ranks).items())
    assert not state.load_best(1)
    state.close()
    return sorted(path.name for path in folder.iterdir() if any(path.glob("*/commit")))
