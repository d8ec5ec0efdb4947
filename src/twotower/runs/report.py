"""A report of finished runs: figures gathered from their folders, then drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch

from twotower.data import Examples
from twotower.diagnosis import Diagnosis
from twotower.errors import ConfigError
from twotower.evaluation import JudgedRows, ModelScorer, PositiveRanks, Scorer, rank_positives
from twotower.losses import RetrievalLoss
from twotower.models import ModelBuilder, build
from twotower.reports import (
    Comparison,
    Diagnosed,
    LeftOut,
    Note,
    Report,
    RunContent,
    Seen,
    require_matplotlib,
    require_report_folder,
    write_report,
)
from twotower.runs.baselines import FittedBaseline, baseline_rankers, fit_baselines
from twotower.runs.diagnose import diagnose_run
from twotower.runs.load_run import LoadedRun, load_run
from twotower.runs.report_facts import facts, outcomes, training
from twotower.runs.report_items import ItemTexts, by_train_rows
from twotower.runs.report_lists import example_users, first_rows, list_table, listed, popularity_shares
from twotower.runs.report_ranks import DRAWS, VARIANTS, compared, curves, groupings, rankers
from twotower.runs.report_vectors import item_map, vector_figures
from twotower.runs.standings import Headline, chosen_for, headline_of
from twotower.types import Ragged

__all__ = ["ReportResult", "report_runs"]

Tell = Callable[[str], None]


@dataclass(frozen=True)
class ReportResult:
    """What reporting gave.

    Attributes:
        page: The path of ``report.html``; ``report.json`` and ``figures/`` lie beside it.
        report: All figures.
    """

    page: Path
    report: Report


def report_runs(
    folders: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    labels: Sequence[str] | None = None,
    baselines: bool = True,
    fitted: Mapping[str, FittedBaseline] | None = None,
    diagnosis: bool = True,
    users: int = 3,
    interactions: pl.DataFrame | None = None,
    items: pl.DataFrame | None = None,
    users_table: pl.DataFrame | None = None,
    builder: ModelBuilder = build,
    loss: Callable[[], RetrievalLoss] | None = None,
    cache_dir: Path | None = None,
    tell: Tell | None = None,
) -> ReportResult:
    """Write a page about one run, or about several side by side.

    Runs are compared on their own test rows, and paired only where these are the same. Nothing is kept between calls: ranks are
    read from the runs, baselines are fitted anew. Baselines are fitted once for all runs with the same tables, split and refit.

    Args:
        folders: Of finished runs; the first is the run that the report is about.
        output: Where the report goes, replacing an earlier one; None: ``report/`` in the folder of a single run.
        labels: What to call the runs, one each; None: the names of their folders, with those above where they are the same.
        baselines: Also judge every baseline that can be fitted; else only those in the runs.
        fitted: Baselines that were fitted for the first run's tables already, as `twotower.runs.compare.Comparison` has them;
            None: they are fitted here.
        diagnosis: Also look for what is wrong with the first run, as `twotower.runs.diagnose_run` does.
        users: How many example users to show.
        interactions: In place of the recipes' tables, as for the runs.
        items: In place of the recipes' tables.
        users_table: In place of the recipes' tables.
        builder: What built the models, where it was one of your own.
        loss: What made the loss of the first run, where it was one of your own.
        cache_dir: Where public data sets are kept; None for the default.
        tell: Is told, in a sentence, what happens.

    Raises:
        ConfigError: If there is no run, labels do not fit, the output is missing or holds other things, or matplotlib is not
            installed.
        BundleError: If a folder holds no finished run with judged rows, or the report can't be written.
        DataError: If the tables are no longer those of a run.
    """
    require_matplotlib()
    place = _output(folders, output)
    require_report_folder(place)
    if labels is not None and len(labels) != len(folders):
        raise ConfigError(f"labels must name every run; came {len(labels)} for {len(folders)} runs")
    if users < 0:
        raise ConfigError(f"users must be at least 0; came {users}")
    names = list(labels) if labels is not None else _labels(folders)
    checks = partial(diagnose_run, builder=builder, loss=loss) if diagnosis else None
    gather = _Gather(baselines=baselines, users=users, diagnose=checks, tell=tell or _ignore)
    for folder, label in zip(folders, names, strict=True):
        gather.tell(f"{label}: reading {folder}")
        loaded = load_run(
            folder, interactions=interactions, items=items, users=users_table, builder=builder, cache_dir=cache_dir
        )
        if fitted is not None and not gather.runs:
            gather.take(loaded, fitted)
        gather.add(loaded, label)
    title = f"Report of {names[0]}" if len(names) == 1 else f"Report of {names[0]} and {len(names) - 1} more"
    report = Report(title=title, draws=DRAWS, runs=tuple(gather.runs))
    gather.tell(f"drawing into {place}")
    return ReportResult(write_report(report, place), report)


def _ignore(sentence: str) -> None:
    del sentence


def _output(folders: Sequence[str | Path], output: str | Path | None) -> Path:
    if not folders:
        raise ConfigError("a report needs at least one run")
    if output is not None:
        return Path(output)
    if len(folders) > 1:
        raise ConfigError("a report of several runs belongs to none of their folders: say where it goes with --output DIR")
    return Path(folders[0]) / "report"


def _labels(folders: Sequence[str | Path]) -> list[str]:
    """What runs are called: the last part of the folder's path, or as many parts as tell them apart."""
    parts = [Path(folder).resolve().parts for folder in folders]
    names = [each[-1] for each in parts]
    for depth in range(2, max(map(len, parts)) + 1):
        twice = {name for name, count in Counter(names).items() if count > 1}
        names = ["/".join(each[-depth:]) if name in twice else name for name, each in zip(names, parts, strict=True)]
    return [f"{name} ({place + 1})" if names.count(name) > 1 else name for place, name in enumerate(names)]


@dataclass(frozen=True)
class _Baselines:
    """Baselines that were fitted for one kind of run."""

    rankers: Mapping[str, Any]
    settings: Mapping[str, str]
    left_out: tuple[LeftOut, ...]


class _Gather:
    """Collects run after run; what the first one says decides what the others are compared by."""

    def __init__(self, *, baselines: bool, users: int, diagnose: Callable[[LoadedRun], Diagnosis] | None, tell: Tell) -> None:
        self.with_baselines = baselines
        self.users = users
        self.diagnose = diagnose
        self.tell = tell
        self.runs: list[RunContent] = []
        self.first_rows: JudgedRows | None = None
        self.fitted: dict[tuple[str, ...], _Baselines] = {}
        self.ranked: dict[tuple[str, ...], tuple[dict[str, PositiveRanks], dict[str, PositiveRanks] | None]] = {}

    def add(self, loaded: LoadedRun, label: str) -> None:
        """Gather a run."""
        result, recipe, phase = loaded.result, loaded.recipe, loaded.phase
        judged = loaded.judged()
        frozen = loaded.judged(frozen=True)
        assert judged is not None  # only frozen ranks can be none
        examples = phase.examples(loaded.tables.split.test, grow=phase.grows)
        fitted = self._baselines(loaded)
        judged, frozen = self._with_baselines(loaded, fitted, judged, frozen, examples)
        metric, seen = self._headline(loaded)
        seed = recipe.seed
        texts, thirds = ItemTexts(loaded.recommender), by_train_rows(phase.item_counts, 3)
        self.tell(f"{label}: intervals, groups and curves")
        found = rankers(judged, recipe.evaluation.ks, metric, seed=seed, settings=fitted.settings)
        left_out = list(fitted.left_out)
        model = ModelScorer(loaded.recommender.model, phase.items, examples, device=torch.device("cpu"))
        vectors = vector_figures(loaded, model, seed=seed)
        alone = not self.runs
        shown = item_map(loaded, model.vectors_ND, thirds, texts, seed=seed) if alone else None
        if alone and shown is None:
            left_out.append(LeftOut(part="Map of the catalogue", why="the vectors have one dimension, or are all alike"))
        places = first_rows(loaded, judged)
        scorers: dict[str, Scorer] = {"model": model}
        if alone:  # the lists of the others' baselines are those of the first
            scorers |= {name: ranker(examples) for name, ranker in fitted.rankers.items()}
        table, lists = list_table(
            scorers, examples, listed(places, seed=seed), len(places), phase.item_counts, model.vectors_ND, texts
        )
        if table.categories is None:
            left_out.append(
                LeftOut(part="Diversity and calibration by category", why="no column of the catalogue holds categories")
            )
        tenths = by_train_rows(phase.item_counts, 10)
        people = example_users(loaded, judged, model, examples, places, texts, seed=seed, count=self.users) if alone else ()
        trained = training(loaded)
        if not any(epoch.metrics for epoch in trained.epochs):
            left_out.append(LeftOut(part="Validation while training", why="there are no validation rows to look at"))
        grouped = groupings(judged, thirds, metric, seen, seed=seed)
        left_out += [
            LeftOut(part=part, why="all test rows are in one group")
            for key, part in (("history", "Recall by history length"), ("warmth", "Warm and cold users"))
            if not any(grouping.key == key for grouping in grouped)
        ]
        if alone and self.diagnose is not None:
            self.tell(f"{label}: looking for what is wrong")
        against_first, not_paired = self._against_first(label, judged, metric, seen, seed)
        self.runs.append(
            RunContent(
                label=label,
                rows={name: int(count) for name, count in result["rows"].items()},
                users=len(places),
                catalogue=len(phase.catalogue),
                not_in_catalogue=int((judged.item_rows < 0).sum()),
                metric=metric,
                seen=seen,
                rankers=found,
                frozen=() if frozen is None else rankers(frozen, recipe.evaluation.ks, metric, seed=seed, settings={}),
                against_baseline=_against_baselines(judged, metric, seen, seed),
                against_first=against_first,
                not_paired=not_paired,
                notes=tuple(result["notes"]),
                training=trained,
                curves=curves(judged, len(phase.catalogue)),
                outcomes=outcomes(result),
                groupings=grouped,
                vectors=vectors,
                shares=popularity_shares(lists, judged.item_rows, tenths),
                lists=table,
                item_map=shown,
                users_shown=people,
                diagnosis=_diagnosed(self.diagnose(loaded)) if alone and self.diagnose is not None else None,
                facts=facts(loaded),
                left_out=tuple(left_out),
            )
        )
        if self.first_rows is None:
            self.first_rows = judged

    def _headline(self, loaded: LoadedRun) -> tuple[str, Seen]:
        """The first run's, so that all are measured alike."""
        if self.runs:
            return self.runs[0].metric, self.runs[0].seen
        found = headline_of(loaded.recipe, None, None)
        return found.metric, "removed" if found.removed else "included"

    def _baselines(self, loaded: LoadedRun) -> _Baselines:
        recipe = loaded.recipe
        if not self.with_baselines:
            return _Baselines(baseline_rankers(recipe, loaded.tables), {}, ())
        key = _kind(loaded)
        if key not in self.fitted:
            metric, seen = self._headline(loaded)
            by = chosen_for(recipe, Headline(metric, removed=seen == "removed"))
            self.take(loaded, fit_baselines(by, loaded.tables, tell=self.tell))
        return self.fitted[key]

    def take(self, loaded: LoadedRun, fits: Mapping[str, FittedBaseline]) -> None:
        """Baselines of a run, and of all others of its kind."""
        self.fitted[_kind(loaded)] = _Baselines(
            {name: fit.scorer for name, fit in fits.items() if fit.scorer is not None},
            {name: text for name, fit in fits.items() if (text := _settings(fit))},
            tuple(LeftOut(part=f"Baseline {name}", why=fit.skipped) for name, fit in fits.items() if fit.skipped is not None),
        )

    def _with_baselines(
        self,
        loaded: LoadedRun,
        fitted: _Baselines,
        judged: JudgedRows,
        frozen: JudgedRows | None,
        examples: Examples,
    ) -> tuple[JudgedRows, JudgedRows | None]:
        if not self.with_baselines:
            return judged, frozen
        key = _kind(loaded)
        if key not in self.ranked:
            still = None if frozen is None else loaded.phase.examples(loaded.tables.split.test, grow=False)
            ranks, of_still = {}, {}
            for name, ranker in fitted.rankers.items():
                self.tell(f"{name}: judging on {len(judged):,} test rows")
                ranks[name] = _ranks(ranker(examples), examples)
                if still is not None:
                    of_still[name] = _ranks(ranker(still), still)
            self.ranked[key] = ranks, None if still is None else of_still
        ranks, frozen_ranks = self.ranked[key]
        model = {"model": judged.rankers["model"]}
        ordered = JudgedRows(**{**_fields(judged), "rankers": model}).with_rankers(ranks)
        if frozen is None or frozen_ranks is None:
            return ordered, frozen
        return ordered, JudgedRows(**{**_fields(frozen), "rankers": {"model": frozen.rankers["model"]}}).with_rankers(
            frozen_ranks
        )

    def _against_first(
        self, label: str, judged: JudgedRows, metric: str, seen: Seen, seed: int
    ) -> tuple[Comparison | None, str | None]:
        if self.first_rows is None:
            return None, None
        if not judged.same_rows(self.first_rows):
            return None, "the test rows are not the same, so that a difference says nothing of the models."
        first = self.runs[0].label
        return compared((label, judged, "model"), (first, self.first_rows, "model"), metric, seen, seed=seed), None


def _kind(loaded: LoadedRun) -> tuple[str, ...]:
    """What baselines depend on: runs that have it in common share them."""
    recipe = loaded.recipe
    return (
        loaded.tables.fingerprint,
        str(recipe.refit == "none"),
        recipe.baselines.model_dump_json(),
        str(headline_of(recipe, None, None)),
        str(recipe.evaluation.max_validation_rows),
    )


def _fields(judged: JudgedRows) -> dict[str, Any]:
    return {name: getattr(judged, name) for name in judged.__dataclass_fields__}


def _ranks(scorer: Scorer, examples: Examples) -> PositiveRanks:
    rows = torch.arange(len(examples))
    return rank_positives(scorer, rows, Ragged(examples.item_rows, torch.arange(len(examples) + 1)), examples.seen)


def _settings(fit: FittedBaseline) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in fit.settings.items())


def _against_baselines(judged: JudgedRows, metric: str, seen: Seen, seed: int) -> tuple[Comparison, ...]:
    """The model and the best baseline of each variant, the deciding one first."""
    names = [name for name in judged.rankers if name not in ("model", "random")]
    found = []
    for variant in (seen, *(each for each in VARIANTS if each != seen)):
        means = {name: float(judged.values(name, metric, removed=variant == "removed").mean()) for name in names}
        if means:
            best = max(means, key=lambda name: means[name])
            found.append(compared(("the model", judged, "model"), (best, judged, best), metric, variant, seed=seed))
    return tuple(found)


def _diagnosed(found: Diagnosis) -> Diagnosed:
    notes = tuple(
        Note(code=f.code, severity=f.severity, title=f.title, evidence=f.evidence, why=f.why, fix=f.fix) for f in found.findings
    )
    return Diagnosed(findings=notes, made=found.made, not_made=dict(found.not_made))
