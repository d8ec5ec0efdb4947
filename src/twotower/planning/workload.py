"""What is to be trained, in numbers: all that memory, traffic and time follow from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal, TypeAlias

__all__ = ["Candidates", "Encoder", "Table", "Tower", "Workload", "distinct"]

Candidates: TypeAlias = Literal["in_batch", "catalogue", "uniform"]
"""What competes with a row's own item: the items of the batch, all of them, or what is drawn beside the batch."""

FLOAT, ID = 4, 8
"""Bytes of a number, and of an id on its way between ranks."""


@dataclass(frozen=True)
class Table:
    """An embedding table.

    Attributes:
        name: Of the table.
        rows: Of its vocabulary.
        width: Numbers in a row.
        query_ids: Ids that a query looks up in it, on average.
        candidate_ids: Ids that a candidate looks up in it, on average.
        by_rows: Whether only touched rows have a gradient; otherwise the gradient is as large as the table.
        state_per_number: Numbers that the optimiser keeps for each number of the table (Adagrad 1, Adam 2).
        state_per_row: Numbers that it keeps for each row (row-wise Adagrad 1).
        of: ``users`` or ``items`` where a row stands for one of them, so that the table grows with them.
        whole: Every rank has all of it, however tables are split.
    """

    name: str
    rows: int
    width: int
    query_ids: float = 0.0
    candidate_ids: float = 0.0
    by_rows: bool = True
    state_per_number: int = 0
    state_per_row: int = 1
    of: Literal["users", "items"] | None = None
    whole: bool = False

    @property
    def weight_bytes(self) -> int:
        """Of all rows."""
        return FLOAT * self.rows * self.width

    @property
    def state_bytes(self) -> int:
        """What the optimiser keeps of all rows."""
        return FLOAT * self.rows * (self.width * self.state_per_number + self.state_per_row)

    def split(self) -> Table:
        """As it is when it is split over ranks: updated by rows with row-wise Adagrad, which is fused with the way back."""
        return replace(self, by_rows=True, state_per_number=0, state_per_row=1)


@dataclass(frozen=True)
class Encoder:
    """What reads a sequence in order.

    Attributes:
        width: Of an item.
        length: Items that it reads of a row, on average; in training, rows of a user share sequences, so that this is what one
            row adds.
        span: Items that one item attends to, on average.
        weights: Numbers of its matrices, each of which multiplies every item.
        kept: Numbers that it keeps of each item for the way back.
    """

    width: int
    length: float
    span: float
    weights: int
    kept: int

    @property
    def products(self) -> float:
        """Multiplications and additions of one row, forward."""
        return self.length * (2.0 * self.weights + 4.0 * self.span * self.width)


@dataclass(frozen=True)
class Tower:
    """A tower: what comes in, and its dense layers.

    Attributes:
        input_width: Of the concatenation.
        layer_sizes: Widths of the layers' outputs; the last is that of the vector.
        normed: Whether hidden layers are normalised.
        encoders: What reads sequences in order.
    """

    input_width: int
    layer_sizes: tuple[int, ...] = ()
    normed: bool = False
    encoders: tuple[Encoder, ...] = ()

    @property
    def weights(self) -> int:
        """Numbers of its layers and encoders: matrices, biases, norms."""
        widths = (self.input_width, *self.layer_sizes)
        norms = 2 * sum(self.layer_sizes[:-1]) if self.normed else 0
        return (
            sum((before + 1) * after for before, after in pairwise(widths))
            + norms
            + sum(encoder.weights for encoder in self.encoders)
        )

    @property
    def products(self) -> float:
        """Multiplications and additions of one row, forward."""
        widths = (self.input_width, *self.layer_sizes)
        dense = sum(2 * before * after for before, after in pairwise(widths))
        return dense + sum(encoder.products for encoder in self.encoders)

    @property
    def kept(self) -> float:
        """Numbers of one row that the way back needs, and their gradients: inputs and outputs of the layers, twice."""
        return 2.0 * (self.input_width + sum(self.layer_sizes)) + sum(2.0 * e.length * e.kept for e in self.encoders)


@dataclass(frozen=True)
class Workload:
    """A training, and the data that it reads.

    Attributes:
        name: Of the recipe.
        rows: That are trained on.
        users: Known ones.
        items: Of the catalogue.
        batch_size: Rows of the global batch, of all ranks together.
        vector_width: Of what the towers give.
        tables: Every embedding table.
        query: The query tower.
        candidate: The candidate tower.
        candidates: What competes.
        extra_negatives: Drawn beside the batch.
        queue_batches: Batches before, whose items compete.
        products_in: Of the loss: ``float32`` or ``bfloat16``.
        tile_rows: Queries whose logits are in memory at a time.
        state_per_dense: Numbers that the optimiser keeps for each number of the towers.
        epochs: Of the recipe.
        row_bytes: Read of the columns for each row of a batch, histories included.
        columns: That are read for each row.
        memory_row_bytes: Held in memory for each trained row: user, item, position, encoded columns.
        file_row_bytes: Of each row in mapped files.
        history_bytes: For each entry of the histories: item, first meeting, time, columns.
        user_bytes: Held for each user: encoded columns, where the history begins.
        item_bytes: Held for each item: encoded columns, counts, numbers of rows.
        batch_row_bytes: Of a batch that is made ready, for each of its rows.
        evaluated_at_once: Queries that are judged at a time.
        tile_items: Items that they are judged against at a time.
        notes: What was assumed, in sentences.
    """

    name: str
    rows: int
    users: int
    items: int
    batch_size: int
    vector_width: int
    tables: tuple[Table, ...]
    query: Tower
    candidate: Tower
    candidates: Candidates = "in_batch"
    extra_negatives: int = 0
    queue_batches: int = 0
    products_in: Literal["float32", "bfloat16"] = "float32"
    tile_rows: int = 64
    state_per_dense: int = 1
    epochs: int = 1
    row_bytes: float = 24.0
    columns: int = 3
    memory_row_bytes: float = 24.0
    file_row_bytes: float = 24.0
    history_bytes: float = 13.0
    user_bytes: float = 8.0
    item_bytes: float = 12.0
    batch_row_bytes: float = 64.0
    evaluated_at_once: int = 256
    tile_items: int = 2048
    notes: tuple[str, ...] = field(default=())

    @property
    def competing(self) -> float:
        """Distinct items that compete for a batch: the most that can be expected, as if all were drawn alike."""
        if self.candidates == "catalogue":
            return float(self.items)
        return distinct(self.batch_size * (1 + self.queue_batches) + self.extra_negatives, self.items)


def distinct(draws: float, of: int) -> float:
    """How many different ones ``draws`` out of ``of`` are, on average, when all are drawn alike; fewer where some are popular.

    Example:
        >>> distinct(2, 2), distinct(1, 100), round(distinct(4096, 10_000_000))
        (1.5, 1.0, 4095)
    """
    if of <= 1:
        return float(min(of, draws))
    # of (1 - (1 - 1/of) ** draws), without the digits that are lost where of is large
    return -of * math.expm1(draws * math.log1p(-1 / of))
