"""A tower: embedded inputs side by side, then dense layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twotower.nn import MLP, EmbeddingCollection, Lookup, run_native_tower, unhooked
from twotower.spec import InputSpec, TowerSpec
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
        given = [
            self.embeddings.lookup(features[entry.column], entry) if entry.table else _floats(features, entry.column)
            for entry in self.spec.inputs
        ]
        output_BD = self._in_one(given)
        if output_BD is None:
            vectors = {entry.column: self._vectors(each, entry) for each, entry in zip(given, self.spec.inputs, strict=True)}
            parts = list(vectors.values())
            hidden_BH = self.dropout(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])
            layered_BD: Tensor = self.layers(hidden_BH)
            for name in self.spec.skip:
                layered_BD = layered_BD + self.dropout(vectors[name])
            output_BD = layered_BD
        return F.normalize(output_BD, dim=1) if self.spec.l2_normalise else output_BD

    def _in_one(self, given: list[Lookup | Tensor]) -> Tensor | None:
        """The dense layers' output, by one kernel from lookups on; None where there is none for such a tower."""
        dropout = self.dropout
        if self.spec.skip or type(dropout) is not nn.Dropout or (dropout.training and dropout.p) or not unhooked((dropout,)):
            return None
        dense = self.layers.relu_layers()
        if dense is None:
            return None
        for at, (each, entry) in enumerate(zip(given, self.spec.inputs, strict=True)):
            if isinstance(each, Lookup) and self.embeddings.has_sparse_gradient(entry):
                given[at] = self.embeddings.pooled(each, entry)
        return run_native_tower(given, *dense)

    def _vectors(self, given: Lookup | Tensor, entry: InputSpec) -> Tensor:
        return self.embeddings.pooled(given, entry) if isinstance(given, Lookup) else given


def _floats(features: Features, name: str) -> Tensor:
    column = features[name]
    if not isinstance(column, Tensor):
        raise TypeError(f"column {name!r} must hold floats; it holds ragged rows")
    return column
