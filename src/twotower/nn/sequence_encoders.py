"""Encoders that read a sequence in order: after each item, what is known so far as one vector.

All of them are causal, so that a sequence that is read once gives the vectors of all its beginnings: this is what makes every
prefix of a history a row to learn from at the price of one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from twotower.nn.sequence_layout import as_prefixes, pad, take_states
from twotower.spec import AttentionEncoderSpec, EncoderSpec, GRUEncoderSpec, TransformerEncoderSpec
from twotower.types import Prefixes, Ragged

__all__ = ["AttentionEncoder", "GRUEncoder", "SequenceEncoder", "TransformerEncoder", "build_encoder"]

_POSITION_SCALE = 0.02
_NUMBERS_AT_ONCE = 2**25
_COPIES = 12


class SequenceEncoder(nn.Module):
    """Turns sequences of vectors into what is known after each of them; abstract.

    The state after no item is learned too: it is what a query without history has.

    Args:
        width: D, of the items' vectors and of the states.
        max_length: The most items that a sequence may have.
    """

    def __init__(self, width: int, max_length: int) -> None:
        super().__init__()
        self.width = width
        self.max_length = max_length

    @abstractmethod
    def states(self, items_SLD: Tensor) -> Tensor:
        """The states after 0 to L items, ``[S, L + 1, D]``; a state depends on the items before it and on no others.

        Args:
            items_SLD: Vectors of the items, ``[S, L, D]``; behind the end of a sequence, anything.
        """

    def forward(self, vectors_VD: Tensor, column: Ragged | Prefixes) -> Tensor:
        """The state after each row of a column.

        Args:
            vectors_VD: Of the values of the column's sequences, end to end, float32 ``[total, D]``.
            column: Which sequences these are, and what the rows are of them.

        Returns:
            ``[n, D]``.

        Raises:
            ValueError: If a sequence is longer than ``max_length``.
        """
        sequences, sequence_of, lengths = as_prefixes(column)
        longest = int(sequences.lengths.max()) if sequences.num_rows else 0
        if longest > self.max_length:
            raise ValueError(f"a sequence may have {self.max_length} items (came: {longest}); give its latest ones")
        if torch.is_grad_enabled():
            return take_states(self.states(pad(vectors_VD, sequences.offsets)), sequence_of, lengths)
        output_BD = vectors_VD.new_empty(len(lengths), self.width)
        order = sequences.lengths.argsort()
        for chosen in self._parts(sequences.lengths, order):
            here = torch.full((sequences.num_rows,), -1, dtype=torch.int64, device=chosen.device)
            here[chosen] = torch.arange(len(chosen), device=chosen.device)
            rows = (here[sequence_of] >= 0).nonzero().flatten()
            places = Ragged(torch.arange(len(vectors_VD), device=chosen.device), sequences.offsets).take(chosen)
            states_SLD = self.states(pad(vectors_VD[places.values], places.offsets))
            output_BD[rows] = take_states(states_SLD, here[sequence_of[rows]], lengths[rows])
        return output_BD

    def _parts(self, lengths: Tensor, order: Tensor) -> Iterator[Tensor]:
        """Sequences of about one length each, few enough to be padded at once."""
        start = 0
        while start < len(order):
            # as many as would fit if all were as long as the last of them
            numbers = (lengths[order[start:]] + 1) * torch.arange(1, len(order) - start + 1, device=order.device)
            fits = int((numbers * (self.width * _COPIES) <= _NUMBERS_AT_ONCE).sum())
            yield order[start : start + max(1, fits)]
            start += max(1, fits)


class TransformerEncoder(SequenceEncoder):
    """A causal transformer with the norms before (Kang and McAuley 2018, SASRec; Xiong et al. 2020 for the place of the norms).

    ``x = x + attention(norm(x)); x = x + W2 gelu(W1 norm(x))`` for each block, and a norm at the end. Positions are counted
    from the beginning of the sequence, so that a sequence and its beginnings have the same vectors.

    With ``gates``, what a block adds is multiplied by ``sigmoid(G norm(x))``, number by number (Borisyuk et al. 2024, LiGR).

    Args:
        spec: Blocks, heads, dropout.
        width: D.
        max_length: The most items of a sequence.
        generator: Source of the initial values.
    """

    def __init__(self, spec: TransformerEncoderSpec, width: int, max_length: int, *, generator: torch.Generator) -> None:
        super().__init__(width, max_length)
        self.positions = nn.Parameter(torch.empty(max_length + 1, width).normal_(0, _POSITION_SCALE, generator=generator))
        self.start = nn.Parameter(torch.empty(width).normal_(0, _POSITION_SCALE, generator=generator))
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(_Block(spec, width, generator) for _ in range(spec.blocks))
        self.norm = nn.LayerNorm(width)

    def states(self, items_SLD: Tensor) -> Tensor:
        """See `SequenceEncoder.states`."""
        num_sequences, longest, width = items_SLD.shape
        # as long as the vectors of a table that starts small, the items are what a position is added to
        read_SLD = torch.cat([self.start.expand(num_sequences, 1, width), items_SLD * width**0.5], dim=1)
        hidden_SLD = self.dropout(read_SLD + self.positions[: longest + 1])
        for block in self.blocks:
            hidden_SLD = block(hidden_SLD)
        output: Tensor = self.norm(hidden_SLD)
        return output


class _Block(nn.Module):
    def __init__(self, spec: TransformerEncoderSpec, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = spec.heads
        self.attention_norm, self.hidden_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.read = _linear(width, 3 * width, generator)
        self.attended = _linear(width, width, generator)
        self.hidden = _linear(width, spec.hidden * width, generator)
        self.output = _linear(spec.hidden * width, width, generator)
        self.gates = nn.ModuleList(_linear(width, width, generator) for _ in range(2 if spec.gates else 0))
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, hidden_SLD: Tensor) -> Tensor:
        normal_SLD = self.attention_norm(hidden_SLD)
        # [S, L, 3 D] to three times [S, heads, L, D / heads]
        queries, keys, values = self.read(normal_SLD).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True).transpose(1, 2).flatten(2)
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
    """

    def __init__(self, spec: GRUEncoderSpec, width: int, max_length: int, *, generator: torch.Generator) -> None:
        super().__init__(width, max_length)
        self.layers = spec.layers
        with torch.random.fork_rng(devices=[]):  # it draws initial values of its own, which are not kept
            self.units = nn.GRU(width, width, spec.layers, batch_first=True)
        with torch.no_grad():
            for parameter in self.units.parameters():
                parameter.uniform_(-(width**-0.5), width**-0.5, generator=generator)
        self.start = nn.Parameter(torch.empty(spec.layers, width).normal_(0, _POSITION_SCALE, generator=generator))
        self.dropout = nn.Dropout(spec.dropout)

    def states(self, items_SLD: Tensor) -> Tensor:
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
    """

    steepest = 8.0
    """Bounds the weights' logarithms."""

    def __init__(self, spec: AttentionEncoderSpec, width: int, max_length: int, *, generator: torch.Generator) -> None:
        super().__init__(width, max_length)
        self.hidden = _linear(width, spec.hidden or width, generator)
        self.score = _linear(spec.hidden or width, 1, generator)
        self.start = nn.Parameter(torch.empty(width).normal_(0, _POSITION_SCALE, generator=generator))

    def states(self, items_SLD: Tensor) -> Tensor:
        """See `SequenceEncoder.states`."""
        read_SLD = torch.cat([self.start.expand(len(items_SLD), 1, self.width), items_SLD], dim=1)
        scores_SL1 = self.score(torch.tanh(self.hidden(read_SLD * self.width**0.5)))
        weights_SL1 = (self.steepest * torch.tanh(scores_SL1 / self.steepest)).exp()
        return (weights_SL1 * read_SLD).cumsum(1) / weights_SL1.cumsum(1)


def build_encoder(spec: EncoderSpec, width: int, max_length: int, *, generator: torch.Generator) -> SequenceEncoder:
    """Build an encoder with fresh weights.

    Example:
        >>> encoder = build_encoder(GRUEncoderSpec(), 4, 10, generator=torch.Generator().manual_seed(0))
        >>> encoder(torch.ones(3, 4), Ragged(torch.tensor([5, 6, 7]), torch.tensor([0, 3, 3]))).shape
        torch.Size([2, 4])
    """
    if isinstance(spec, TransformerEncoderSpec):
        return TransformerEncoder(spec, width, max_length, generator=generator)
    if isinstance(spec, GRUEncoderSpec):
        return GRUEncoder(spec, width, max_length, generator=generator)
    return AttentionEncoder(spec, width, max_length, generator=generator)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Glorot uniform, with a bias that starts at 0."""
    with torch.random.fork_rng(devices=[]):  # it draws initial values of its own, which are not kept
        linear = nn.Linear(inputs, outputs)
    bound = (6.0 / (inputs + outputs)) ** 0.5
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.zero_()
    return linear
