from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from twotower.errors import CheckpointError
from twotower.optim import OptimizerConfig, build_optimizers
from twotower.training.checkpoint import Progress, load_checkpoint, save_checkpoint


class Parts:
    def __init__(self, seed: int, width: int = 3) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.module = nn.ParameterDict(
            {
                "table": nn.Parameter(torch.rand(6, width, generator=generator)),
                "matrix": nn.Parameter(torch.rand(width, width, generator=generator)),
                "bias": nn.Parameter(torch.rand(width, generator=generator)),
            }
        )
        config = OptimizerConfig(kind="adamw", weight_decay=0.1)
        self.optimizers = build_optimizers(self.module.named_parameters(), config, sparse_parameter_names={"table"})

    def step(self, rows: list[int]) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        found = nn.functional.embedding(torch.tensor(rows), self.module["table"], sparse=True)
        (found @ self.module["matrix"] + self.module["bias"]).square().sum().backward()
        for optimizer in self.optimizers:
            optimizer.step()

    def save(self, path: Path, progress: Progress) -> None:
        save_checkpoint(path, {"model": self.module}, self.optimizers, progress, fingerprint="x")

    def load(self, path: Path, *, fingerprint: str = "x") -> Progress:
        return load_checkpoint(path, {"model": self.module}, self.optimizers, fingerprint=fingerprint)


PROGRESS = Progress(
    epoch=2,
    batch=3,
    step=13,
    loss_sum=0.1 + 0.2,
    rows=30,
    best_epoch=1,
    best_value=1 / 3,
    stale=1,
    stopped=False,
    seconds=1e-7,
    records=[{"epoch": 1, "metrics": {"recall@10": 0.1}}],
)


@pytest.mark.parametrize("steps", [0, 2])
def test_weights_optimisers_and_progress_come_back(tmp_path: Path, steps: int) -> None:
    path = tmp_path / "last.safetensors"
    saved, loaded = Parts(0), Parts(1)
    for _ in range(steps):
        saved.step([1, 4])
    loaded.step([0, 1])  # what it knew before is forgotten
    saved.save(path, PROGRESS)
    assert loaded.load(path) == PROGRESS
    for _ in range(3):
        saved.step([4, 5])
        loaded.step([4, 5])
    for name, parameter in saved.module.items():
        assert torch.equal(parameter, loaded.module[name]), name


def test_the_weights_alone(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    saved, loaded = Parts(0), Parts(1)
    saved.save(path, PROGRESS)
    load_checkpoint(path, {"model": loaded.module}, [], fingerprint="x")
    assert torch.equal(saved.module["matrix"], loaded.module["matrix"])


def test_what_does_not_belong_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    Parts(0).save(path, PROGRESS)
    with pytest.raises(CheckpointError, match="of another recipe, data set or library version"):
        Parts(0).load(path, fingerprint="y")
    with pytest.raises(CheckpointError, match=r"last.safetensors: the weights do not fit the model: .*matrix has shape"):
        Parts(0, width=4).load(path)
    with pytest.raises(CheckpointError, match="this checkpoint is damaged"):
        Parts(0).load(tmp_path / "nothing")


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda _: b""]
)
def test_damage_is_noticed(tmp_path: Path, damage: Callable[[bytes], Any]) -> None:
    path = tmp_path / "last.safetensors"
    Parts(0).save(path, PROGRESS)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=r"damaged .* delete it, or train without --resume"):
        Parts(0).load(path)
