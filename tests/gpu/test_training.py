"""Training on a GPU ends where training on the CPU does, captured or not, and either goes on from the other's checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cuda_device import CUDA, ON_CUDA
from tiny_world import TRAINING_CASES, World, make_world

from twotower.training import Checkpoints, StepDone, TrainingEvent, TrainingResult
from twotower.training.captured import WARM_UP

pytestmark = ON_CUDA

CPU = torch.device("cpu")


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    pass


def interrupt(event: TrainingEvent) -> None:
    if isinstance(event, StepDone) and event.step == 8:
        raise Interrupted


def assert_alike(one: tuple[World, TrainingResult], other: tuple[World, TrainingResult]) -> None:
    losses = [[record["loss"] for record in result.records] for _, result in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    expected = {name: values.cpu() for name, values in other[0].state().items()}
    for name, values in one[0].state().items():
        torch.testing.assert_close(values.cpu(), expected[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("case", TRAINING_CASES, ids=str)
def test_training_there_is_training_here(case: dict[str, Any]) -> None:
    here, there = make_world(**case), make_world(**case)
    expected, found = here.train(), there.train(device=CUDA)
    assert {parameter.device.type for parameter in there.model.parameters()} == {CUDA.type}
    assert_alike((there, found), (here, expected))


def in_batches_of_five(case: dict[str, Any]) -> World:
    """The tiny world without histories: nine batches of five rows, which can be captured, and one of three, which can't."""
    made = make_world(**{**case, "history": False})
    made.batches.batch_size = 5
    made.batches.examples = replace(made.batches.examples, history_inputs=())
    return made


NOT_CAPTURED = {"sketch", "gbce"}
CAPTURED_CASES = [
    case for case in TRAINING_CASES if case.get("loss_kind") not in NOT_CAPTURED and not {"propagation", "history"} & {*case}
]
GRAPH = {"cuda_graph": True, "resident_data": "always"}


@pytest.mark.parametrize("case", CAPTURED_CASES, ids=str)
def test_captured_steps_are_those_of_the_cpu(case: dict[str, Any]) -> None:
    here, there = in_batches_of_five(case), in_batches_of_five(case)
    expected, found = here.train(), there.train(GRAPH, device=CUDA)
    assert found.epochs_run * 9 > 2 * WARM_UP
    assert_alike((there, found), (here, expected))


def test_captured_steps_drop_what_queued_ones_do() -> None:
    """Random numbers of a replay are those of its step, and not those of the one that was captured."""
    made = [in_batches_of_five({"dropout": 0.3}) for _ in range(3)]
    queued = made[0].train({"resident_data": "always"}, device=CUDA)
    assert_alike((made[1], made[1].train(GRAPH, device=CUDA)), (made[0], queued))
    other = made[2].train(GRAPH, device=CUDA, seed=8)
    assert [each["loss"] for each in other.records] != pytest.approx([each["loss"] for each in queued.records], rel=1e-4)


def test_rows_that_stay_on_the_host_teach_the_same() -> None:
    made = [make_world() for _ in range(2)]
    results = [each.train({"resident_data": where}, device=CUDA) for each, where in zip(made, ("never", "always"), strict=True)]
    assert_alike((made[0], results[0]), (made[1], results[1]))


@pytest.mark.parametrize(("first", "second"), [(CPU, CUDA), (CUDA, CPU)], ids=["to the GPU", "from the GPU"])
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"update": "rows", "loss_kind": "sketch"},
        {"learned_temperature": True, "options": {"optimizer": {"kind": "adamw", "epsilon": 0.01}}},
        {"update": "rows", "options": {"optimizer": {"kind": "adamw", "sparse_kind": "lazy_adam", "epsilon": 0.01}}},
        {"update": "rows", "options": {"optimizer": {"kind": "rowwise_adagrad"}}},
    ],
    ids=str,
)
def test_a_checkpoint_is_gone_on_with_on_the_other_device(
    case: dict[str, Any], first: torch.device, second: torch.device, tmp_path: Path
) -> None:
    whole, torn, resumed = (make_world(**case) for _ in range(3))
    expected = whole.train()
    always = {"checkpoint_every_s": 0.0}
    with pytest.raises(Interrupted):
        torn.train(always, device=first, checkpoints=Checkpoints(tmp_path, "same"), listener=interrupt)
    steps: list[int] = []

    def listen(event: TrainingEvent) -> None:
        if isinstance(event, StepDone):
            steps.append(event.step)

    found = resumed.train(always, device=second, checkpoints=Checkpoints(tmp_path, "same", resume=True), listener=listen)
    assert steps[0] == 8
    assert_alike((resumed, found), (whole, expected))
