"""Encoders that read a sequence in order: after each item, what is known so far as one vector.

All of them are causal, so that a sequence that is read once gives the vectors of all its beginnings: this is what makes every
prefix of a history a row to learn from at the price of one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twotower.nn.event_columns import EventColumns
from twotower.nn.event_times import Clock, clock_of, pair_buckets
from twotower.nn.sequence_layout import as_prefixes, pad, take_states
from twotower.nn.time_reading import AttentionBias, TimeGap, bias_of
from twotower.spec import (
    AttentionEncoderSpec,
    EncoderSpec,
    GRUEncoderSpec,
    HSTUEncoderSpec,
    RowsColumn,
    TransformerEncoderSpec,
)
from twotower.types import Events, Prefixes, Ragged

__all__ = ["AttentionEncoder", "GRUEncoder", "HSTUEncoder", "SequenceEncoder", "TransformerEncoder", "build_encoder"]

_POSITION_SCALE = 0.02
_NUMBERS_AT_ONCE = 2**25
_COPIES = 12


class SequenceEncoder(nn.Module):
    """Turns sequences of vectors into what is known after each of them; abstract.

    The state after no item is learned too: it is what a query without history has.

    Args:
        width: D, of the items' vectors and of the states.
        max_length: The most items that a sequence may have.
        reads_times: Whether a state depends on when the events were.
        request_time: Whether it depends on when the next item is asked for.
        events: What is read of each event beside its item.
    """

    pairs_held = 0
    """How many numbers of each pair of places are held at once, where all pairs are."""

    def __init__(
        self,
        width: int,
        max_length: int,
        *,
        reads_times: bool = False,
        request_time: bool = False,
        events: Sequence[RowsColumn] = (),
    ) -> None:
        super().__init__()
        if request_time and not reads_times:
            raise ValueError("an encoder that does not read times does not know that of a request either")
        self.width = width
        self.max_length = max_length
        self.reads_times = reads_times
        self.request_time = request_time
        self.events = EventColumns(events, width) if events else None

    @abstractmethod
    def states(self, items_SLD: Tensor, clock: Clock | None = None) -> Tensor:
        """The states after 0 to L items, ``[S, L + 1, D]``; a state depends on the events before it and on no others.

        Args:
            items_SLD: Vectors of the items, ``[S, L, D]``; behind the end of a sequence, anything.
            clock: When they were, where times are read.
        """

    def forward(self, vectors_VD: Tensor, column: Ragged | Prefixes | Events) -> Tensor:
        """The state after each row of a column.

        Args:
            vectors_VD: Of the values of the column's sequences, end to end, float32 ``[total, D]``.
            column: Which sequences these are, and what the rows are of them.

        Returns:
            ``[n, D]``.

        Raises:
            ValueError: If a sequence is longer than ``max_length``, or the column lacks what the encoder reads of events.
        """
        events = column if isinstance(column, Events) else Events(column)
        self._require(events)
        if self.events is not None:
            vectors_VD = vectors_VD + self.events(events.columns)
        sequences, sequence_of, lengths = as_prefixes(events.items)
        longest = int(sequences.lengths.max()) if sequences.num_rows else 0
        if longest > self.max_length:
            raise ValueError(f"a sequence may have {self.max_length} items (came: {longest}); give its latest ones")
        if torch.is_grad_enabled():
            every_SLD = self.states(pad(vectors_VD, sequences.offsets), self._clock(events._replace(items=sequences)))
            return take_states(every_SLD, sequence_of, lengths)
        output_BD = vectors_VD.new_empty(len(lengths), self.width)
        order = sequences.lengths.argsort()
        for chosen in self._parts(sequences.lengths, order):
            here = torch.full((sequences.num_rows,), -1, dtype=torch.int64, device=chosen.device)
            here[chosen] = torch.arange(len(chosen), device=chosen.device)
            rows = (here[sequence_of] >= 0).nonzero().flatten()
            places = Ragged(torch.arange(len(vectors_VD), device=chosen.device), sequences.offsets).take(chosen)
            clock = None
            if self.reads_times:
                clock = self._clock(Events(sequences, events.times, events.asked).take(chosen))
            states_SLD = self.states(pad(vectors_VD[places.values], places.offsets), clock)
            output_BD[rows] = take_states(states_SLD, here[sequence_of[rows]], lengths[rows])
        return output_BD

    def _parts(self, lengths: Tensor, order: Tensor) -> Iterator[Tensor]:
        """Sequences of about one length each, few enough to be padded at once."""
        start = 0
        while start < len(order):
            # as many as would fit if all were as long as the last of them
            places = lengths[order[start:]] + 1
            numbers = places * (self.width * _COPIES + self.pairs_held * places)
            numbers = numbers * torch.arange(1, len(order) - start + 1, device=order.device)
            fits = int((numbers <= _NUMBERS_AT_ONCE).sum())
            yield order[start : start + max(1, fits)]
            start += max(1, fits)

    def _require(self, events: Events) -> None:
        if self.reads_times and events.times is None:
            raise ValueError("the encoder reads when events were: give times")
        if self.request_time and events.asked is None:
            raise ValueError("the encoder reads when the next item is asked for: give asked")

    def _clock(self, events: Events) -> Clock | None:
        return clock_of(events, requested=self.request_time) if self.reads_times else None


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
        self.positions = nn.Parameter(torch.empty(max_length + 1, width).normal_(0, _POSITION_SCALE, generator=generator))
        self.start = nn.Parameter(torch.empty(width).normal_(0, _POSITION_SCALE, generator=generator))
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(_Block(spec, width, max_length, generator) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(width)
        self.gap = TimeGap(spec.time_buckets, width) if spec.time_gap else None
        self.buckets = spec.time_buckets if spec.relative_time else None
        self.pairs_held = 2 * spec.heads if spec.relative_time or spec.relative_position else 0

    def states(self, items_SLD: Tensor, clock: Clock | None = None) -> Tensor:
        """See `SequenceEncoder.states`."""
        num_sequences, longest, width = items_SLD.shape
        # as long as the vectors of a table that starts small, the items are what a position is added to
        read_SLD = torch.cat([self.start.expand(num_sequences, 1, width), items_SLD * width**0.5], dim=1)
        read_SLD = read_SLD + self.positions[: longest + 1]
        hidden_SLD = self.dropout(read_SLD if self.gap is None or clock is None else read_SLD + self.gap(clock))
        buckets_STT = None if self.buckets is None or clock is None else pair_buckets(clock, self.buckets)
        for block in self.blocks:
            hidden_SLD = block(hidden_SLD, buckets_STT)
        output: Tensor = self.norm(hidden_SLD)
        return output


class _Block(nn.Module):
    def __init__(self, spec: TransformerEncoderSpec, width: int, max_length: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = spec.heads
        self.attention_norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = _linear(width, 3 * width, generator)
        self.attended = _linear(width, width, generator)
        self.hidden = _linear(width, spec.hidden * width, generator)
        self.output = _linear(spec.hidden * width, width, generator)
        self.gates = nn.ModuleList(_linear(width, width, generator) for _ in range(2 if spec.gates else 0))
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


class HSTUEncoder(SequenceEncoder):
    """Hierarchical sequential transduction units (Zhai et al. 2024, equations 1 to 3).

    For each block, with ``x`` normalised to ``n``, and all of it causal:

    - ``U, V, Q, K = SiLU(W1 n)`` (1);
    - ``(A V)_i = 1/(i + 1) sum_{j <= i} SiLU(Q_i . K_j + rab_ij) V_j`` for each head (2);
    - ``x = x + W2 (norm(A V) * U)`` (3).

    ``rab_ij`` is a bias of the head by the distance ``i - j`` and by the bucket of the time between i and j,
    ``floor(log(max(1, |seconds|)) / 0.301)``; both start at 0. No softmax: how much there is of something is kept. The paper
    divides by the longest length that there may be; here it is by the places that are read, the start among them, which depends
    on neither padding nor on what comes later, and leaves short histories as large as long ones before the norm.

    The start, positions counted from it and a norm at the end are those of `TransformerEncoder`.

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
        spec: HSTUEncoderSpec,
        width: int,
        max_length: int,
        *,
        generator: torch.Generator,
        request_time: bool = False,
        events: Sequence[RowsColumn] = (),
    ) -> None:
        super().__init__(width, max_length, reads_times=spec.reads_times, request_time=request_time, events=events)
        self.positions = nn.Parameter(torch.empty(max_length + 1, width).normal_(0, _POSITION_SCALE, generator=generator))
        self.start = nn.Parameter(torch.empty(width).normal_(0, _POSITION_SCALE, generator=generator))
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(_Unit(spec, width, max_length, generator) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(width)
        self.gap = TimeGap(spec.time_buckets, width) if spec.time_gap else None
        self.buckets = spec.time_buckets if spec.relative_time else None
        self.pairs_held = 2 * spec.heads

    def states(self, items_SLD: Tensor, clock: Clock | None = None) -> Tensor:
        """See `SequenceEncoder.states`."""
        num_sequences, longest, width = items_SLD.shape
        read_SLD = torch.cat([self.start.expand(num_sequences, 1, width), items_SLD * width**0.5], dim=1)
        read_SLD = read_SLD + self.positions[: longest + 1]
        hidden_SLD = self.dropout(read_SLD if self.gap is None or clock is None else read_SLD + self.gap(clock))
        buckets_STT = None if self.buckets is None or clock is None else pair_buckets(clock, self.buckets)
        for block in self.blocks:
            hidden_SLD = block(hidden_SLD, buckets_STT)
        output: Tensor = self.norm(hidden_SLD)
        return output


class _Unit(nn.Module):
    def __init__(self, spec: HSTUEncoderSpec, width: int, max_length: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = spec.heads
        self.read_norm, self.attended_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = _linear(width, 4 * width, generator)
        self.output = _linear(width, width, generator)
        self.dropout = nn.Dropout(spec.dropout)
        self.bias = bias_of(spec, max_length) or AttentionBias(None, None)

    def forward(self, hidden_SLD: Tensor, buckets_STT: Tensor | None = None) -> Tensor:
        read_SLF: Tensor = F.silu(self.read(self.read_norm(hidden_SLD)))
        gates_SLD, rest_SLF = torch.split(read_SLF, [hidden_SLD.shape[2], 3 * hidden_SLD.shape[2]], dim=2)
        # [S, L, 3 D] to three times [heads, S, L, D / heads]
        by_head = rest_SLF.view(*rest_SLF.shape[:2], 3, self.heads, -1).permute(2, 3, 0, 1, 4).contiguous()
        values, queries, keys = by_head.unbind(0)
        attended = self.bias(queries, keys, values, buckets_STT, softmax=False, scale=1.0).permute(1, 2, 0, 3).flatten(2)
        read_L1 = torch.arange(1, attended.shape[1] + 1, dtype=attended.dtype, device=attended.device).unsqueeze(1)
        added_SLD: Tensor = self.output(self.dropout(self.attended_norm(attended / read_L1) * gates_SLD))
        return hidden_SLD + added_SLD


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
        self.start = nn.Parameter(torch.empty(spec.layers, width).normal_(0, _POSITION_SCALE, generator=generator))
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
        self.hidden = _linear(width, spec.hidden or width, generator)
        self.score = _linear(spec.hidden or width, 1, generator)
        self.start = nn.Parameter(torch.empty(width).normal_(0, _POSITION_SCALE, generator=generator))

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


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Glorot uniform, with a bias that starts at 0."""
    with torch.random.fork_rng(devices=[]):  # it draws initial values of its own, which are not kept
        linear = nn.Linear(inputs, outputs)
    bound = (6.0 / (inputs + outputs)) ** 0.5
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.zero_()
    return linear
