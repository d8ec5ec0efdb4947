"""Rows that a trained model is asked about, with all vectors made once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.baselines import PopularityScorer
from twotower.data import Examples
from twotower.diagnosis import Lift
from twotower.evaluation import encode_catalogue, rank_positives
from twotower.metrics import Ranks, hit_rate, ndcg, paired_difference, reciprocal_rank
from twotower.models import TwoTower
from twotower.runs.load_run import LoadedRun
from twotower.runs.phase import Phase
from twotower.runs.recipe import Recipe
from twotower.runs.watched import Watched
from twotower.types import QueryColumn, Ragged, column_length, take_column

__all__ = ["Headline", "Probe", "VectorScorer", "encode_rows", "headline", "make_probe"]

CPU = torch.device("cpu")
_MOST_ROWS = 4_000
_FEWEST_ROWS = 200
_SCORES = 40_000_000
"""Scores per pass: few queries where there are many items."""
_AT_ONCE = 2_048


@dataclass(frozen=True)
class Headline:
    """The figure that a run goes by.

    Attributes:
        name: As validation gives it, ``recall@100 removed``, say.
        metric: Without the variant.
        removed: Whether seen items are left out.
        k: The cut-off of its recall; of the recipe's last recall where the figure is another.
    """

    name: str
    metric: str
    removed: bool
    k: int


def headline(recipe: Recipe) -> Headline:
    """What early stopping goes by, where that is a ranking's figure; else the last recall."""
    stopping, last = recipe.training.early_stopping, recipe.evaluation.ks[-1]
    name = f"recall@{last}" if stopping is None else stopping.metric
    watched = Watched.of(name)
    if not watched.orders_rankers:
        watched = Watched(f"recall@{last}")
    metric, _, k = watched.metric.partition("@")
    # rows are probed one by one: a figure per user is shown as that of its rows
    name = Watched(watched.metric, removed=watched.removed).name
    return Headline(name, watched.metric, watched.removed, int(k) if metric == "recall" else last)


class VectorScorer:
    """Scores by dot product of vectors that are there already; products are summed in float64, as `ModelScorer` does.

    Args:
        queries_QD: One vector per row of the examples.
        items_ND: The catalogue's.
    """

    def __init__(self, queries_QD: Tensor, items_ND: Tensor) -> None:
        self.queries_QD = queries_QD.double()
        self.items_ND = items_ND.double()

    @property
    def num_items(self) -> int:
        return int(self.items_ND.shape[0])

    def tiles(self, rows: Tensor, tile_size: int) -> Iterator[tuple[int, Tensor]]:
        """See `twotower.evaluation.Scorer`; scores are float32."""
        for start in range(0, self.num_items, tile_size):
            yield start, (self.queries_QD[rows] @ self.items_ND[start : start + tile_size].T).float()


@dataclass(frozen=True)
class Probe:
    """Some rows that a model was not trained on.

    Attributes:
        model: In evaluation mode.
        phase: What it was fitted on.
        examples: The rows, in the order of their numbers.
        columns: Query features of all of them.
        scorer: The model's scores of them.
        of_test: Whether they are test rows, because no validation rows are left that are new to the model. Nothing is chosen by
            them then.
    """

    model: TwoTower
    phase: Phase
    examples: Examples
    columns: dict[str, QueryColumn]
    scorer: VectorScorer
    of_test: bool

    @property
    def users(self) -> NDArray[np.int64]:
        """int64 ``[Q]``."""
        return self.examples.user_rows.numpy()

    def ranks(self, scorer: VectorScorer | PopularityScorer, *, removed: bool = False) -> Ranks:
        """Where a ranker puts each row's item, among all items or among those that its user has not seen."""
        every = torch.arange(len(self.examples))
        positives = Ragged(self.examples.item_rows, torch.arange(len(every) + 1))
        found = rank_positives(scorer, every, positives, self.examples.seen if removed else _nothing)
        return found.seen_removed if removed else found.seen_included

    def figures(self, scorer: VectorScorer | PopularityScorer, wanted: Headline) -> NDArray[np.float64]:
        """The headline figure of each row, float64 ``[Q]``; 0 where the catalogue lacks the item."""
        ranks = self.ranks(scorer, removed=wanted.removed)
        name, _, k = wanted.metric.partition("@")
        depth = min(int(k or scorer.num_items), scorer.num_items)
        values = reciprocal_rank(ranks) if name == "mrr" else (hit_rate if name == "recall" else ndcg)(ranks, depth)
        return np.where(self.examples.item_rows.numpy() >= 0, values, 0.0)

    def lift(self, wanted: Headline) -> Lift:
        """The model beside popularity on these rows."""
        mine, theirs = self.figures(self.scorer, wanted), self.figures(self.popularity, wanted)
        found = paired_difference(mine, theirs, self.users, seed=0)
        return Lift(wanted.name, float(mine.mean()), float(theirs.mean()), float(found.low), float(found.high))

    @property
    def popularity(self) -> PopularityScorer:
        """Items by their train counts."""
        return PopularityScorer(torch.from_numpy(self.phase.item_counts))

    def one_per_user(self, most: int) -> Tensor:
        """The first of the rows of each user, of at most so many users, int64."""
        first = np.unique(self.users, return_index=True)[1]
        if len(first) > most:
            first = np.sort(np.random.default_rng(0).choice(first, most, replace=False))
        return torch.from_numpy(first)


def _nothing(rows: Tensor) -> Ragged:
    """What is seen where it does not matter, which saves half of the time."""
    return Ragged(torch.empty(0, dtype=torch.int64), torch.zeros(len(rows) + 1, dtype=torch.int64))


def encode_rows(model: TwoTower, columns: Mapping[str, QueryColumn], items_ND: Tensor) -> Tensor:
    """Query vectors of encoded rows, float32 ``[n, D]``; ``items_ND`` are those of the catalogue, which histories may read."""
    size = column_length(next(iter(columns.values())))
    parts = [torch.empty(0, model.embedding_dim)]
    with torch.inference_mode():
        for start in range(0, size, _AT_ONCE):
            rows = torch.arange(start, min(start + _AT_ONCE, size))
            part = {name: take_column(column, rows) for name, column in columns.items()}
            parts.append(model.encode_queries_with_items(part, items_ND))
    return torch.cat(parts).clone()


def make_probe(loaded: LoadedRun, model: TwoTower, phase: Phase, rows: NDArray[np.int64], *, of_test: bool) -> Probe:
    """Encode some rows, at least one: all of them, as long as that is not more work than a look is worth; else a sample."""
    most = min(_MOST_ROWS, max(_FEWEST_ROWS, _SCORES // max(1, len(phase.catalogue))))
    if len(rows) > most:
        rows = np.random.default_rng(loaded.recipe.seed).choice(rows, most, replace=False)
    examples = phase.examples(np.sort(rows), grow=phase.grows)
    columns = examples.queries(torch.arange(len(examples)), training=False)
    vectors_ND = encode_catalogue(model, phase.items, device=CPU).clone()
    return Probe(model, phase, examples, columns, VectorScorer(encode_rows(model, columns, vectors_ND), vectors_ND), of_test)
