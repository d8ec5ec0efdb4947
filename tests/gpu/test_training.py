"""Training on a GPU ends where training on the CPU does, and either goes on from the other's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cuda_device import CUDA, ON_CUDA
from tiny_world import TRAINING_CASES, World, make_world

from twotower.training import Checkpoints, StepDone, TrainingEvent, TrainingResult

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
