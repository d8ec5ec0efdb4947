"""Steps that a graph can hold: recorded once on a device and replayed, they are the steps of the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from emulated_device import DEVICE, emulated
from torch import Tensor

from twotower.optim import (
    OptimizerConfig,
    apply_learning_rate_factor,
    build_optimizers,
    clip_gradients,
    clip_recorded,
    let_steps_be_recorded,
)

ROWS, WIDTH, TOUCHED = 12, 3, 7


class _Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.table = torch.nn.Parameter(torch.randn(ROWS, WIDTH, generator=generator))
        self.matrix = torch.nn.Parameter(torch.randn(4, WIDTH, generator=generator))
        self.bias = torch.nn.Parameter(torch.randn(4, generator=generator))


def _gradients(step: int, *, dense_table: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    rows = torch.randint(ROWS // 2, (TOUCHED,), generator=generator) + step % 3
    values = torch.randn(ROWS if dense_table else TOUCHED, WIDTH, generator=generator)
    return rows, values, torch.randn(4, WIDTH, generator=generator), torch.randn(4, generator=generator)


def _give(model: _Model, rows: Tensor, values: Tensor, matrix: Tensor, bias: Tensor, *, dense_table: bool) -> None:
    table = values if dense_table else torch.sparse_coo_tensor(rows[None], values, (ROWS, WIDTH), check_invariants=False)
    model.table.grad, model.matrix.grad, model.bias.grad = table, matrix, bias


CONFIGS: list[dict[str, Any]] = [
    {"kind": "adagrad"},
    {"kind": "adagrad", "weight_decay": 0.1},
    {"kind": "rowwise_adagrad"},
    {"kind": "adamw", "weight_decay": 0.1, "epsilon": 0.01},
    # moments that are soon forgotten, so that a row that is moved twice shows
    {"kind": "adamw", "sparse_kind": "lazy_adam", "epsilon": 0.01, "betas": (0.5, 0.5), "learning_rate": 0.1},
]


@pytest.mark.parametrize("clip", [None, 0.5, 1e6])
@pytest.mark.parametrize("dense_table", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_replayed_steps_are_steps(config: dict[str, Any], dense_table: bool, clip: float | None) -> None:
    sparse = set() if dense_table else {"table"}
    here = _Model()
    optimizers = build_optimizers(here.named_parameters(), OptimizerConfig(**config), sparse_parameter_names=sparse)
    norms = []
    for step in range(6):
        apply_learning_rate_factor(optimizers, 1 / (step + 1))
        _give(here, *_gradients(step, dense_table=dense_table), dense_table=dense_table)
        if clip is not None:
            norms.append(clip_gradients(here.parameters(), clip))
        for optimizer in optimizers:
            optimizer.step()
    with emulated() as emulation:
        there = _Model().to(DEVICE)
        optimizers = build_optimizers(there.named_parameters(), OptimizerConfig(**config), sparse_parameter_names=sparse)
        let_steps_be_recorded(optimizers, DEVICE)
        given = tuple(each.to(DEVICE) for each in _gradients(0, dense_table=dense_table))
        norm = None

        def work() -> None:
            nonlocal norm
            # clipping writes into what it is given
            _give(there, *(each.clone() for each in given), dense_table=dense_table)
            if clip is not None:
                norm = clip_recorded(there.parameters(), clip)
            for optimizer in optimizers:
                optimizer.step()

        found_norms = []
        for step in range(6):
            apply_learning_rate_factor(optimizers, 1 / (step + 1))
            for buffer, values in zip(given, _gradients(step, dense_table=dense_table), strict=True):
                buffer.copy_(values)
            if step == 2:
                with emulation.record() as recording:  # the emulated device runs what it records; CUDA does not
                    work()
            elif step < 2:
                assert not emulation.waits_of(work)
            else:
                recording.replay()
            if norm is not None:
                found_norms.append(float(norm))
        states = {name: parameter.detach().cpu() for name, parameter in there.named_parameters()}
        counts = {float(state["step"]) for optimizer in optimizers for state in optimizer.state.values() if "step" in state}
    assert found_norms == pytest.approx(norms)
    assert counts <= {6.0}
    for name, parameter in here.named_parameters():
        torch.testing.assert_close(states[name], parameter.detach(), rtol=2e-5, atol=2e-6)


def test_a_gradient_that_is_not_finite_is_not_scaled() -> None:
    with emulated():
        model = _Model().to(DEVICE)
        model.bias.grad = torch.tensor([1.0, torch.inf, 2.0, 3.0], device=DEVICE)
        norm = clip_recorded(model.parameters(), 1.0)
        assert float(norm) == torch.inf
        assert model.bias.grad.tolist() == [1, torch.inf, 2, 3]
        model.bias.grad = None
        assert float(clip_recorded(model.parameters(), 1.0)) == 0
        with pytest.raises(ValueError, match="max_norm"):
            clip_recorded([], 0.0)


def test_rates_of_tensors_go_with_what_a_graph_can_hold_only() -> None:
    optimizers = build_optimizers(_Model().named_parameters(), OptimizerConfig(kind="adagrad"))
    let_steps_be_recorded(optimizers, torch.device("cpu"))
    optimizers[0].param_groups[0]["lr_decay"] = 0.1
    with pytest.raises(ValueError, match="decay of the rate"):
        optimizers[0].step()


def test_without_a_graph_only_what_would_wait_is_made_so() -> None:
    model = _Model()
    optimizers = build_optimizers(model.named_parameters(), OptimizerConfig(kind="adamw"), sparse_parameter_names={"table"})
    let_steps_be_recorded(optimizers, torch.device("cpu"), captured=False)
    adamw, rows = optimizers
    assert not any(isinstance(group["lr"], Tensor) or group["capturable"] for group in adamw.param_groups)
    assert all(isinstance(group["lr"], Tensor) for group in rows.param_groups)
    let_steps_be_recorded(optimizers, torch.device("cpu"))
    assert all(isinstance(group["lr"], Tensor) and group["capturable"] for group in adamw.param_groups)
