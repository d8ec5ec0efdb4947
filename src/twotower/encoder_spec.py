"""Encoders of sequences, in a form that goes to JSON and back; `twotower.spec` has them too."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from twotower.config import Config

__all__ = ["AttentionEncoderSpec", "EncoderSpec", "GRUEncoderSpec", "HSTUEncoderSpec", "TransformerEncoderSpec"]


class _TimedEncoderSpec(Config):
    """What transformer and HSTU have in common: what is read of times and distances.

    These keys came later than the others: they are written after them, and only where they are given, so that a model reads as
    it did before there were any.
    """

    relative_time: bool = False
    relative_position: bool = False
    time_gap: bool = False
    time_buckets: int = Field(default=64, ge=2, le=256)

    @model_serializer(mode="wrap")
    def _later_keys_last(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = write(self)
        later, fields = _TimedEncoderSpec.model_fields, type(self).model_fields
        given = {name: values[name] for name in later if name in values and values[name] != fields[name].default}
        return {**{name: value for name, value in values.items() if name not in later}, **given}

    @model_validator(mode="after")
    def _buckets_of_something(self) -> Self:
        if "time_buckets" in self.model_fields_set and not self.reads_times:
            raise ValueError("time_buckets belongs to relative_time or time_gap: set one of them, or leave it out")
        return self

    @property
    def reads_times(self) -> bool:
        """Whether the times of events change a state."""
        return self.relative_time or self.time_gap


class TransformerEncoderSpec(_TimedEncoderSpec):
    """A causal transformer over a sequence.

    Attributes:
        blocks: How many, one after the other.
        heads: Of the attention; the width must be a multiple.
        hidden: Width of the layer within a block, as a multiple of the width.
        dropout: On what is read, and on what each half of a block adds.
        gates: Whether what a half of a block adds is gated, number by number.
        relative_time: Whether each head adds to its logits a learned bias by the time between two events, in buckets.
        relative_position: Whether it adds one by how many events lie between.
        time_gap: Whether a learned vector by the time since the latest event is added to what is read: until the item is asked
            for where the time of requests is known (``request_time``), else from the event before until the latest one.
        time_buckets: How many buckets of time there are; each is a third longer than the one before.
    """

    kind: Literal["transformer"] = "transformer"
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    hidden: int = Field(default=4, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    gates: bool = False


class HSTUEncoderSpec(_TimedEncoderSpec):
    """Hierarchical sequential transduction units over a sequence (Zhai et al. 2024).

    Attributes:
        blocks: How many, one after the other.
        heads: Of the attention; the width must be a multiple.
        dropout: On what is read, and on what a block adds.
        relative_time: Whether the attention has a learned bias by the time between two events, in buckets.
        relative_position: Whether it has one by how many events lie between.
        time_gap: As of a transformer.
        time_buckets: How many buckets of time there are; each is a third longer than the one before.
    """

    kind: Literal["hstu"] = "hstu"
    blocks: int = Field(default=2, ge=1)
    heads: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    relative_time: bool = True
    relative_position: bool = True


class GRUEncoderSpec(Config):
    """Gated recurrent units over a sequence.

    Attributes:
        layers: How many, one on the other.
        dropout: On what is read.
    """

    kind: Literal["gru"] = "gru"
    layers: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.2, ge=0, lt=1)

    @property
    def reads_times(self) -> bool:
        """No: it reads the order of events alone."""
        return False


class AttentionEncoderSpec(Config):
    """A weighted mean of a sequence, whose weights are learned.

    Attributes:
        hidden: Width of the layer that weights are computed from; None: that of the items.
    """

    kind: Literal["attention"] = "attention"
    hidden: int | None = Field(default=None, ge=1)

    @property
    def reads_times(self) -> bool:
        """No: it reads the items alone."""
        return False


EncoderSpec: TypeAlias = Annotated[
    TransformerEncoderSpec | HSTUEncoderSpec | GRUEncoderSpec | AttentionEncoderSpec, Field(discriminator="kind")
]
"""What reads a sequence in order."""
