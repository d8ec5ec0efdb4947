"""Training on a device of its own: every tensor that meets another is on it, and the weights are those of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from emulated_device import DEVICE, MixedDevicesError, emulated
from tiny_world import TRAINING_CASES


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


def test_it_knows_what_makes_the_host_wait_and_what_a_graph_does_not_take() -> None:
    with emulated() as emulation:
        values, places = torch.arange(5.0, device=DEVICE), torch.tensor([1, 2]).to(DEVICE)
        waiting: list[Callable[[], Any]] = [
            lambda: values[values > 2],
            lambda: values.__setitem__(values > -1, values.clone()),
            lambda: values.__setitem__(places, 0.0),
            lambda: values.__setitem__(0, 0.0),
            lambda: values.masked_fill(values > 2, values[1]),
        ]
        not_waiting: list[Callable[[], Any]] = [
            lambda: values[places],
            lambda: values.__setitem__(values > 2, 0.0),
            lambda: values.__setitem__(slice(0, 2), 0.0),
            lambda: values.index_fill_(0, places, 0.0),
            lambda: values * torch.tensor(2.0),
            lambda: values.new_full((), 2.0),
        ]
        for work in waiting:
            assert emulation.waits_of(work).total() == 1
        for work in not_waiting:
            with emulation.record():
                assert not emulation.waits_of(work)
        host = torch.ones(5)
        copies: list[Callable[[], Any]] = [
            lambda: values.copy_(host),
            lambda: host.to(DEVICE),
            lambda: torch.tensor(1.0, device=DEVICE),
        ]
        for copy in copies:
            assert not emulation.waits_of(copy)
            with emulation.record(), pytest.raises(RuntimeError, match="copies from the host"):
                copy()


@pytest.mark.parametrize("case", TRAINING_CASES, ids=str)
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
