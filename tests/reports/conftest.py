"""A small report, with ids and titles that try to break out of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from twotower.reports import (
    Choice,
    Comparison,
    Curve,
    Curves,
    Diagnosed,
    Distribution,
    Epoch,
    Estimate,
    ExampleUser,
    Facts,
    Group,
    Grouping,
    ItemMap,
    LeftOut,
    ListTable,
    Note,
    Outcome,
    PopularityShares,
    Ranker,
    Report,
    RunContent,
    Training,
    VectorFigures,
)

MakeRun = Callable[..., RunContent]
HOSTILE = """<script>alert("1")</script>'&"x"</title></svg>"""


def _ranker(name: str, value: float, settings: str = "") -> Ranker:
    figures = {
        "recall@10": Estimate(value=value, low=value - 0.01, high=value + 0.01),
        "mrr": Estimate(value=value / 2, low=value / 2, high=value / 2),
    }
    return Ranker(
        name=name,
        included=figures,
        removed={key: Estimate(value=e.value + 0.1, low=e.low, high=e.high) for key, e in figures.items()},
        settings=settings,
    )


def _distribution(name: str) -> Distribution:
    return Distribution(name=name, count=4, mean=0.5, std=0.2, edges=(0.0, 0.5, 1.0), shares=(0.25, 0.75))


def _run(**changes: Any) -> RunContent:
    names = {"model": 0.30, "popularity": 0.20, "ease": 0.25}
    content: dict[str, Any] = {
        "label": "first",
        "rows": {"train": 70, "validation": 10, "test": 20},
        "users": 7,
        "catalogue": 50,
        "not_in_catalogue": 2,
        "metric": "recall@10",
        "seen": "included",
        "rankers": (_ranker("model", 0.3), _ranker("popularity", 0.2), _ranker("ease", 0.25, "regularisation 100")),
        "frozen": (_ranker("model", 0.1), _ranker("popularity", 0.15)),
        "against_baseline": (
            Comparison(
                metric="recall@10",
                seen="included",
                first="the model",
                second="ease",
                first_value=0.3,
                second_value=0.25,
                difference=Estimate(value=0.05, low=0.02, high=0.08),
                p_value=0.002,
                users=7,
            ),
        ),
        "notes": ("leaking: something knows the test rows",),
        "training": Training(
            epochs=(
                Epoch(phase="select", epoch=1, seconds=1.5, loss=4.0, metrics={"recall@10": 0.2}),
                Epoch(phase="select", epoch=2, seconds=3.0, loss=3.0, metrics={"recall@10": 0.3}),
                Epoch(phase="refit", epoch=1, seconds=1.6, loss=4.1, metrics={}),
            ),
            metric="recall@10",
            validated_on="validation",
            chosen_epoch=2,
        ),
        "curves": Curves(
            ks=(1, 10, 50),
            rankers=tuple(Curve(name=n, included=(v / 3, v, 1.0), removed=(v / 2, v + 0.1, 1.0)) for n, v in names.items()),
        ),
        "groupings": (
            Grouping(
                key="popularity",
                rule="Items are cut in thirds.",
                metric="recall@10",
                seen="included",
                groups=(
                    Group(
                        name="head",
                        rows=12,
                        users=6,
                        items=5,
                        rankers={n: Estimate(value=v, low=v, high=v) for n, v in names.items()},
                    ),
                    Group(name="tail", rows=8, users=5, items=45, rankers={n: Estimate(value=v / 2) for n, v in names.items()}),
                ),
            ),
        ),
        "vectors": VectorFigures(
            queries=4,
            scores=(_distribution("own items"), _distribution("random items")),
            ordered_fraction=0.9,
            logit_spread=2.0,
            perplexity=12.5,
            temperature=0.5,
            temperature_note="of the recipe",
            query_norms=_distribution("queries"),
            candidate_norms=_distribution("candidates"),
            norm_popularity=0.25,
        ),
        "shares": PopularityShares(
            rule="Items are cut in tenths.",
            names=("1", "2", "not in train"),
            items=(5, 40, 5),
            consumed=(0.5, 0.4, 0.1),
            recommended={"model": (0.7, 0.3, 0.0), "popularity": (1.0, 0.0, 0.0), "ease": (0.6, 0.4, 0.0)},
        ),
        "lists": ListTable(
            k=10, lists=7, of_users=9, categories="genres", rankers={"model": {"coverage@10": 0.4, "gini@10": 0.6}}
        ),
        "item_map": ItemMap(
            of=50,
            variance=(0.5, 0.25),
            x=(0.0, 1.0, 2.0),
            y=(0.0, -1.0, 1.0),
            titles=(HOSTILE, "plain", "plain"),
            counts=(5, 9, 0),
            popularity=("tail", "head", "not in train"),
            category_column="genres",
            categories=("Drama", "Drama", "other"),
        ),
        "users_shown": (
            ExampleUser(
                kind="a long history",
                user=HOSTILE,
                details=f"name {HOSTILE}",
                history_length=12,
                history=(Choice(title=HOSTILE, details="1995"),),
                recommended=(Choice(title="hit", marked=True), Choice(title="miss")),
                chosen=(Choice(title="hit", marked=True),),
                chosen_count=3,
            ),
        ),
        "diagnosis": Diagnosed(
            findings=(
                Note(code="leakage", severity="fault", title="The test leaks", evidence=("80%",), why="Bad.", fix=("Split.",)),
            ),
            made=("leakage", "temperature"),
            not_made={"overfitting": "no validation rows"},
        ),
        "outcomes": (
            Outcome(
                name="rating",
                rows=18,
                errors={"model": {"rmse": Estimate(value=0.9), "mae": Estimate(value=0.7)}},
                differences={"mean": Estimate(value=-0.2, low=-0.3, high=-0.1)},
            ),
        ),
        "facts": Facts(
            recipe={"name": f'"{HOSTILE}"', "training.epochs": "2"},
            data=("100 rows read",),
            versions={"torch": "2"},
            hardware={"device": "cpu"},
            seconds={"training": 3.0},
            peak_memory_bytes=2**30,
            trained_on="train rows",
        ),
        "left_out": (LeftOut(part="Baseline ials", why="implicit is not installed"),),
    }
    return RunContent(**{**content, **changes})


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """A run with something in every part, changed by keyword."""
    return _run


@pytest.fixture(scope="session")
def report() -> Report:
    """Of one run."""
    return Report(title=f"Report of {HOSTILE}", draws=1000, runs=(_run(),))


@pytest.fixture(scope="session")
def two_runs() -> Report:
    """Of two runs that are paired, and a third that is not."""
    against = Comparison(
        metric="recall@10",
        seen="included",
        first="second",
        second="first",
        first_value=0.31,
        second_value=0.3,
        difference=Estimate(value=0.01, low=-0.02, high=0.04),
        p_value=0.5,
        users=7,
    )
    second = _run(
        label="second",
        against_first=against,
        item_map=None,
        users_shown=(),
        diagnosis=None,
        facts=_run().facts.model_copy(update={"recipe": {"name": '"other"', "training.epochs": "2"}}),
    )
    third = _run(label="third", not_paired="the test rows are not the same.", item_map=None, users_shown=(), diagnosis=None)
    return Report(title="Report of first and 2 more", draws=1000, runs=(_run(), second, third))
