"""All rankers of every run in one table."""

from __future__ import annotations

from twotower.reports.chart import Table, figure_text
from twotower.reports.content import Ranker, Report, RunContent, Seen
from twotower.reports.markup import Html
from twotower.reports.panel import Block, Panel, table_html
from twotower.reports.panels.wording import estimate_text, ranker_text

__all__ = ["ranking_panel"]


def ranking_panel(report: Report) -> Panel:
    """Every ranker's figures, seen items included and removed; the deciding figure with its interval.

    Runs that were judged on the same rows as the first are in its table.
    """
    first, several = report.runs[0], len(report.runs) > 1
    together = [run for run in report.runs if run is first or run.not_paired is None]
    blocks = _tables(together, several)
    for run in report.runs:
        if run not in together:
            blocks += _tables([run], several)
    settings = [f"{ranker_text(r.name)}: {r.settings}" for r in first.rankers if r.settings]
    return Panel(
        "rankers",
        "All rankers",
        (
            "Each test row is one question; recall@k is the share of rows whose item is among the first k "
            f"of the whole catalogue. In brackets: 95% interval, from {report.draws:,} draws of users.",
            *(
                (f"Settings of the baselines, chosen on validation rows where there are any: {'; '.join(settings)}.",)
                if settings
                else ()
            ),
        ),
        tuple(blocks),
    )


def _tables(runs: list[RunContent], several: bool) -> list[Block]:
    """The models of some runs, and the baselines of the first of them."""
    first = runs[0]
    name = f"Test rows of {first.label}, " if several else ""

    def entries(of: list[tuple[RunContent, tuple[Ranker, ...]]]) -> list[tuple[str, bool, Ranker]]:
        models = [
            (run.label if several else ranker_text(r.name), True, r)
            for run, rankers in of
            for r in rankers
            if r.name == "model"
        ]
        return models + [(ranker_text(r.name), False, r) for r in of[0][1] if r.name != "model"]

    found = entries([(run, run.rankers) for run in runs])
    tables: list[Block] = [
        _table(first, found, "included", f"{name}seen items included"),
        _table(first, found, "removed", f"{name}seen items removed"),
    ]
    frozen = [(run, run.frozen) for run in runs if run.frozen]
    if frozen:
        tables.append(_table(first, entries(frozen), first.seen, f"{name}histories frozen at the cut, seen items {first.seen}"))
    return tables


def _table(run: RunContent, entries: list[tuple[str, bool, Ranker]], seen: Seen, title: str) -> Html:
    keys = [key for key in entries[0][2].figures(seen) if key != run.metric]
    ordered = sorted(entries, key=lambda entry: -entry[2].figures(seen)[run.metric].value)
    rows = tuple(
        (
            name,
            estimate_text(ranker.figures(seen)[run.metric]),
            *(figure_text(ranker.figures(seen)[key].value) if key in ranker.figures(seen) else "" for key in keys),
        )
        for name, _, ranker in ordered
    )
    models = frozenset(place for place, (_, is_model, _) in enumerate(ordered) if is_model)
    return table_html(Table(("ranker", run.metric, *keys), rows), caption=f"{title[:1].upper()}{title[1:]}", strong_rows=models)
