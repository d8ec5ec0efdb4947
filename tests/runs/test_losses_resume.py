"""Every sampled loss, on a sample of rows that have weights: cut off anywhere and resumed, it ends with the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from twotower.bundle import read_tensors
from twotower.runs import Recipe, run

MakeRecipe = Callable[..., Recipe]

LOSSES: dict[str, dict[str, Any]] = {
    "corrected log-Q": {"kind": "in_batch", "log_q": "corrected", "extra_negatives": 3},
    "bilateral softmax": {"kind": "bsl", "temperature": 0.5, "positive_temperature": 0.8, "queue_batches": 1},
    "gBCE": {"kind": "gbce", "extra_negatives": 4, "mask_known_positives": True},
    "gBCE over all items": {"kind": "gbce"},
    "counts of a sketch": {"kind": "in_batch", "sketch": {"width": 4, "depth": 2}, "extra_negatives": 2},
}


class CutError(Exception):
    pass


def cut_after(steps: int) -> Callable[[str, object], None]:
    left = [steps]

    def listen(phase: str, event: object) -> None:
        left[0] -= type(event).__name__ == "StepDone"
        if not left[0]:
            raise CutError

    return listen


@pytest.mark.parametrize("name", LOSSES)
def test_a_run_that_is_cut_off_and_resumed_ends_with_the_same_bits(
    name: str, make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    recipe = make_recipe(
        data={"columns": {"weight": "weight"}, "sample": {"fraction": 0.9, "seed": 3}},
        loss=LOSSES[name],
        refit="train",
        training={"epochs": 3, "checkpoint_every_s": 0},
    )
    heard: list[object] = []

    def count(phase: str, event: object) -> None:
        heard.extend([event] if type(event).__name__ == "StepDone" else [])

    run(recipe, tmp_path / "whole", interactions=interactions, listener=count)
    assert len(heard) > 12
    for steps in (2, 7, len(heard) - 1):
        with pytest.raises(CutError):
            run(recipe, tmp_path / "cut", interactions=interactions, listener=cut_after(steps), overwrite=True)
        run(recipe, tmp_path / "cut", interactions=interactions, resume=True)
        for phase in ("select", "refit"):
            whole, resumed = (
                read_tensors(tmp_path / folder / "checkpoints" / phase / "last.safetensors")[0] for folder in ("whole", "cut")
            )
            assert whole.keys() == resumed.keys()
            assert all(torch.equal(whole[key], resumed[key]) for key in whole)
            counted = whole.get("streamed_log_q:sketch.totals")
            assert (counted is not None and int(counted[0]) > 50) == ("sketch" in LOSSES[name])


def test_rows_that_are_not_in_the_sample_and_weights_change_every_loss(
    make_recipe: MakeRecipe, interactions: pl.DataFrame, tmp_path: Path
) -> None:
    for name, loss in LOSSES.items():
        found = []
        for data in ({}, {"columns": {"weight": "weight"}}, {"sample": {"fraction": 0.9, "seed": 3}}):
            run(make_recipe(data=data, loss=loss), tmp_path / "run", interactions=interactions, overwrite=True)
            found.append(read_tensors(tmp_path / "run" / "checkpoints" / "select" / "last.safetensors")[0])
        tables = [next(tensor for key, tensor in tensors.items() if key.startswith("model:")) for tensors in found]
        assert not any(one.equal(other) for one, other in ((tables[0], tables[1]), (tables[0], tables[2]))), name
