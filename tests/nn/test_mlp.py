from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from twotower.nn import MLP


def mlp(width: int = 3, sizes: tuple[int, ...] = (4, 2), seed: int = 0, **options: Any) -> MLP:
    return MLP(width, sizes, generator=torch.Generator().manual_seed(seed), **options)


def numbers(rows: int = 6, width: int = 3) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(1))


ACTIVATIONS = {
    "relu": lambda x: max(x, 0.0),
    "gelu": lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "tanh": math.tanh,
}


def slowly(layers: MLP, row: list[float], activation: str, *, layer_norm: bool = False) -> list[float]:
    """One row through the weights, in plain Python; layer normalisation as it starts, without its own weights."""
    weights = [parameter.tolist() for name, parameter in layers.named_parameters() if parameter.dim() == 2]
    for position, weight in enumerate(weights):
        row = [sum(w * x for w, x in zip(line, row, strict=True)) for line in weight]
        if position < len(weights) - 1:
            if layer_norm:
                mean = sum(row) / len(row)
                deviation = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row) + 1e-5)
                row = [(x - mean) / deviation for x in row]
            row = [ACTIVATIONS[activation](x) for x in row]
    return row


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_layers_are_the_loop(activation: str, layer_norm: bool) -> None:
    layers = mlp(sizes=(5, 4, 2), activation=activation, layer_norm=layer_norm)
    inputs_BF = numbers()
    expected = [slowly(layers, row.tolist(), activation, layer_norm=layer_norm) for row in inputs_BF]
    torch.testing.assert_close(layers(inputs_BF), torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_the_last_layer_has_no_activation() -> None:
    assert mlp(sizes=(2,))(numbers(50)).min() < 0
    assert mlp(sizes=(4, 2))(numbers(50)).min() < 0


def test_no_layers_are_the_identity() -> None:
    inputs_BF = numbers()
    assert mlp(sizes=())(inputs_BF) is inputs_BF
    assert not list(mlp(sizes=()).parameters())


@pytest.mark.parametrize(("init", "bound"), [("glorot_uniform", math.sqrt(6 / (60 + 40))), ("he_uniform", math.sqrt(6 / 60))])
def test_initial_weights_are_uniform_in_their_bound_and_biases_zero(init: str, bound: float) -> None:
    weight, bias = (parameter.detach() for parameter in mlp(60, (40,), init=init).parameters())
    assert 0.98 * bound < float(weight.abs().max()) <= bound
    assert abs(float(weight.std()) - bound / math.sqrt(3)) < 0.02 * bound
    assert bias.abs().max() == 0


def test_weights_are_fixed_by_the_generator_and_the_global_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = mlp(layer_norm=True, hidden_dropout=0.5), mlp(), mlp(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    inputs_BF = numbers()
    assert torch.equal(first.layers[0].weight, again.layers[0].weight)  # type: ignore[arg-type]
    assert torch.equal(again(inputs_BF), mlp()(inputs_BF))
    assert not torch.equal(again(inputs_BF), other(inputs_BF))


def test_hidden_dropout_is_for_training_and_for_hidden_layers() -> None:
    inputs_BF = numbers()
    dropping, plain = mlp(hidden_dropout=0.5), mlp()
    assert torch.equal(dropping.eval()(inputs_BF), plain(inputs_BF))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert not torch.equal(dropping.train()(inputs_BF), plain(inputs_BF))
        assert torch.equal(mlp(sizes=(2,), hidden_dropout=0.5).train()(inputs_BF), mlp(sizes=(2,))(inputs_BF))
