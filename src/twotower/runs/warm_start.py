"""One training that goes on from a trained model: which rows it learns from, how it reads numbers, what it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twotower.bundle import JSON
from twotower.errors import ConfigError, DataError
from twotower.losses import RetrievalLoss
from twotower.models import TwoTower
from twotower.preprocessing import FittedNumbers, Preprocessor, keep_numbers, numbers_of
from twotower.runs.carry import Carried, carried_heads, carry
from twotower.runs.known_rows import KnownRows, known_rows
from twotower.runs.recipe import Recipe
from twotower.runs.tables import Tables
from twotower.runs.warm_model import WarmModel
from twotower.runs.warm_start_config import WarmStartConfig
from twotower.spec import HeadSpec
from twotower.training import States, TrainedParameters

__all__ = ["LearnedRows", "StartedModel", "WarmStart", "with_numbers"]


@dataclass(frozen=True, eq=False)
class LearnedRows:
    """Which rows are learned from.

    Attributes:
        rows: int64, in the order of the fit rows.
        new: Those that the source did not learn from.
        replayed: Known ones that are learned from again.
        known: Fit rows that the source learned from.
    """

    rows: NDArray[np.int64]
    new: int
    replayed: int
    known: int

    def to_json(self) -> dict[str, JSON]:
        """``learned``, ``new``, ``replayed`` and ``known``, as numbers of rows."""
        return {"learned": len(self.rows), "new": self.new, "replayed": self.replayed, "known": self.known}


@dataclass(frozen=True, eq=False)
class StartedModel:
    """What a model that goes on from another one starts with.

    Attributes:
        carried: What it took over.
        states: What its optimisers go on with.
        anew: Carried parameters that have no such state.
        learned: The rows that it learns from.
    """

    carried: Carried
    states: States
    anew: tuple[str, ...]
    learned: LearnedRows

    def to_json(self) -> dict[str, JSON]:
        """``rows``, ``tables``, ``carried``, ``fresh``; and ``optimizer``: how many are ``carried``, what is ``anew``."""
        optimizer: dict[str, JSON] = {"carried": len(self.states), "anew": list(self.anew)}
        return {"rows": self.learned.to_json(), **self.carried.to_json(), "optimizer": optimizer}


def with_numbers(preprocessor: Preprocessor, earlier: FittedNumbers, config: WarmStartConfig) -> Preprocessor:
    """A preprocessor with the moments and edges of the source, as far as the recipe says so.

    Raises:
        ConfigError: If a number is declared otherwise than in the source, and the recipe does not let parts start anew.
    """
    if config.numbers == "refit":
        return preprocessor
    if config.partial:
        here = numbers_of(preprocessor.spec)
        earlier = {
            tower: {
                name: feature
                for name, feature in features.items()
                if name in here[tower] and here[tower][name].config == feature.config
            }
            for tower, features in earlier.items()
        }
    return keep_numbers(preprocessor, earlier)


@dataclass(frozen=True, eq=False)
class WarmStart:
    """A training that goes on from a trained model.

    Attributes:
        recipe: Of the training; its ``warm_start`` says how.
        tables: What was read.
        model: What to go on from.
    """

    recipe: Recipe
    tables: Tables
    model: WarmModel

    @property
    def config(self) -> WarmStartConfig:
        """How."""
        return self.recipe.warm_start

    @cached_property
    def known(self) -> KnownRows:
        """What the source learned from, among the rows of the tables.

        Raises:
            ConfigError: If users or items are other columns than they were.
            DataError: If ids are of another type.
        """
        found, schema = self.model.recommender, self.tables.interactions.schema
        spec = found.preprocessor.spec
        faults = [
            f"data.columns.{role} is {now!r}, and was {then!r}: its ids are others"
            for role, now, then in (("user", schema.user, spec.user_column), ("item", schema.item, spec.item_column))
            if now != then
        ]
        if faults:
            raise ConfigError(faults, source=f"--from {self.model.source}")
        try:
            return known_rows(self.tables, found.users.table, found.catalogue, found.users.item_histories)
        except DataError as error:
            raise DataError(f"--from {self.model.source}: {error}") from None

    def overlaps(self, fit_rows: NDArray[np.int64], held: Mapping[str, NDArray[np.int64]]) -> dict[str, int]:
        """How many rows of each kind that this training must not know the source has learned from; only where there are some.

        Args:
            fit_rows: What this training may know.
            held: By what they are for (``test``): rows that it must not know.
        """
        found = {name: self.known.among(rows, beside=fit_rows) for name, rows in held.items()}
        return {name: count for name, count in found.items() if count}

    def refuse_overlap(self, fit_rows: NDArray[np.int64], held: Mapping[str, NDArray[np.int64]]) -> list[str]:
        """Make sure that the source did not learn from rows that are to be new to the model.

        Returns:
            Where the recipe takes it (``warm_start.overlap = "note"``), what is to be noted beside the figures.

        Raises:
            ConfigError: If it did, and the recipe does not.
        """
        found = self.overlaps(fit_rows, held)
        if not found:
            return []
        counted = " and ".join(f"{count:,} of the {len(held[name]):,} {name} rows" for name, count in found.items())
        if self.config.overlap == "note":
            return [f"leaking: the run that this one went on from ({self.model.source}) learned from {counted}"]
        cut = ", ".join(f"split.{name}" for name in found)
        untimed = "" if self.known.timed else " (without times, rows are told apart by user, item and how often they occur)"
        raise ConfigError(
            f"--from {self.model.source}: it learned from {counted} of this run{untimed}, so that its figures would be of rows "
            f"that the model has seen; start from a run that ends before them, or set aside only rows that came after it "
            f"({cut}); warm_start.overlap = 'note' goes on all the same, and says so beside the figures"
        )

    def learned_rows(self, fit_rows: NDArray[np.int64]) -> LearnedRows:
        """Which of the rows that a training may know it learns from.

        Raises:
            DataError: If none is new.
        """
        in_order = self.tables.interactions.in_order(fit_rows)
        is_known = np.zeros(len(self.tables.interactions), dtype=np.bool_)
        is_known[in_order[self.known.are_known(in_order)]] = True
        of_fit = is_known[fit_rows]
        new = int((~of_fit).sum())
        if self.config.rows == "all":
            return LearnedRows(fit_rows, new, len(fit_rows) - new, len(fit_rows) - new)
        if not new:
            raise DataError(
                f"--from {self.model.source}: it learned from all {len(fit_rows):,} train rows of this run already; add rows "
                "to the table (or set fewer aside: split.test, split.validation), or learn from all once "
                "more: --set warm_start.rows=all"
            )
        chosen = ~of_fit
        known = np.flatnonzero(of_fit)
        replayed = min(len(known), round(self.config.replay * new))
        if replayed:
            chosen[np.random.default_rng(self.recipe.seed).choice(known, replayed, replace=False)] = True
        return LearnedRows(fit_rows[chosen], new, replayed, len(known))

    def keep(self, preprocessor: Preprocessor) -> Preprocessor:
        """Numbers with the source's moments and edges, if the recipe says so.

        Raises:
            ConfigError: If one is declared otherwise than in the source, and the recipe does not let parts start anew.
        """
        try:
            return with_numbers(preprocessor, numbers_of(self.model.recommender.preprocessor.spec), self.config)
        except ConfigError as error:
            raise ConfigError(
                [*error.faults, "declare them as they were; or start these parts anew: --set warm_start.partial=true"],
                source=f"--from {self.model.source}",
            ) from None

    def heads(self, heads: tuple[HeadSpec, ...]) -> tuple[HeadSpec, ...]:
        """The heads of a model, with the source's moments and levels; see `carried_heads`."""
        return carried_heads(heads, self.model)

    def start(self, model: TwoTower, preprocessor: Preprocessor, loss: RetrievalLoss, learned: LearnedRows) -> StartedModel:
        """Copy weights into a model with fresh ones; raises as `carry` does."""
        carried = carry(model, preprocessor, loss, self.model, self.config)
        states: States = {}
        if self.config.optimizer == "carry" and self.model.states:
            states = carried.states(TrainedParameters(model, loss, self.recipe.training.optimizer), self.model)
        anew = tuple(name for name in carried.rows if name not in states)
        return StartedModel(carried, states, anew, learned)

    def of(self, model: WarmModel) -> WarmStart:
        """The same from another model of the source."""
        return self if model is self.model else replace(self, model=model)
