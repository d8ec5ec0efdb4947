"""A tower: inputs that are embedded, or read in order, side by side; then dense layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twotower.nn import MLP, EmbeddingCollection, Lookup, SequenceEncoder, run_native_tower, unhooked
from twotower.spec import InputSpec, TowerSpec
from twotower.types import Events, Prefixes, QueryFeatures

__all__ = ["Tower"]


class Tower(nn.Module):
    """Turns encoded features into one vector per row.

    Args:
        spec: Inputs and layers.
        embeddings: The model's tables; the other tower may hold the same ones.
        layers: The dense layers; towers that share their layers are given the same module.
        encoders: Of the inputs that have one, by name of the column; see `twotower.nn.build_encoder`.

    Raises:
        ValueError: If an input's encoder is missing, or there is one that no input has.
    """

    def __init__(
        self,
        spec: TowerSpec,
        embeddings: EmbeddingCollection,
        layers: MLP,
        encoders: Mapping[str, SequenceEncoder] | None = None,
    ) -> None:
        super().__init__()
        wanted = [entry.column for entry in spec.inputs if entry.encoder is not None]
        if sorted(encoders or {}) != sorted(wanted):
            raise ValueError(f"the tower's inputs have encoders of {wanted} (came: {sorted(encoders or {})})")
        self.spec = spec
        self.embeddings = embeddings
        self.layers = layers
        self.dropout = nn.Dropout(spec.input_dropout)
        if encoders:  # a tower without them has the parts that it always had
            self.encoders = nn.ModuleDict({_module_name(name): encoder for name, encoder in encoders.items()})

    def forward(self, features: QueryFeatures, items_ND: Tensor | None = None) -> Tensor:
        """Encode rows.

        Args:
            features: Every input's column, all with ``n`` rows.
            items_ND: The vector of each item, float32 ``[N, width]``, that inputs which read items hold rows of.

        Returns:
            Vectors, float32 ``[n, output_width]``.

        Raises:
            ValueError: If an input reads items, and no vectors came.
        """
        with self.embeddings.fetched((features, self.spec.inputs)):
            given = [self._given(features, entry, items_ND) for entry in self.spec.inputs]
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

    def encoder(self, column: str) -> SequenceEncoder:
        """What reads a column in order.

        Raises:
            KeyError: If nothing does.
        """
        if not any(entry.column == column and entry.encoder is not None for entry in self.spec.inputs):
            raise KeyError(column)
        found = self.encoders[_module_name(column)]
        assert isinstance(found, SequenceEncoder)
        return found

    def _given(self, features: QueryFeatures, entry: InputSpec, items_ND: Tensor | None) -> Lookup | Tensor:
        column = features[entry.column]
        if entry.table is None and entry.items is None:
            if not isinstance(column, Tensor):
                raise TypeError(f"column {entry.column!r} must hold floats; it holds ragged rows")
            return column
        if entry.encoder is None:
            if isinstance(column, Events):
                raise TypeError(f"column {entry.column!r} holds events, which an encoder reads; its input has none")
            return self.embeddings.lookup(column.ragged() if isinstance(column, Prefixes) else column, entry, items_ND)
        if isinstance(column, Tensor):
            raise TypeError(f"column {entry.column!r} must hold sequences; it holds one value a row")
        items = column.items if isinstance(column, Events) else column
        states_BD: Tensor = self.encoder(entry.column)(self.embeddings.read(items, entry, items_ND), column)
        return states_BD

    def _vectors(self, given: Lookup | Tensor, entry: InputSpec) -> Tensor:
        return self.embeddings.pooled(given, entry) if isinstance(given, Lookup) else given


def _module_name(column: str) -> str:
    """A name that is free in every module, and without the dots that torch forbids."""
    return f"encoder:{column.replace('%', '%25').replace('.', '%2E')}"
