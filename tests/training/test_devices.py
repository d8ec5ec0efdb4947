"""Training on a device of its own: every tensor that meets another is on it, and the weights are those of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from emulated_device import DEVICE, Emulation, MixedDevicesError, emulated

from twotower.training.captured import CAPTURES

ADAMW = {"optimizer": {"kind": "adamw", "epsilon": 0.01}}  # of gradients near 0, an epsilon near 0 makes noise


def test_the_emulated_device_is_one_of_its_own() -> None:
    with emulated() as emulation:
        values = torch.arange(3.0, device=DEVICE)
        with pytest.raises(MixedDevicesError, match="add"):
            values + torch.ones(3)
        with emulation.record() as recording:
            doubled = values * 2
        values.fill_(5)
        recording.replay()
        assert emulation.waits_of(lambda: doubled.tolist()) == {"aten::_to_copy": 1}
        assert doubled.tolist() == [10, 10, 10]
        with emulation.record(), pytest.raises(RuntimeError, match="wait"):
            values.nonzero()


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"update": "rows"},
        {"history": False},
        {"learned_temperature": True},
        {"reduction": "sum"},
        {"loss_kind": "log-q"},
        {"loss_kind": "sketch"},
        {"loss_kind": "corrected"},
        {"loss_kind": "bsl"},
        {"loss_kind": "gbce", "extra_negatives": 3},
        {"queue_batches": 2},
        {"extra_negatives": 3},
        {"propagation": (0.5, 0.5)},
        {"weights": torch.linspace(0.1, 1, 48)},
        {"options": {"clip_norm": 0.5}},
        {"options": ADAMW},
        {"update": "rows", "options": ADAMW},
        {"update": "rows", "options": {"optimizer": {"kind": "adamw", "sparse_kind": "lazy_adam", "epsilon": 0.01}}},
        {"update": "rows", "options": {"optimizer": {"kind": "rowwise_adagrad"}}},
    ],
    ids=str,
)
def test_training_there_is_training_here(world: Callable[..., Any], case: dict[str, Any]) -> None:
    here = world(**case)
    expected = here.train()
    with emulated():
        there = world(**case)
        found = there.train(device=DEVICE)
        states = {name: values.cpu() for name, values in there.state().items()}
    assert [record["loss"] for record in found.records] == pytest.approx(
        [record["loss"] for record in expected.records], rel=1e-5
    )
    for name, values in here.state().items():
        torch.testing.assert_close(states[name], values, rtol=1e-4, atol=1e-5)


def _capture(emulation: Emulation) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """What `cuda_graph` is on CUDA; here the work is done while it is recorded, so that the first replay has nothing to do."""

    def capture(work: Callable[[], None]) -> Callable[[], None]:
        with emulation.record() as recording:
            work()
        assert recording.count > 20
        replays = iter([lambda: None])
        return lambda: next(replays, recording.replay)()

    return capture


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"update": "rows"},
        {"dropout": 0.2},
        {"learned_temperature": True},
        {"reduction": "sum"},
        {"loss_kind": "log-q"},
        {"loss_kind": "corrected"},
        {"queue_batches": 2},
        {"extra_negatives": 3},
        {"weights": torch.linspace(0.1, 1, 48)},
        {"options": {"clip_norm": 0.05}},
        {"update": "rows", "options": {"clip_norm": 0.05}},
        {"options": ADAMW | {"schedule": {"warmup_steps": 3, "decay": "cosine"}}},
        {"update": "rows", "options": ADAMW},
        {"update": "rows", "options": {"optimizer": {"kind": "adamw", "sparse_kind": "lazy_adam", "epsilon": 0.01}}},
        {"update": "rows", "options": {"optimizer": {"kind": "rowwise_adagrad"}}},
    ],
    ids=str,
)
def test_a_captured_step_is_the_step(world: Callable[..., Any], case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"epochs": 4, "batch_size": 5, "resident_data": "always", **case.get("options", {})}
    case = {**case, "history": False, "options": options}
    here = _in_batches_of_five(world(**case))
    expected = here.train()
    with emulated() as emulation:
        monkeypatch.setitem(CAPTURES, DEVICE.type, _capture(emulation))
        there = _in_batches_of_five(world(**case))
        found = there.train({"cuda_graph": True}, device=DEVICE)
        states = {name: values.cpu() for name, values in there.state().items()}
    assert [record["loss"] for record in found.records] == pytest.approx(
        [record["loss"] for record in expected.records], rel=1e-5
    )
    for name, values in here.state().items():
        torch.testing.assert_close(states[name], values, rtol=1e-4, atol=1e-5)


def _in_batches_of_five(made: Any) -> Any:
    """48 rows without histories, in nine batches of five and one of three."""
    made.batches.batch_size = 5
    made.batches.examples = replace(made.batches.examples, history_inputs=())
    return made
