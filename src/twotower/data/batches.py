"""Batches by index: which rows, which candidates, which column is whose positive.

The order of an epoch is a function of one seed and the epoch's number, so that training resumes at any batch. It is a shuffle
of all rows, however many there are.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from twotower.data.examples import Examples, Taken
from twotower.data.filled_examples import filled_examples
from twotower.data.native_distinct import Distinct
from twotower.data.sequences import SequenceOrder
from twotower.data.shuffle import permuted
from twotower.padded_distinct import padded_distinct
from twotower.types import QueryFeatures, sent

__all__ = ["Batch", "Batches", "CandidateSource", "Whole"]

CandidateSource: TypeAlias = Literal["in_batch", "catalogue", "uniform"]
"""What competes in a batch; see `Batches`."""

_AT_ONCE = 2**15


@dataclass(frozen=True)
class Whole:
    """What a process that has a share of a batch knows of all of it.

    Attributes:
        rows: How many there are.
        positives: int64 ``[rows]``, the column of each one's own item.
        weight: The sum of their weights; that of rows without weights is how many there are.
    """

    rows: int
    positives: Tensor
    weight: float


@dataclass(frozen=True)
class Batch:
    """One step's worth of queries and the candidates that they compete over.

    Attributes:
        rows: int64 ``[B]``, rows of the examples.
        queries: Query features.
        candidate_rows: int64 ``[C]``, distinct catalogue rows; None when all of the catalogue competes.
        positives: int64 ``[B]``, the column of each query's own item.
        counts: float32 ``[C]``, how often each candidate was drawn (by the batch and as an extra negative; where negatives are
            uniform only as such, 0 for the others; 0 too for what only fills, see `Batches.fixed`); None: once each.
        weights: float32 ``[B]``; None: all alike.
        masked: Pairs (query, column), two int64 tensors, that must not compete: known positives of the query's user.
        outcomes: As those of the examples, ``[B]`` each.
        users: int64 ``[B]``, whose row each is; None where nobody asked.
        whole: Where several processes share the batch, of which this is one's share: what is known of all of it. Candidates and
            their counts are those of all rows. None: it is all here.
    """

    rows: Tensor
    queries: QueryFeatures
    candidate_rows: Tensor | None
    positives: Tensor
    counts: Tensor | None = None
    weights: Tensor | None = None
    masked: tuple[Tensor, Tensor] | None = None
    outcomes: Mapping[str, Tensor] = field(default_factory=dict)
    users: Tensor | None = None
    whole: Whole | None = None

    @property
    def total_rows(self) -> int:
        """Rows of all processes."""
        return len(self.rows) if self.whole is None else self.whole.rows

    @property
    def total_weight(self) -> float:
        """The sum of the weights of all processes' rows."""
        if self.whole is not None:
            return self.whole.weight
        return float(len(self.rows)) if self.weights is None else float(self.weights.sum())


class Batches:
    """Batches of examples, reshuffled every epoch.

    Where an encoder reads histories in order, rows that share a sequence are in one batch (see `SequenceOrder`), which then has
    about ``batch_size`` rows.

    Args:
        examples: All of whose items are in the catalogue.
        batch_size: Rows per batch; the last one of an epoch may be smaller.
        catalogue_size: N.
        seed: Of the permutations and of the extra negatives.
        candidates: ``in_batch``: the batch's own items; ``catalogue``: all N; ``uniform``: only the extra negatives
            compete, beside each query's own item.
        extra_negatives: Items drawn uniformly from the catalogue, with replacement, added to every batch.
        queue_batches: The items of so many batches before compete too, those of the epoch before among them (in-batch only). Of
            the very first batches there are fewer.
        mask_known_positives: List all other items of the query's user (in the histories) as pairs that must not compete.
        users: Say of each batch whose rows it has.
        share: Of several processes that share every batch: which of so many rows this one takes. Order and batches are the same
            however many they are. None: all.
        most_in_memory: Examples up to which the permutation of an epoch is drawn at once and kept, 8 bytes for each. Of more
            examples, the rows of a batch are computed from its number (see `permuted`): another permutation, and no memory.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        catalogue_size: int,
        seed: int,
        candidates: CandidateSource,
        extra_negatives: int = 0,
        queue_batches: int = 0,
        mask_known_positives: bool = False,
        users: bool = False,
        share: Callable[[int], range] | None = None,
        most_in_memory: int = 2**24,
    ) -> None:
        if len(examples) == 0 or int(examples.item_rows.min()) < 0:
            raise ValueError("batches need at least one example, and every item in the catalogue")
        if extra_negatives and candidates == "catalogue":
            raise ValueError("extra negatives have no meaning when all of the catalogue competes")
        if not extra_negatives and candidates == "uniform":
            raise ValueError("uniform negatives must be drawn: say how many extra_negatives")
        if queue_batches and candidates != "in_batch":
            raise ValueError("a queue has meaning where the items of a batch compete; came candidates " + repr(candidates))
        self.examples = examples
        self.batch_size = batch_size
        self.catalogue_size = catalogue_size
        self.seed = seed
        self.candidates: CandidateSource = candidates
        self.extra_negatives = extra_negatives
        self.queue_batches = queue_batches
        self.mask_known_positives = mask_known_positives
        self.users = users
        self.share = share
        self.most_in_memory = most_in_memory
        self._order: tuple[int, Tensor] | None = None
        self._part: tuple[int, int, Tensor] | None = None
        self._ahead: tuple[int, int, Taken] | None = None
        self._former: dict[tuple[int, int], Tensor] = {}
        self.device = torch.device("cpu")
        self._filled: Examples | None = None
        self._distinct: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] = Distinct(catalogue_size)
        self._sequences = self._in_order()

    def on(self, device: torch.device) -> Batches:
        """The same batches, made on a device from examples that are held there: nothing but row numbers goes to it.

        The examples are copied when this is called (`Examples.num_bytes`); what a batch has is there too.
        """
        found = copy.copy(self)
        found.examples, found.device = self.examples.to(device), device
        found._order = found._part = found._ahead = found._filled = None
        found._former, found._distinct = {}, _sorted_distinct
        return found

    def _in_order(self) -> SequenceOrder | None:
        read = [entry for entry in self.examples.history_inputs if entry.in_order]
        if not read:
            return None
        # the rows that share a sequence of the longest kind share those of shorter ones for the most part
        longest = max(read, key=lambda entry: entry.max_length or 0)
        starts, lengths = self.examples.sequences(longest)
        return SequenceOrder(starts, lengths, batch_size=self.batch_size, seed=self.seed)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.examples) // self.batch_size) if self._sequences is None else self._sequences.num_batches

    def order(self, epoch: int) -> Tensor:
        """The permutation of an epoch, int64 ``[n]``: a function of the seed and the epoch alone."""
        if self._sequences is not None:
            return self._sequences.order(epoch).to(self.device)
        return self._rows(epoch, 0, len(self.examples))

    def _rows(self, epoch: int, start: int, end: int) -> Tensor:
        """A part of the permutation of an epoch."""
        size = len(self.examples)
        if size > self.most_in_memory:
            return self._computed(epoch, start, end)
        if self._order is None or self._order[0] != epoch:
            order = torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(size))
            self._order = (epoch, order.to(self.device))
        return self._order[1][start:end]

    def _computed(self, epoch: int, start: int, end: int) -> Tensor:
        """A part of a permutation that is held nowhere; of small parts many at once, which take little longer than one."""
        first, last = self._around(start)
        if end > last:
            rows = torch.from_numpy(permuted(np.arange(start, end), len(self.examples), [self.seed, epoch]))
            return sent(rows, self.device)
        if self._part is None or self._part[:2] != (epoch, first):
            rows = torch.from_numpy(permuted(np.arange(first, last), len(self.examples), [self.seed, epoch]))
            self._part = (epoch, first, sent(rows, self.device))
        return self._part[2][start - first : end - first]

    def _around(self, start: int) -> tuple[int, int]:
        """The small batches that are made ready at once with the one that starts there: their first place, and the end."""
        width = max(1, _AT_ONCE // self.batch_size) * self.batch_size
        first = start // width * width
        return first, min(first + width, len(self.examples))

    def _taken(self, epoch: int, start: int, end: int) -> Taken:
        first, last = self._around(start)
        if end - start == last - first:
            return self.examples.take(self._rows(epoch, start, end))
        if self._ahead is None or self._ahead[:2] != (epoch, first):
            self._ahead = (epoch, first, self.examples.take(self._rows(epoch, first, last)))
        return self._ahead[2].part(start - first, end - first)

    @property
    def most_candidates(self) -> int | None:
        """How many candidates a batch may have, distinct or not; None: all of the catalogue."""
        if self.candidates == "catalogue":
            return None
        return self.batch_size * (1 + self.queue_batches) + self.extra_negatives

    def rows(self, epoch: int, index: int) -> Tensor:
        """The rows of a batch, of all processes: int64, where batches are."""
        return self._rows_of(epoch, index)

    def beside(self, epoch: int, index: int) -> Tensor:
        """What competes in a batch beside the items of its rows: extra negatives, then the queue; int64, where batches are."""
        found = []
        if self.extra_negatives:
            generator = np.random.default_rng([self.seed, epoch, index + 1])
            extra = generator.integers(self.catalogue_size, size=self.extra_negatives)
            found.append(sent(torch.from_numpy(extra), self.device))
        if self.queue_batches:
            found += self._queue(epoch, index)
        return torch.cat(found) if found else torch.empty(0, dtype=torch.int64, device=self.device)

    def fixed(self, rows: Tensor, beside: Tensor) -> Batch:
        """A batch whose shapes depend on how many rows come, and on nothing else: its candidates are filled up.

        What only fills has a count of 0 and the row of another candidate; lists and histories are filled up too, see
        `twotower.filled.Filled`. Else it is the batch that `batch` makes. The host waits for a device at the first call only,
        to be told how long lists are. Of one process alone.

        Args:
            rows: int64 ``[B]``, as of `rows`; where the examples are.
            beside: int64, as of `beside`.

        Raises:
            ValueError: If known positives are masked, or histories are read in order: there are as many as there are.
        """
        if self.share is not None or self.mask_known_positives or self._sequences is not None:
            raise ValueError("batches that are shared, mask known positives or read histories in order have no fixed shape")
        if self._filled is None:
            self._filled = filled_examples(self.examples)
        taken = self._filled.take(rows)
        queries = self._filled.shared_queries_of(taken)
        users = taken.users if self.users else None
        if self.candidates == "catalogue":
            return Batch(rows, queries, None, taken.items, None, taken.weights, None, taken.outcomes, users)
        found = padded_distinct(torch.cat([taken.items, beside]))
        positives, counts = found.places[: len(rows)], found.counts.float()
        if self.candidates == "uniform":
            own = torch.ones(len(beside), device=counts.device)
            counts = torch.zeros_like(counts).index_add_(0, found.places[len(rows) :], own)
        return Batch(rows, queries, found.values, positives, counts, taken.weights, None, taken.outcomes, users)

    def batch(self, epoch: int, index: int) -> Batch:
        """The ``index``-th batch of an epoch, or the share of its rows that is this process's."""
        every = self._rows_of(epoch, index)
        start = index * self.batch_size
        mine = slice(None) if self.share is None else _as_slice(self.share(len(every)))
        rows = every[mine]
        # parts of a ragged column would make the host wait for a device
        together = self._sequences is not None or self.share is not None or self.device.type != "cpu"
        taken = self.examples.take(rows) if together else self._taken(epoch, start, start + len(rows))
        queries, items = self.examples.shared_queries_of(taken), taken.items
        if self.share is not None:
            items = self._items(epoch, index)
        users = self.examples.user_rows.index_select(0, rows).to(torch.int64) if self.users else None
        if self.candidates == "catalogue":
            masked = self._known_positives(rows, None) if self.mask_known_positives else None
            whole = self._whole(every, items)
            return Batch(rows, queries, None, items[mine], None, taken.weights, masked, taken.outcomes, users, whole)
        if self.extra_negatives or self.queue_batches:
            items = torch.cat([items, self.beside(epoch, index)])
        candidate_rows, columns, counts = self._distinct(items)
        if self.candidates == "uniform":
            counts = torch.bincount(columns[len(every) :], minlength=len(candidate_rows)).to(counts.dtype)
        positives = columns[: len(every)]
        masked = self._known_positives(rows, candidate_rows) if self.mask_known_positives else None
        whole = self._whole(every, positives)
        return Batch(
            rows, queries, candidate_rows, positives[mine], counts, taken.weights, masked, taken.outcomes, users, whole
        )

    def _whole(self, rows: Tensor, positives: Tensor) -> Whole | None:
        if self.share is None:
            return None
        weights = self.examples.weights
        if weights is None:
            return Whole(len(rows), positives, float(len(rows)))
        weight = weights.index_select(0, rows).sum(dtype=torch.float64)
        return Whole(len(rows), positives, float(weight))

    def _queue(self, epoch: int, index: int) -> list[Tensor]:
        """The items of the batches before, a function of seed and place; what is kept only saves looking them up again."""
        places = [divmod(epoch * len(self) + index - back, len(self)) for back in range(1, self.queue_batches + 1)]
        places = [place for place in places if place[0] >= 0]
        known = self._former
        self._former = {place: known[place] if place in known else self._items(*place) for place in places}
        return list(self._former.values())

    def _items(self, epoch: int, index: int) -> Tensor:
        return self.examples.item_rows.index_select(0, self._rows_of(epoch, index)).to(torch.int64)

    def _rows_of(self, epoch: int, index: int) -> Tensor:
        if self._sequences is not None:
            return sent(self._sequences.batch(epoch, index), self.device)
        start = index * self.batch_size
        return self._rows(epoch, start, min(start + self.batch_size, len(self.examples)))

    def _known_positives(self, rows: Tensor, candidate_rows: Tensor | None) -> tuple[Tensor, Tensor]:
        examples = self.examples
        users = examples.user_rows.index_select(0, rows).to(torch.int64)
        known = examples.histories.seen(users, examples.histories.ends_of(users))
        queries = torch.repeat_interleave(torch.arange(len(rows), device=self.device), known.lengths)
        items = known.values.long()
        own = items == examples.item_rows[rows][queries]
        if candidate_rows is None:
            return queries[~own], items[~own]
        columns = torch.searchsorted(candidate_rows, items).clamp_(max=len(candidate_rows) - 1)
        competing = (candidate_rows[columns] == items) & ~own
        return queries[competing], columns[competing]


def _sorted_distinct(items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `Distinct`, on any device."""
    rows, columns, counts = torch.unique(items, return_inverse=True, return_counts=True)
    return rows, columns, counts.float()


def _as_slice(share: range) -> slice:
    return slice(share.start, share.stop)
