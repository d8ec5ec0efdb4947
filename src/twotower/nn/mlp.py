"""The dense layers of a tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from twotower.nn.untraced import unhooked

__all__ = ["MLP"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}


class _Linear(nn.Linear):
    """Without initial values, for which torch would draw from its own generator."""

    def reset_parameters(self) -> None:
        """Nothing: the values are put in afterwards."""


class MLP(nn.Module):
    """Dense layers with an activation after all but the last, whose output may be negative.

    Args:
        input_width: Width of the input.
        layer_sizes: Output width of each layer; empty gives the identity.
        activation: Of the hidden layers.
        init: ``glorot_uniform`` (Glorot & Bengio 2010; Keras' default) or ``he_uniform`` (He et al. 2015). Biases start at 0.
        hidden_dropout: After every hidden activation.
        layer_norm: Layer normalisation (Ba et al. 2016) before every hidden activation.
        generator: Source of the initial values.
    """

    def __init__(
        self,
        input_width: int,
        layer_sizes: Sequence[int],
        *,
        activation: Literal["relu", "gelu", "silu", "tanh"] = "relu",
        init: Literal["glorot_uniform", "he_uniform"] = "glorot_uniform",
        hidden_dropout: float = 0.0,
        layer_norm: bool = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = input_width
        for position, size in enumerate(layer_sizes):
            bound = (6.0 / (width + size)) ** 0.5 if init == "glorot_uniform" else (6.0 / width) ** 0.5
            linear = _Linear(width, size)
            with torch.no_grad():
                linear.weight.uniform_(-bound, bound, generator=generator)
                linear.bias.zero_()
            layers.append(linear)
            if position < len(layer_sizes) - 1:
                if layer_norm:
                    layers.append(nn.LayerNorm(size))
                layers.append(_ACTIVATIONS[activation]())
                if hidden_dropout:
                    layers.append(nn.Dropout(hidden_dropout))
            width = size
        self.layers = nn.Sequential(*layers)

    def relu_layers(self) -> tuple[list[Tensor], list[Tensor]] | None:
        """Weights and biases, where there is nothing between the layers but relu (or dropout that is not in training).

        None also where a hook wants to see what goes through a layer.
        """
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        if not unhooked((self, self.layers, *self.layers)):
            return None
        for layer in self.layers:
            if type(layer) is _Linear:  # another class may do other things
                weights.append(layer.weight)
                biases.append(layer.bias)
            elif type(layer) is not nn.ReLU and (layer.training or type(layer) is not nn.Dropout):
                return None
        return weights, biases

    def forward(self, inputs_BF: Tensor) -> Tensor:
        """``[B, input_width]`` to ``[B, layer_sizes[-1]]``."""
        output: Tensor = self.layers(inputs_BF)
        return output
