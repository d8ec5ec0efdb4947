"""Encoders that read a sequence in order: after each item, what is known so far as one vector.

All of them are causal, so that a sequence that is read once gives the vectors of all its beginnings: this is what makes every
prefix of a history a row to learn from at the price of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twotower.nn.event_times import Clock
from twotower.nn.hstu import HSTUEncoder
from twotower.nn.sequence_encoder import POSITION_SCALE, SequenceEncoder, glorot_linear
from twotower.nn.time_reading import TimeGap, bias_of, read_by_blocks
from twotower.spec import (
    AttentionEncoderSpec,
    EncoderSpec,
    GRUEncoderSpec,
    HSTUEncoderSpec,
    RowsColumn,
    TransformerEncoderSpec,
)

__all__ = ["AttentionEncoder", "GRUEncoder", "TransformerEncoder", "build_encoder"]


class TransformerEncoder(SequenceEncoder):
    """A causal transformer with the norms before (Kang and McAuley 2018, SASRec; Xiong et al. 2020 for the place of the norms).

    ``x = x + attention(norm(x)); x = x + W2 gelu(W1 norm(x))`` for each block, and a norm at the end. Positions are counted
    from the beginning of the sequence, so that a sequence and its beginnings have the same vectors.

    With ``gates``, what a block adds is multiplied by ``sigmoid(G norm(x))``, number by number (Borisyuk et al. 2024, LiGR).

    With ``relative_time`` and ``relative_position``, each head of each block has a bias by buckets of the time between two
    places, and by their distance (as HSTU has); with ``time_gap`` a vector of the time since the latest event is read too. All
    of them start at 0.

    Args:
        spec: Blocks, heads, dropout, and what is read of times.
        width: D.
        max_length: The most items of a sequence.
        generator: Source of the initial values.
        request_time: Whether a state knows when the next item is asked for.
        events: What is read of each event beside its item.
    """

    def __init__(
        self,
        spec: TransformerEncoderSpec,
        width: int,
        max_length: int,
        *,
        generator: torch.Generator,
        request_time: bool = False,
        events: Sequence[RowsColumn] = (),
    ) -> None:
        super().__init__(width, max_length, reads_times=spec.reads_times, request_time=request_time, events=events)
        self.positions = nn.Parameter(torch.empty(max_length + 1, width).normal_(0, POSITION_SCALE, generator=generator))
        self.start = nn.Parameter(torch.empty(width).normal_(0, POSITION_SCALE, generator=generator))
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(_Block(spec, width, max_length, generator) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(width)
        self.gap = TimeGap(spec.time_buckets, width) if spec.time_gap else None
        self.buckets = spec.time_buckets if spec.relative_time else None
        self.pairs_held = 2 * spec.heads if spec.relative_time or spec.relative_position else 0

    def states(self, items_SLD: Tensor, clock: Clock | None = None) -> Tensor:
        """See `SequenceEncoder.states`."""
        return read_by_blocks(
            items_SLD,
            clock,
            start_D=self.start,
            positions_PD=self.positions,
            gap=self.gap,
            buckets=self.buckets,
            dropout=self.dropout,
            blocks=self.blocks,
            norm=self.norm,
        )


class _Block(nn.Module):
    def __init__(self, spec: TransformerEncoderSpec, width: int, max_length: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = spec.heads
        self.attention_norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = glorot_linear(width, 3 * width, generator)
        self.attended = glorot_linear(width, width, generator)
        self.hidden = glorot_linear(width, spec.hidden * width, generator)
        self.output = glorot_linear(spec.hidden * width, width, generator)
        self.gates = nn.ModuleList(glorot_linear(width, width, generator) for _ in range(2 if spec.gates else 0))
        self.dropout = nn.Dropout(spec.dropout)
        self.bias = bias_of(spec, max_length)

    def forward(self, hidden_SLD: Tensor, buckets_STT: Tensor | None = None) -> Tensor:
        normal_SLD = self.attention_norm(hidden_SLD)
        by_head = self.read(normal_SLD).unflatten(2, (3, self.heads, -1))
        if self.bias is None:
            # [S, L, 3 D] to three times [S, heads, L, D / heads]
            queries, keys, values = by_head.permute(2, 0, 3, 1, 4).unbind(0)
            attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True).transpose(1, 2).flatten(2)
        else:
            queries, keys, values = by_head.permute(2, 3, 0, 1, 4).contiguous().unbind(0)
            scale = queries.shape[-1] ** -0.5
            found = self.bias(queries, keys, values, buckets_STT, softmax=True, scale=scale)
            attended = found.permute(1, 2, 0, 3).flatten(2)
        hidden_SLD = hidden_SLD + self._gated(0, self.dropout(self.attended(attended)), normal_SLD)
        normal_SLD = self.hidden_norm(hidden_SLD)
        added_SLD = self.dropout(self.output(F.gelu(self.hidden(normal_SLD))))
        return hidden_SLD + self._gated(1, added_SLD, normal_SLD)

    def _gated(self, which: int, added_SLD: Tensor, normal_SLD: Tensor) -> Tensor:
        return added_SLD * self.gates[which](normal_SLD).sigmoid() if self.gates else added_SLD


class GRUEncoder(SequenceEncoder):
    """Gated recurrent units (Cho et al. 2014; Hidasi et al. 2016, GRU4Rec), whose first state is learned.

    Args:
        spec: Layers and dropout.
        width: D.
        max_length: The most items of a sequence.
        generator: Source of the initial values.
        events: What is read of each event beside its item.
    """

    def __init__(
        self,
        spec: GRUEncoderSpec,
        width: int,
        max_length: int,
        *,
        generator: torch.Generator,
        events: Sequence[RowsColumn] = (),
    ) -> None:
        super().__init__(width, max_length, events=events)
        self.layers = spec.layers
        with torch.random.fork_rng(devices=[]):  # it draws initial values of its own, which are not kept
            self.units = nn.GRU(width, width, spec.layers, batch_first=True)
        with torch.no_grad():
            for parameter in self.units.parameters():
                parameter.uniform_(-(width**-0.5), width**-0.5, generator=generator)
        self.start = nn.Parameter(torch.empty(spec.layers, width).normal_(0, POSITION_SCALE, generator=generator))
        self.dropout = nn.Dropout(spec.dropout)

    def states(self, items_SLD: Tensor, clock: Clock | None = None) -> Tensor:  # noqa: ARG002
        """See `SequenceEncoder.states`."""
        num_sequences, longest, width = items_SLD.shape
        begun = self.start.unsqueeze(1).expand(self.layers, num_sequences, width).contiguous()
        first_SLD = begun[-1].unsqueeze(1)
        if longest == 0:
            return first_SLD
        # as long as the vectors of a table that starts small
        after_SLD, _ = self.units(self.dropout(items_SLD * width**0.5), begun)
        return torch.cat([first_SLD, after_SLD], dim=1)


class AttentionEncoder(SequenceEncoder):
    """Pooling by attention: a mean of the items so far, each weighted by how much it says (Yang et al. 2016, equation 5 to 7).

    ``state_t = sum_i exp(a_i) x_i / sum_i exp(a_i)`` over a learned start and the items before t, with
    ``a_i = 8 tanh(w . tanh(W x_i + b) / 8)``: bounded, so that no item makes all others vanish.

    Args:
        spec: Its width within.
        width: D.
        max_length: The most items of a sequence.
        generator: Source of the initial values.
        events: What is read of each event beside its item.
    """

    steepest = 8.0
    """Bounds the weights' logarithms."""

    def __init__(
        self,
        spec: AttentionEncoderSpec,
        width: int,
        max_length: int,
        *,
        generator: torch.Generator,
        events: Sequence[RowsColumn] = (),
    ) -> None:
        super().__init__(width, max_length, events=events)
        self.hidden = glorot_linear(width, spec.hidden or width, generator)
        self.score = glorot_linear(spec.hidden or width, 1, generator)
        self.start = nn.Parameter(torch.empty(width).normal_(0, POSITION_SCALE, generator=generator))

    def states(self, items_SLD: Tensor, clock: Clock | None = None) -> Tensor:  # noqa: ARG002
        """See `SequenceEncoder.states`."""
        read_SLD = torch.cat([self.start.expand(len(items_SLD), 1, self.width), items_SLD], dim=1)
        scores_SL1 = self.score(torch.tanh(self.hidden(read_SLD * self.width**0.5)))
        weights_SL1 = (self.steepest * torch.tanh(scores_SL1 / self.steepest)).exp()
        return (weights_SL1 * read_SLD).cumsum(1) / weights_SL1.cumsum(1)


def build_encoder(
    spec: EncoderSpec,
    width: int,
    max_length: int,
    *,
    generator: torch.Generator,
    request_time: bool = False,
    events: Sequence[RowsColumn] = (),
) -> SequenceEncoder:
    """Build an encoder with fresh weights.

    Args:
        spec: Which, and its options.
        width: D.
        max_length: The most items of a sequence.
        generator: Source of the initial values.
        request_time: Whether a state knows when the next item is asked for; the encoder must read times.
        events: What is read of each event beside its item.

    Example:
        >>> from twotower.types import Ragged
        >>> encoder = build_encoder(GRUEncoderSpec(), 4, 10, generator=torch.Generator().manual_seed(0))
        >>> encoder(torch.ones(3, 4), Ragged(torch.tensor([5, 6, 7]), torch.tensor([0, 3, 3]))).shape
        torch.Size([2, 4])
    """
    if isinstance(spec, TransformerEncoderSpec):
        return TransformerEncoder(spec, width, max_length, generator=generator, request_time=request_time, events=events)
    if isinstance(spec, HSTUEncoderSpec):
        return HSTUEncoder(spec, width, max_length, generator=generator, request_time=request_time, events=events)
    if request_time:
        raise ValueError(f"an encoder of kind {spec.kind!r} does not read times")
    if isinstance(spec, GRUEncoderSpec):
        return GRUEncoder(spec, width, max_length, generator=generator, events=events)
    return AttentionEncoder(spec, width, max_length, generator=generator, events=events)
