"""Rankers without a tower, as a recipe asks for them: settings chosen on validation rows, judged as a model is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from twotower.baselines import (
    LARGEST_CATALOGUE,
    FoldInScorer,
    PopularityScorer,
    RandomScorer,
    SegmentCounts,
    SegmentPopularityScorer,
    ease_scores,
    fit_ease,
    fit_ials,
    fit_item_neighbours,
    fit_segment_popularity,
    ials_scores,
    item_neighbour_scores,
    recent_counts,
)
from twotower.config import Config
from twotower.data import Examples
from twotower.data.consecutive import taken
from twotower.errors import ConfigError, MissingExtraError, nearest
from twotower.evaluation import JudgedRows, Scorer, evaluate, evaluate_per_user, list_figures, top_items
from twotower.runs.baselines_config import BASELINE_NAMES
from twotower.runs.fit_part import FitPart
from twotower.runs.judge import MakeScorer, judge
from twotower.runs.oracle import oracle_ranker
from twotower.runs.phase import Phase, bare_examples, fit_phase
from twotower.runs.recipe import Recipe
from twotower.runs.segments import Segments, default_segments, read_segments, require_segments
from twotower.runs.tables import Tables
from twotower.runs.watched import Watched

__all__ = ["BaselinesResult", "FittedBaseline", "baseline_rankers", "fit_baselines", "judge_baselines", "require_baselines"]

Settings: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[str], None]

_LIST_LENGTH = 10


@dataclass(frozen=True)
class FittedBaseline:
    """A ranker that was fitted, or why it was not.

    Attributes:
        name: One of `BASELINE_NAMES`.
        settings: As chosen, by name; empty where there is nothing to choose.
        validation: The figure that they were chosen by; None where nothing was chosen.
        scorer: Ranks rows of a phase that was fitted on the same rows; None where the baseline was skipped.
        seconds: To choose and to fit.
        skipped: Why it was not fitted; None where it was.
    """

    name: str
    settings: Mapping[str, Any]
    validation: float | None
    scorer: MakeScorer | None
    seconds: float
    skipped: str | None = None

    def to_json(self) -> dict[str, Any]:
        """All but the ranker."""
        return {
            "settings": dict(self.settings),
            "validation": self.validation,
            "seconds": self.seconds,
            "skipped": self.skipped,
        }


@dataclass(frozen=True)
class BaselinesResult:
    """What judging the baselines gave.

    Attributes:
        figures: For JSON, in the form of a run's ``result.json``: ``recipe``, ``rows``, ``metric`` (what settings were chosen
            by), ``chosen_on`` (how many validation rows), ``baselines`` (figures by name), ``fits`` (by name: settings,
            validation, seconds, skipped), ``lists`` (by name: `twotower.evaluation.list_figures` of the first 10, seen items
            removed, one list per user made just before the user's first test row), ``evaluation`` and ``details``.
        rows: Every ranker's ranks of every test row.
        frozen: The same with the histories frozen at the cut; None where they do not grow.
        fits: The rankers, for whoever wants more of them.
    """

    figures: dict[str, Any]
    rows: JudgedRows
    frozen: JudgedRows | None
    fits: Mapping[str, FittedBaseline]


def fit_baselines(
    recipe: Recipe, tables: Tables, names: Sequence[str] | None = None, tell: Tell | None = None
) -> dict[str, FittedBaseline]:
    """Choose settings on validation rows, then fit on the rows that the judged model is fitted on.

    Settings are fitted on train rows and compared on validation rows (at most ``evaluation.max_validation_rows``) by the metric
    that stops training early, where it is one of a ranking, else by the last recall; seen items are left out unless
    ``baselines.seen`` says otherwise; the first of equals is taken. Then the baseline is fitted on train rows, and where the
    recipe refits, on train and validation rows. Test rows are not looked at.

    Args:
        recipe: Its section ``baselines`` says what to choose from.
        tables: What was read.
        names: Those of `BASELINE_NAMES` to fit; None: all.
        tell: Is told, in a sentence, what happens.

    Returns:
        By name, in the order of `BASELINE_NAMES`; last the ``oracle``, where the truth is known. Where all were asked for, one
        that can't be fitted here is skipped, with the reason.

    Raises:
        ConfigError: If there is no such baseline, one that was asked for by name can't be fitted, or a segment's column can't
            tell queries apart.
    """
    wanted = BASELINE_NAMES if names is None else tuple(names)
    require_baselines(wanted)
    fitting = _Fitting(recipe, tables, tell or _ignore)
    if "segment_popularity" in wanted:
        fitting.segments  # noqa: B018 - a column that can't be one is told before anything is fitted
    fits: dict[str, FittedBaseline] = {
        name: fitting.fit(name, by_name=names is not None) for name in BASELINE_NAMES if name in wanted
    }
    if recipe.baselines.truth is not None:
        fits["oracle"] = FittedBaseline("oracle", {}, None, oracle_ranker(recipe, tables, _final_rows(recipe, tables)), 0.0)
    return fits


def baseline_rankers(recipe: Recipe, tables: Tables, tell: Tell | None = None) -> dict[str, MakeScorer]:
    """The rankers that training judges beside the model (``baselines.train``), in the order of the recipe.

    Arguments and errors as for `fit_baselines`.
    """
    fits = fit_baselines(recipe, tables, recipe.baselines.train, tell)
    names = [*recipe.baselines.train, *(name for name in fits if name == "oracle")]
    return {name: scorer for name in names if (scorer := fits[name].scorer) is not None}


def require_baselines(names: Sequence[str]) -> None:
    """Make sure that all are names of baselines.

    Raises:
        ConfigError: If not; all faults at once.
    """
    faults = [f"no baseline {name!r}{nearest(name, BASELINE_NAMES)}" for name in names if name not in BASELINE_NAMES]
    if faults:
        raise ConfigError(faults)


def judge_baselines(
    recipe: Recipe, tables: Tables, names: Sequence[str] | None = None, tell: Tell | None = None
) -> BaselinesResult:
    """Fit baselines, and judge them on the test rows by the very evaluation that judges a model.

    Args:
        recipe: Cut-offs, intervals, split, and the section ``baselines``.
        tables: What was read.
        names: As for `fit_baselines`.
        tell: As for `fit_baselines`.

    Raises:
        ConfigError: As `fit_baselines`, if the split has no test rows, or if a feature of the recipe names a column that is
            not there.
        DataError: If the recipe's features can't be fitted.
    """
    if len(tables.split.test) == 0:
        raise ConfigError("split.test gives no rows to judge the baselines on: give it some")
    fits = fit_baselines(recipe, tables, names, tell)
    (tell or _ignore)(f"judging on {len(tables.split.test):,} test rows")
    phase = fit_phase(recipe, tables, _final_rows(recipe, tables))
    split = tables.split
    scorers = {name: fit.scorer for name, fit in fits.items() if fit.scorer is not None}
    found = judge(recipe, phase, split.test, scorers)
    figures = {
        "recipe": recipe.name,
        "rows": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "metric": _metric(recipe),
        "chosen_on": min(len(split.validation), recipe.evaluation.max_validation_rows or len(split.validation)),
        "baselines": found.figures["rankers"],
        "fits": {name: fit.to_json() for name, fit in fits.items()},
        "lists": _lists(phase, split.test, scorers),
        "evaluation": {"seconds": found.figures["seconds"], **found.figures["counts"]},
        "details": found.figures["details"],
    }
    return BaselinesResult(figures, found.rows, found.frozen, fits)


def _ignore(sentence: str) -> None:
    del sentence


def _metric(recipe: Recipe) -> str:
    """What settings are chosen by, as validation of a model names it."""
    stopping = recipe.training.early_stopping
    watched = Watched(f"recall@{recipe.evaluation.ks[-1]}") if stopping is None else Watched.of(stopping.metric)
    if not watched.orders_rankers:  # the error of an outcome, which these do not predict
        watched = Watched(f"recall@{recipe.evaluation.ks[-1]}")
    return replace(watched, removed=recipe.baselines.seen != "included").name


def _final_rows(recipe: Recipe, tables: Tables) -> NDArray[np.int64]:
    """The rows that the model whose figures are shown is fitted on."""
    split = tables.split
    return split.train if recipe.refit == "none" else np.concatenate([split.train, split.validation])


def _lists(phase: Phase, rows: NDArray[np.int64], scorers: Mapping[str, MakeScorer]) -> dict[str, dict[str, float]]:
    """What each ranker recommends to every user of the rows, just before the first of them."""
    examples = phase.examples(rows, grow=phase.grows)
    order = np.lexsort((examples.before.numpy(), examples.user_rows.numpy()))
    _, first = np.unique(examples.user_rows.numpy()[order], return_index=True)
    queries = torch.from_numpy(order[first])
    consumed, counts_N = examples.seen(queries), torch.from_numpy(phase.item_counts)
    return {
        name: list_figures(
            top_items(make(examples), queries, _LIST_LENGTH, seen=examples.seen),
            ks=[_LIST_LENGTH],
            catalogue_size=len(phase.catalogue),
            item_counts_N=counts_N,
            histories=consumed,
        )
        for name, make in scorers.items()
    }


class _SkippedError(Exception):
    """A baseline can't be fitted here; says why."""


class _Fitting:
    """Chooses and fits one baseline after the other; what they share is made once."""

    def __init__(self, recipe: Recipe, tables: Tables, tell: Tell) -> None:
        self.recipe = recipe
        self.tables = tables
        self.tell = tell
        self.counted: dict[tuple[bool, tuple[str, ...]], SegmentCounts] = {}
        self.final = FitPart.of(tables, _final_rows(recipe, tables))

    @cached_property
    def train(self) -> FitPart:
        return self.final if self.recipe.refit == "none" else FitPart.of(self.tables, self.tables.split.train)

    @cached_property
    def validation_rows(self) -> NDArray[np.int64]:
        rows, most = self.tables.split.validation, self.recipe.evaluation.max_validation_rows
        if most is not None and most < len(rows):
            # the same rows as the model's
            rows = np.sort(np.random.default_rng(self.recipe.seed).choice(rows, most, replace=False))
        return rows

    @cached_property
    def validation(self) -> Examples:
        return bare_examples(self.recipe, self.tables, self.train.item_rows, self.validation_rows)

    @cached_property
    def segments(self) -> dict[str, Segments]:
        chosen = self.recipe.baselines.segments
        if chosen is None:
            chosen = default_segments(self.recipe, self.tables)
        require_segments(self.recipe, self.tables, chosen)
        return {" x ".join(columns): read_segments(self.tables, columns) for columns in chosen}

    def fit(self, name: str, *, by_name: bool) -> FittedBaseline:
        began = time.perf_counter()
        try:
            grid = self._grid(name)
            settings, figure = self._choose(name, grid)
            scorer = self._fitted(name, self.final, settings)
        except (_SkippedError, MissingExtraError) as reason:
            if by_name:
                raise ConfigError(f"{name}: {reason}") from None
            self.tell(f"{name}: skipped: {reason}")
            return FittedBaseline(name, {}, None, None, time.perf_counter() - began, str(reason))
        return FittedBaseline(name, settings, figure, scorer, time.perf_counter() - began)

    def _grid(self, name: str) -> list[Settings]:
        """All that may be chosen; first what is taken where nothing can be compared."""
        config = self.recipe.baselines
        if name == "recent_popularity":
            return _combinations(config.recent_popularity)
        if name == "segment_popularity":
            if not self.segments:
                raise _SkippedError("no column to tell segments by; name some in [baselines] segments, or with --segment")
            return [
                {"segment": segment, **settings}
                for segment, settings in product(self.segments, _combinations(config.segment_popularity))
            ]
        if name == "item_neighbours":
            return _combinations(config.item_neighbours)
        if name == "ease":
            if self.final.fit.num_items > LARGEST_CATALOGUE:
                raise _SkippedError(
                    f"EASE inverts an N x N matrix, and is for catalogues of at most {LARGEST_CATALOGUE:,} items; this one has "
                    f"{self.final.fit.num_items:,}"
                )
            return _combinations(config.ease)
        return _combinations(config.ials) if name == "ials" else [{}]

    def _choose(self, name: str, grid: list[Settings]) -> tuple[Settings, float | None]:
        if len(grid) == 1 or len(self.validation_rows) == 0:
            return grid[0], None
        found = []
        for place, settings in enumerate(grid, start=1):
            found.append(self._figure(self._fitted(name, self.train, settings)))
            self.tell(f"{name}: {place} of {len(grid)}: {_shown(settings)}: {_metric(self.recipe)} {found[-1]:.4f}")
        best = int(np.argmax(found))
        return grid[best], found[best]

    def _figure(self, make: MakeScorer) -> float:
        watched = Watched.of(_metric(self.recipe))
        judge_rows = evaluate_per_user if watched.per_user else evaluate
        found = judge_rows(make(self.validation), self.validation, ks=self.recipe.evaluation.ks, draws=0)
        return (found.seen_removed if watched.removed else found.seen_included).values[watched.metric]

    def _fitted(self, name: str, part: FitPart, settings: Settings) -> MakeScorer:
        fit = part.fit
        counts_N = fit.counts()
        if name == "random":
            return lambda _: RandomScorer(fit.num_items, seed=self.recipe.seed)
        if name == "popularity":
            return lambda _: PopularityScorer(counts_N)
        if name == "recent_popularity":
            recent_N = recent_counts(fit, half_life=settings["half_life_fraction"] * len(fit.item_rows))
            return lambda _: PopularityScorer(recent_N)
        if name == "segment_popularity":
            return self._segmented(part, self.segments[settings["segment"]], settings["strength"])
        if name == "item_neighbours":
            state = fit_item_neighbours(fit, **settings)
            return lambda examples: FoldInScorer(
                lambda seen: item_neighbour_scores(state, seen), counts_N, examples, additive=True
            )
        if name == "ease":
            weights_NN = fit_ease(fit, **settings)
            return lambda examples: FoldInScorer(lambda seen: ease_scores(weights_NN, seen), counts_N, examples, additive=True)
        factors_ND = fit_ials(fit, **settings, seed=self.recipe.seed)
        weighing = {key: settings[key] for key in ("regularisation", "alpha")}
        return lambda examples: FoldInScorer(lambda seen: ials_scores(factors_ND, seen, **weighing), counts_N, examples)

    def _segmented(self, part: FitPart, segments: Segments, strength: float) -> MakeScorer:
        key = (part is self.final, segments.columns)
        if key not in self.counted:
            codes = torch.from_numpy(taken(segments.codes, part.rows))
            self.counted[key] = fit_segment_popularity(part.fit, codes, num_segments=segments.count)
        state = self.counted[key]
        split = self.tables.split
        parts = (split.test, self.validation_rows, split.validation, split.train)

        def scorer(examples: Examples) -> Scorer:
            return SegmentPopularityScorer(state, segments.of(examples, parts, part.item_rows), strength=strength)

        return scorer


def _combinations(grid: Config) -> list[Settings]:
    lists = {name: getattr(grid, name) for name in type(grid).model_fields}
    return [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]


def _shown(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
