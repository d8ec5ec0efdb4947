"""What every encoder of sequences is: vectors of events in, what is known after each of them out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from twotower.nn.event_columns import EventColumns
from twotower.nn.event_times import Clock, clock_of
from twotower.nn.sequence_layout import as_prefixes, pad, take_states
from twotower.spec import RowsColumn
from twotower.types import Events, Prefixes, Ragged

__all__ = ["POSITION_SCALE", "SequenceEncoder", "glorot_linear"]

POSITION_SCALE = 0.02
"""Standard deviation of what positions and starts begin with."""

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


def glorot_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Glorot uniform, with a bias that starts at 0."""
    with torch.random.fork_rng(devices=[]):  # it draws initial values of its own, which are not kept
        linear = nn.Linear(inputs, outputs)
    bound = (6.0 / (inputs + outputs)) ** 0.5
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.zero_()
    return linear
