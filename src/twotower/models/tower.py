"""A tower: embedded inputs side by side, then dense layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twotower.nn import MLP, EmbeddingCollection
from twotower.spec import TowerSpec
from twotower.types import Features

__all__ = ["Tower"]


class Tower(nn.Module):
    """Turns encoded features into one vector per row.

    Args:
        spec: Inputs and layers.
        embeddings: The model's tables; the other tower may hold the same ones.
        layers: The dense layers; towers that share their layers are given the same module.
    """

    def __init__(self, spec: TowerSpec, embeddings: EmbeddingCollection, layers: MLP) -> None:
        super().__init__()
        self.spec = spec
        self.embeddings = embeddings
        self.layers = layers
        self.dropout = nn.Dropout(spec.input_dropout)

    def forward(self, features: Features) -> Tensor:
        """Encode rows.

        Args:
            features: Every input's column, all with ``n`` rows.

        Returns:
            Vectors, float32 ``[n, output_width]``.
        """
        vectors = self.embeddings(features, [entry for entry in self.spec.inputs if entry.table])
        parts = [vectors[entry.column] if entry.table else _floats(features, entry.column) for entry in self.spec.inputs]
        hidden_BH = self.dropout(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])
        output_BD: Tensor = self.layers(hidden_BH)
        for name in self.spec.skip:
            output_BD = output_BD + self.dropout(vectors[name])
        return F.normalize(output_BD, dim=1) if self.spec.l2_normalise else output_BD


def _floats(features: Features, name: str) -> Tensor:
    column = features[name]
    if not isinstance(column, Tensor):
        raise TypeError(f"column {name!r} must hold floats; it holds ragged rows")
    return column
