"""What fitting discovered, in a form that goes to JSON and back: encoded columns, tables, towers, models.

``preprocessing`` writes column specs, ``models`` reads them; the two do not know each other.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from twotower.config import Config
from twotower.encoder_spec import (
    AttentionEncoderSpec,
    EncoderSpec,
    GRUEncoderSpec,
    HSTUEncoderSpec,
    TransformerEncoderSpec,
)

__all__ = [
    "AttentionEncoderSpec",
    "ColumnSpec",
    "EncoderSpec",
    "FloatsColumn",
    "GRUEncoderSpec",
    "HSTUEncoderSpec",
    "HeadInput",
    "HeadSpec",
    "InputSpec",
    "ItemsColumn",
    "ModelSpec",
    "OrdinalHeadSpec",
    "RegressionHeadSpec",
    "RowsColumn",
    "TableSpec",
    "TowerSpec",
    "TransformerEncoderSpec",
]


class RowsColumn(Config):
    """An encoded column of integer rows into a vocabulary, to be looked up in an embedding table.

    Attributes:
        name: Name of the column.
        vocabulary_size: Rows are in ``[0, vocabulary_size)``; row 0 is out of vocabulary.
        ragged: Whether a row of the table holds any number of them (words, genres, a history) or exactly one.
    """

    kind: Literal["rows"] = "rows"
    name: str
    vocabulary_size: int = Field(ge=1)
    ragged: bool = False


class FloatsColumn(Config):
    """An encoded column of ``width`` floats per row, that goes into the tower as it is."""

    kind: Literal["floats"] = "floats"
    name: str
    width: int = Field(ge=1)


class ItemsColumn(Config):
    """An encoded column of catalogue rows, any number per row (a history), each of which stands for the candidate's vector."""

    kind: Literal["items"] = "items"
    name: str


ColumnSpec: TypeAlias = Annotated[RowsColumn | FloatsColumn | ItemsColumn, Field(discriminator="kind")]


class TableSpec(Config):
    """An embedding table.

    Attributes:
        name: Name of the table.
        vocabulary_size: Number of rows.
        embedding_dim: Width of a row.
        init_scale: Rows start uniform in plus and minus this (Keras: 0.05).
        update: ``dense`` gradients, or ``rows``: only the rows that a batch touched have a gradient (sparse),
            which the row-wise optimiser applies in place.
    """

    name: str
    vocabulary_size: int = Field(ge=1)
    embedding_dim: int = Field(ge=1)
    init_scale: float = Field(default=0.05, gt=0)
    update: Literal["dense", "rows"] = "dense"


class InputSpec(Config):
    """One input of a tower: a column, looked up in a table (or taken as it is), pooled or read in order if ragged.

    Attributes:
        column: Name of the encoded column.
        width: Numbers that this input adds to the concatenation.
        table: Name of the embedding table; None for columns of floats.
        pooling: For ragged columns: mean, sum, or sum / sqrt(length) (``sqrt_n``). An empty row pools to zeros.
        id_dropout: In training, the probability that a row is replaced by the out-of-vocabulary row 0,
            which is how that row is trained. For ragged columns, each value for itself.
        value_dropout: For ragged columns, in training: the probability that a value is left out of the pooling
            (the pooled vector of a sum is scaled to keep its expectation).
        encoder: What reads a ragged column in order, in place of the pooling.
        max_length: The most values that the encoder reads; given where there is one. Both are written only where they are
            given, so that a model without encoders reads as it did before there were any.
        items: ``candidate``: in place of a table, the column's values are rows of the catalogue, and each is the vector that
            the candidate tower gives of it. Written only where it is given, as the two before.
        request_time: Whether the encoder knows when the next item is asked for.
        events: What it reads of each event beside the item, columns of rows. Both are written only where they are given.
    """

    column: str
    width: int = Field(ge=1)
    table: str | None = None
    pooling: Literal["mean", "sum", "sqrt_n"] | None = None
    id_dropout: float = Field(default=0.0, ge=0, lt=1)
    value_dropout: float = Field(default=0.0, ge=0, lt=1)
    encoder: EncoderSpec | None = None
    max_length: int | None = Field(default=None, ge=1)
    items: Literal["candidate"] | None = None
    request_time: bool = False
    events: tuple[RowsColumn, ...] = ()

    @model_validator(mode="after")
    def _events_of_an_encoder(self) -> InputSpec:
        if self.encoder is None and (self.request_time or self.events):
            raise ValueError("request_time and events are an encoder's")
        if self.request_time and not self.reads_times:
            raise ValueError("request_time needs an encoder that reads times")
        if self.items is not None and (self.reads_times or self.events):
            raise ValueError("items that are candidates' vectors are read without times and columns of events")
        return self

    @property
    def reads_times(self) -> bool:
        """Whether an encoder reads when events were."""
        return self.encoder is not None and self.encoder.reads_times

    @model_validator(mode="after")
    def _encoder_with_length(self) -> InputSpec:
        if (self.encoder is None) != (self.max_length is None):
            raise ValueError("encoder and max_length are given together, or neither")
        looked_up = self.table is not None or self.items is not None
        if self.encoder is not None and (self.pooling is not None or self.value_dropout or not looked_up):
            raise ValueError("an encoder takes the place of pooling and value_dropout, and reads rows of a table, or items")
        if self.items is not None and (self.table is not None or self.id_dropout):
            raise ValueError("items take the place of a table and of id_dropout")
        if self.items is not None and self.encoder is None and self.pooling is None:
            raise ValueError("items are any number a row: give pooling or an encoder")
        if isinstance(self.encoder, TransformerEncoderSpec | HSTUEncoderSpec) and self.width % self.encoder.heads:
            raise ValueError(f"width must be a multiple of the encoder's heads; came {self.width} for {self.encoder.heads}")
        return self

    @model_serializer(mode="wrap")
    def _without_empty_encoder(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        if self.encoder is None:
            values.pop("encoder", None)
            values.pop("max_length", None)
        if self.items is None:
            values.pop("items", None)
        if not self.request_time:
            values.pop("request_time", None)
        if not self.events:
            values.pop("events", None)
        return values


class TowerSpec(Config):
    """A tower: its inputs side by side, then dense layers.

    Attributes:
        inputs: In the order of the concatenation.
        layer_sizes: Output widths of the dense layers; activation after all but the last. Empty: the concatenation itself.
        activation: Of the hidden layers.
        init: Of the dense layers: ``glorot_uniform`` (Keras' default, zero bias) or ``he_uniform``.
        input_dropout: On the concatenation, and, drawn anew, on what ``skip`` adds.
        hidden_dropout: After every hidden activation.
        layer_norm: Layer normalisation before every hidden activation.
        l2_normalise: Scale the output to length 1, so that the dot product is the cosine.
        skip: Names of embedded inputs that are added to the output, after the last layer (as wide as the output).
    """

    inputs: tuple[InputSpec, ...] = Field(min_length=1)
    layer_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    init: Literal["glorot_uniform", "he_uniform"] = "glorot_uniform"
    input_dropout: float = Field(default=0.0, ge=0, lt=1)
    hidden_dropout: float = Field(default=0.0, ge=0, lt=1)
    layer_norm: bool = False
    l2_normalise: bool = False
    skip: tuple[str, ...] = ()

    @property
    def input_width(self) -> int:
        """Width of the concatenation."""
        return sum(entry.width for entry in self.inputs)

    @property
    def output_width(self) -> int:
        """Width of the vectors that the tower gives."""
        return self.layer_sizes[-1] if self.layer_sizes else self.input_width


HeadInput: TypeAlias = Literal["query", "candidate", "product"]
"""What a head reads of a pair: the query's vector, the candidate's, or their product number by number."""


class _PairHeadSpec(Config):
    name: str
    inputs: tuple[HeadInput, ...] = Field(default=("query", "candidate", "product"), min_length=1)
    layer_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"

    @model_validator(mode="after")
    def _distinct_inputs(self) -> _PairHeadSpec:
        if len(set(self.inputs)) < len(self.inputs):
            raise ValueError(f"inputs: each may be named once; came {', '.join(self.inputs)}")
        return self


class RegressionHeadSpec(_PairHeadSpec):
    """A head that predicts a number of a query and a candidate: dense layers on their vectors.

    Attributes:
        name: Of the task, distinct in a model.
        inputs: What it reads, side by side in this order.
        layer_sizes: Widths of the hidden layers; one number follows. Empty: linear.
        activation: Of the hidden layers.
        mean: Of the outcome in the fit rows; the head is trained on ``(value - mean) / scale``.
        scale: Standard deviation of the outcome in the fit rows.
        low: Smallest outcome of the fit rows; predictions are clipped to it.
        high: Largest outcome of the fit rows.
    """

    kind: Literal["regression"] = "regression"
    mean: float
    scale: float = Field(gt=0)
    low: float
    high: float


class OrdinalHeadSpec(_PairHeadSpec):
    """A head that predicts which of a few ordered levels an outcome has; the first four attributes as for a regression.

    Attributes:
        levels: Distinct outcomes of the fit rows, ascending.
        shares: Share of the fit rows at each level; a fresh head predicts about these for everybody.
    """

    kind: Literal["ordinal"] = "ordinal"
    levels: tuple[float, ...] = Field(min_length=2)
    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...]

    @model_validator(mode="after")
    def _levels_ascend(self) -> OrdinalHeadSpec:
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"levels must be distinct and ascend; came {self.levels}")
        if len(self.shares) != len(self.levels):
            raise ValueError(f"shares must have one entry per level; came {len(self.shares)} for {len(self.levels)}")
        return self


HeadSpec: TypeAlias = Annotated[RegressionHeadSpec | OrdinalHeadSpec, Field(discriminator="kind")]


class ModelSpec(Config):
    """All that is needed to build a two-tower model, but its weights.

    Attributes:
        tables: Every embedding table, shared ones once.
        query: The query tower.
        candidate: The candidate tower.
        share_layers: Both towers use the same dense layers (their input widths must agree).
        heads: What is predicted of a query and a candidate beside their score; written only where there are some, so that a
            model without them reads as it did before there were heads.
    """

    tables: tuple[TableSpec, ...] = ()
    query: TowerSpec
    candidate: TowerSpec
    share_layers: bool = False
    heads: tuple[HeadSpec, ...] = ()

    @model_serializer(mode="wrap")
    def _without_empty_heads(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        if not self.heads:
            values.pop("heads", None)
        return values
