"""What a recipe says of one feature: what is made of a column, and how a tower embeds that."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from twotower.config import Config
from twotower.preprocessing import FeatureConfig, HistoryFeature, SequenceFeature
from twotower.spec import EncoderSpec, HSTUEncoderSpec, TransformerEncoderSpec

__all__ = ["WITH_UNKNOWN_ROW", "AskedUpdate", "EmbeddingConfig", "FeatureEntry"]

AskedUpdate: TypeAlias = Literal["auto", "dense", "rows"]
"""What a recipe says of how a table is updated."""


WITH_UNKNOWN_ROW = frozenset({"id", "category", "text", "multi_category", "history", "sequence", "geo"})
"""Kinds of features whose row 0 stands for values that train does not know."""

_WITH_MANY_VALUES = frozenset({"text", "multi_category", "history", "sequence"})
"""Kinds of features that have any number of values a row, pooled to one vector."""

_OF_A_TABLE = ("dim", "table", "id_dropout", "init_scale", "update")
"""What is said of an embedding table, and of nothing else."""


class EmbeddingConfig(Config):
    """How a feature's rows become a vector; ignored by features that are numbers.

    Attributes:
        dim: Width of the vector. A history whose items are the candidate's vectors is as wide as these.
        table: Name of the embedding table; inputs that name the same table share it (a history with the item's id).
            None: a table of its own.
        pooling: Of features with any number of rows (text, genres, history): mean, sum or sqrt_n. None: mean.
        id_dropout: Probability, in training, that a row is replaced by the out-of-vocabulary row, which is how that row is
            trained. None: .01 for features that have such a row (ids, categories, words, histories), else 0.
        value_dropout: Probability, in training, that a pooled value is left out.
        init_scale: The table starts uniform in plus and minus this.
        encoder: Of a sequence: what reads it in order; see `twotower.spec.EncoderSpec`.
        update: ``dense`` gradients, or ``rows``: only the rows that a batch touches are updated (with ``adamw`` by row-wise
            Adagrad, another optimiser). ``auto``: by rows where that is quicker and learns the same, see
            ``twotower train --explain``; features that share a table do as the one that says something.
    """

    dim: int = Field(default=32, ge=1)
    table: str | None = None
    pooling: Literal["mean", "sum", "sqrt_n"] | None = None
    id_dropout: float | None = Field(default=None, ge=0, lt=1)
    value_dropout: float = Field(default=0.0, ge=0, lt=1)
    init_scale: float = Field(default=0.05, gt=0)
    encoder: EncoderSpec | None = None
    update: AskedUpdate = "auto"


class FeatureEntry(Config):
    """One feature of a tower: what preprocessing makes of a column, and how the tower embeds that.

    In TOML the two are one table: the keys of the feature, and ``embedding = { dim = 32 }``.

    Attributes:
        feature: What preprocessing makes of a column.
        embedding: How the tower embeds that; left out, a table of its own of width 32.
    """

    feature: FeatureConfig
    embedding: EmbeddingConfig = EmbeddingConfig()

    @model_validator(mode="before")
    @classmethod
    def _split(cls, values: Any) -> Any:
        if isinstance(values, dict) and "feature" not in values:
            rest = {key: value for key, value in values.items() if key != "embedding"}
            return {"feature": rest, **({"embedding": values["embedding"]} if "embedding" in values else {})}
        return values

    @property
    def reads_candidates(self) -> bool:
        """Whether it is a history whose items are what the candidate tower makes of them."""
        return isinstance(self.feature, HistoryFeature | SequenceFeature) and self.feature.items == "candidate"

    @model_serializer(mode="wrap")
    def _without_a_table(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Of a history that has no table, nothing is said of one, so that what is written reads as it was."""
        values: dict[str, Any] = write(self)
        if self.reads_candidates and isinstance(values.get("embedding"), dict):
            values["embedding"] = {key: value for key, value in values["embedding"].items() if key not in _OF_A_TABLE}
        return values

    @model_validator(mode="after")
    def _embedding_that_does_something(self) -> FeatureEntry:
        if self.reads_candidates:
            said = [name for name in _OF_A_TABLE if name in self.embedding.model_fields_set]
            if said:
                raise ValueError(
                    f"embedding.{said[0]}: with items = 'candidate' there is no table: each item is the vector that the "
                    f"candidate tower gives of it, and as wide as that; leave {', '.join(said)} out"
                )
        if self.embedding.table is not None and self.feature.kind == "geo":
            raise ValueError(
                "embedding.table: a geo feature has two tables, one for each grid, and shares neither: leave it out"
            )
        if self.embedding.id_dropout and self.feature.kind not in WITH_UNKNOWN_ROW:
            raise ValueError(
                f"embedding.id_dropout: a feature of kind {self.feature.kind!r} has no row of unknown values to train; "
                f"kinds that have one: {', '.join(sorted(WITH_UNKNOWN_ROW))}"
            )
        is_sequence = self.feature.kind == "sequence"
        if is_sequence != (self.embedding.encoder is not None):
            raise ValueError(
                "embedding.encoder: a sequence needs what reads it in order, such as { kind = 'transformer' }; a history "
                "is pooled"
                if is_sequence
                else f"embedding.encoder: a feature of kind {self.feature.kind!r} is not read in order; use kind = 'sequence'"
            )
        pooled = [name for name in ("pooling", "value_dropout") if getattr(self.embedding, name)]
        encoder = self.embedding.encoder
        asks = isinstance(self.feature, SequenceFeature) and self.feature.request_time
        if encoder is not None and asks and not encoder.reads_times:
            raise ValueError(
                f"request_time: the encoder (kind {encoder.kind!r}) reads no times, so that of a request would change "
                "nothing: give a transformer relative_time or time_gap, use kind = 'hstu', or leave request_time out"
            )
        if encoder is not None and encoder.reads_times and self.reads_candidates:
            raise ValueError(
                "items = 'candidate' can't be read by an encoder that reads times yet: leave relative_time and time_gap out, "
                "or items"
            )
        heads = encoder.heads if isinstance(encoder, TransformerEncoderSpec | HSTUEncoderSpec) else 1
        if self.embedding.dim % heads and not self.reads_candidates:
            raise ValueError(f"embedding.dim must be a multiple of the encoder's heads; came {self.embedding.dim} for {heads}")
        if pooled and is_sequence:
            raise ValueError(f"embedding.{pooled[0]}: a sequence is read by its encoder, and not pooled: leave it out")
        if pooled and self.feature.kind not in _WITH_MANY_VALUES:
            raise ValueError(
                f"embedding.{pooled[0]}: a feature of kind {self.feature.kind!r} has one value a row, so nothing is pooled; "
                f"kinds that have many: {', '.join(sorted(_WITH_MANY_VALUES))}"
            )
        return self
