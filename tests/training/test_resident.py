from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from emulated_device import DEVICE, emulated

from twotower.data import Batches
from twotower.errors import ConfigError, TrainingError
from twotower.training import TrainingConfig
from twotower.training.resident import resident_batches


def test_data_goes_to_a_device_where_it_takes_at_most_half_of_what_is_free(
    world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = world().batches
    size = batches.examples.num_bytes() + 8 * len(batches.examples)
    with emulated():
        for free, there in ((2 * size, True), (2 * size - 1, False), (None, False)):
            monkeypatch.setattr("twotower.training.resident._free_bytes", {DEVICE: free}.get)
            found = resident_batches(batches, DEVICE, "auto")
            assert (found.device == DEVICE) == there
            assert (found is batches) != there
        assert resident_batches(batches, DEVICE, "always").device == DEVICE
        assert resident_batches(batches, DEVICE, "never") is batches
        with pytest.raises(ConfigError, match="the data must be on the device"):
            resident_batches(batches, DEVICE, "never", needed=True)
    assert resident_batches(batches, torch.device("cpu"), "always") is batches


def test_a_device_without_room_is_one_error(world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Batches, device: torch.device) -> Batches:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Batches, "on", full)
    with emulated(), pytest.raises(TrainingError, match=r"resident_data = 'always': the examples take .* set it to 'auto'"):
        resident_batches(world().batches, DEVICE, "always")


def test_a_recipe_that_says_nothing_of_accelerators_reads_as_before() -> None:
    assert not {"resident_data", "cuda_graph"} & TrainingConfig().model_dump().keys()
    asked = TrainingConfig(resident_data="never", cuda_graph=True).model_dump()
    assert (asked["resident_data"], asked["cuda_graph"]) == ("never", True)
    assert TrainingConfig.model_validate(asked) == TrainingConfig(resident_data="never", cuda_graph=True)
