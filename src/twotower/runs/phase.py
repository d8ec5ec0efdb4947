"""One fit of a run: preprocessing fitted on some rows, and everything encoded with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from twotower.columnar import release_pages
from twotower.data import Examples, Histories, IdTable, LeaveLastOut, TimeSplit, build_histories
from twotower.data.consecutive import as_slice, taken, taken_frame
from twotower.distributed import ALONE, Ranks
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import Preprocessor
from twotower.recommender.history_inputs import event_column, history_inputs
from twotower.runs.recipe import Recipe
from twotower.runs.tables import Tables
from twotower.runs.tasks import outcomes
from twotower.runs.told import told_preprocessor
from twotower.types import Features

__all__ = ["Phase", "bare_examples", "encode_phase", "fit_phase", "user_frame"]


@dataclass(frozen=True)
class Phase:
    """Preprocessing and encoded rows for one training.

    Attributes:
        tables: What was read.
        fit_rows: The rows that this phase trains on.
        preprocessor: Fitted on them.
        catalogue: What can be recommended.
        items: Features of the catalogue.
        item_rows: int32 ``[n]``, catalogue row of every interaction, -1 where the catalogue lacks it.
        item_counts: int64 ``[N]``, interactions of every item in ``fit_rows``.
        users: Features of every user.
        train: What is learned from: those of ``fit_rows`` that weigh more than 0, or the chosen ones among them.
        grows: Whether a test row's history and seen set grow to just before it (splits in time), or stay at ``fit_rows``.
        outcomes: By column, what the tasks beside retrieval predict: float64 ``[n]``, NaN where an interaction has none.
        timed: Names of the sequences whose encoder reads when events were.
    """

    tables: Tables
    fit_rows: NDArray[np.int64]
    preprocessor: Preprocessor
    catalogue: IdTable
    items: Features
    item_rows: NDArray[np.int32]
    item_counts: NDArray[np.int64]
    users: Features
    train: Examples
    grows: bool
    outcomes: Mapping[str, Tensor]
    timed: frozenset[str] = frozenset()

    def examples(self, rows: NDArray[np.int64], *, grow: bool) -> Examples:
        """Rows to judge, each with its context and history.

        Args:
            rows: Row numbers of the interactions.
            grow: Whether all rows that came before one count as its history; otherwise only those of ``fit_rows`` do.
        """
        histories, before = self._grown if grow else self._frozen
        encoded = _Encoded(
            self.tables, self.preprocessor, self.catalogue, self.item_rows, self.users, self.outcomes, self.timed
        )
        found = encoded.examples(rows, histories, before, seen_before=self.grows)
        # few rows beside those of train: 8 bytes for each are little, and metrics count in them
        return replace(found, user_rows=found.user_rows.long(), item_rows=found.item_rows.long())

    @cached_property
    def _grown(self) -> tuple[Histories, Tensor]:
        return _histories(self.tables, self.item_rows, None, self.preprocessor)

    @property
    def _frozen(self) -> tuple[Histories, Tensor]:
        return _histories(self.tables, self.item_rows, _mask(self.fit_rows, len(self.item_rows)), self.preprocessor)

    def histories(self) -> Histories:
        """What every user did in ``fit_rows``: the state that a bundle carries."""
        return self.train.histories


def fit_phase(
    recipe: Recipe,
    tables: Tables,
    fit_rows: NDArray[np.int64],
    *,
    learn_from: NDArray[np.int64] | None = None,
    adapt: Callable[[Preprocessor], Preprocessor] | None = None,
    ranks: Ranks = ALONE,
) -> Phase:
    """Fit preprocessing on rows, then encode as `encode_phase` does.

    Args:
        recipe: Features and tasks.
        tables: What was read.
        fit_rows: Row numbers of the interactions.
        learn_from: Those that are learned from; None: all of them. What is found by fitting, and histories, are of all.
        adapt: Changes what fitting found.
        ranks: All of them call this; rank 0 fits, and tells the others what it found.

    Raises:
        ConfigError: If a feature names a column that is not there.
        DataError: If a feature can't be fitted, or every row weighs 0.
    """
    interactions = tables.interactions
    schema = interactions.schema
    learn_rows = np.arange(len(interactions)) if recipe.data.fit_on == "all" else fit_rows
    catalogue = tables.catalogue(fit_rows)
    item_rows = catalogue.rows32(interactions.item_keys)
    people = user_frame(tables)

    def fit(context: pl.DataFrame, user_mask: NDArray[np.bool_], item_mask: NDArray[np.bool_]) -> Preprocessor:
        return Preprocessor.fit(
            [entry.feature for entry in recipe.query.features],
            [entry.feature for entry in recipe.candidate.features],
            users=people.filter(pl.Series(user_mask)),
            user_counts=user_counts[user_mask],
            context=context,
            items=catalogue.frame.filter(pl.Series(item_mask)),
            item_counts=item_counts[item_mask],
            user_column=schema.user,
            item_column=schema.item,
        )

    preprocessor: Preprocessor | None
    if ranks.first:
        item_counts = _counts(taken(item_rows, learn_rows), len(catalogue))
        user_counts = np.bincount(taken(tables.user_rows, learn_rows), minlength=people.height)
        try:
            preprocessor = fit(taken_frame(interactions.frame, learn_rows), user_counts > 0, item_counts > 0)
        except DataError as fault:
            # the same fault again, for its row numbers: those of the tables, not of what was taken from them
            fit(interactions.frame, np.ones(people.height, dtype=np.bool_), np.ones(len(catalogue), dtype=np.bool_))
            raise fault
        release_pages()
    else:
        preprocessor = None
    preprocessor = told_preprocessor(preprocessor, ranks)
    if adapt is not None:
        preprocessor = adapt(preprocessor)
    return encode_phase(recipe, tables, fit_rows, preprocessor, catalogue, learn_from=learn_from)


def encode_phase(
    recipe: Recipe,
    tables: Tables,
    fit_rows: NDArray[np.int64],
    preprocessor: Preprocessor,
    catalogue: IdTable,
    *,
    learn_from: NDArray[np.int64] | None = None,
) -> Phase:
    """Encode the catalogue, the users and some rows with a preprocessor that was fitted before; ``learn_from`` as `fit_phase`.

    Raises:
        ConfigError: If a task names a column that is not there, or times are read that the table does not have.
        DataError: If a column can't be encoded, or every row weighs 0.
    """
    timed = recipe.timed_sequences()
    if timed and tables.interactions.schema.time is None:
        raise ConfigError(
            f"query feature {min(timed)!r} reads when events were, and the interactions have no time: declare "
            "data.columns.time, or leave relative_time, time_gap and request_time out",
            source="recipe",
        )
    item_rows = catalogue.rows32(tables.interactions.item_keys)
    grows = isinstance(recipe.split, TimeSplit | LeaveLastOut)
    histories, before = _histories(tables, item_rows, _mask(fit_rows, len(item_rows)), preprocessor)
    targets = outcomes(recipe, tables)
    users = preprocessor.encode_users(user_frame(tables))
    encoded = _Encoded(tables, preprocessor, catalogue, item_rows, users, targets, timed)
    items = preprocessor.encode_items(catalogue.frame)
    learned = _weighing(tables, fit_rows if learn_from is None else learn_from)
    train = encoded.examples(learned, histories, before, seen_before=grows)
    release_pages()
    return Phase(
        tables=tables,
        fit_rows=fit_rows,
        preprocessor=preprocessor,
        catalogue=catalogue,
        items=items,
        item_rows=item_rows,
        item_counts=_counts(taken(item_rows, fit_rows), len(catalogue)),
        users=encoded.users,
        train=train,
        grows=grows,
        outcomes=targets,
        timed=timed,
    )


def bare_examples(recipe: Recipe, tables: Tables, item_rows: NDArray[np.int32], rows: NDArray[np.int64]) -> Examples:
    """Rows to judge as `Phase.examples` gives them, without features: all that a ranker without a tower reads.

    Args:
        recipe: Says whether histories grow to just before each row, or stay at the train rows.
        tables: What was read.
        item_rows: int32 ``[n]``, the catalogue row of every interaction.
        rows: Row numbers of the interactions.
    """
    grows = isinstance(recipe.split, TimeSplit | LeaveLastOut)
    histories, before = _histories(tables, item_rows, None if grows else _mask(tables.split.train, len(item_rows)))
    return Examples(
        user_rows=torch.from_numpy(taken(tables.user_rows, rows)).long(),
        item_rows=torch.from_numpy(taken(item_rows, rows)).long(),
        users={},
        context={},
        histories=histories,
        before=_of_rows(before, rows),
        seen_before=grows,
    )


def _weighing(tables: Tables, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows that teach something: one of weight 0 is history and is counted, but a batch of such rows has no mean."""
    weights = tables.interactions.weights_of(rows)
    if weights is None or (weights > 0).all():
        return rows
    kept = rows[weights > 0]
    if not len(kept):
        raise DataError(
            f"weight column {tables.interactions.schema.weight!r} must be above 0 in some train rows; "
            f"all {len(rows):,} hold 0; correct the column, or leave data.columns.weight out"
        )
    return kept


@dataclass(frozen=True)
class _Encoded:
    """What examples of any rows are made from."""

    tables: Tables
    preprocessor: Preprocessor
    catalogue: IdTable
    item_rows: NDArray[np.int32]
    users: Features
    outcomes: Mapping[str, Tensor]
    timed: frozenset[str]

    def examples(self, rows: NDArray[np.int64], histories: Histories, before: Tensor, *, seen_before: bool) -> Examples:
        interactions = self.tables.interactions
        weights = interactions.weights_of(rows)
        inputs = history_inputs(self.preprocessor, self.catalogue.ids, self.timed)
        times = interactions.times if any(entry.request_time for entry in inputs) else None
        return Examples(
            user_rows=torch.from_numpy(taken(self.tables.user_rows, rows)),
            item_rows=torch.from_numpy(taken(self.item_rows, rows)),
            users=self.users,
            context=self.preprocessor.encode_rows(interactions.frame, rows),
            histories=histories,
            before=_of_rows(before, rows),
            seen_before=seen_before,
            history_inputs=inputs,
            weights=None if weights is None else torch.from_numpy(weights),
            outcomes={column: _of_rows(values, rows) for column, values in self.outcomes.items()},
            times=None if times is None else _of_rows(torch.from_numpy(times), rows),
        )


def _of_rows(values: Tensor, rows: NDArray[np.int64]) -> Tensor:
    found = as_slice(rows)
    return values[torch.from_numpy(rows)] if found is None else values[found]


def _histories(
    tables: Tables,
    item_rows: NDArray[np.int32],
    member: NDArray[np.bool_] | None,
    preprocessor: Preprocessor | None = None,
) -> tuple[Histories, Tensor]:
    interactions = tables.interactions
    encoded = {} if preprocessor is None else preprocessor.event_columns(interactions.frame)
    return build_histories(
        tables.user_rows,
        item_rows,
        None if interactions.is_ordered else interactions.order,
        num_users=len(tables.user_ids),
        member=member,
        times=interactions.times,
        columns={event_column(name, own): rows.numpy() for name, of in encoded.items() for own, rows in of.items()},
    )


def user_frame(tables: Tables) -> pl.DataFrame:
    """Every user of the interactions once, with the columns of the users table."""
    ids = tables.user_ids
    if tables.users is None:
        return ids.frame
    return ids.frame.join(
        tables.users.frame, left_on=ids.id_column, right_on=tables.users.id_column, how="left", maintain_order="left"
    )


def _counts(item_rows: NDArray[np.int32], size: int) -> NDArray[np.int64]:
    return np.bincount(item_rows[item_rows >= 0], minlength=size).astype(np.int64)


def _mask(rows: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    mask = np.zeros(size, dtype=np.bool_)
    mask[rows] = True
    return mask
