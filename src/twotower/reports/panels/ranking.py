"""All rankers of every run in one table."""

from __future__ import annotations

from twotower.reports.chart import Table, figure_text
from twotower.reports.content import Ranker, Report, RunContent, Seen
from twotower.reports.markup import Html
from twotower.reports.panel import Block, Panel, table_html
from twotower.reports.panels.wording import estimate_text, metric_text, ranker_text

__all__ = ["ranking_panel"]


def ranking_panel(report: Report) -> Panel:
    """Every ranker's figures, seen items included and removed; the deciding figure with its interval."""
    blocks: list[Block] = []
    for run in report.runs:
        name = "" if len(report.runs) == 1 else f"{run.label}: "
        blocks += [_table(run, run.rankers, "included", name), _table(run, run.rankers, "removed", name)]
        if run.frozen:
            blocks.append(_table(run, run.frozen, run.seen, f"{name}histories frozen at the cut, "))
    settings = [f"{ranker_text(r.name)}: {r.settings}" for r in report.runs[0].rankers if r.settings]
    return Panel(
        "rankers",
        "All rankers",
        (
            "Each test row is one question; recall@k is the share of rows whose item is among the first k "
            "of the whole catalogue. "
            f"In brackets: 95% interval, from {report.draws:,} draws of users.",
            *((f"Settings of the baselines, chosen on validation rows: {'; '.join(settings)}.",) if settings else ()),
        ),
        tuple(blocks),
    )


def _table(run: RunContent, rankers: tuple[Ranker, ...], seen: Seen, name: str) -> Html:
    keys = list(rankers[0].figures(seen))
    ordered = sorted(rankers, key=lambda ranker: -ranker.figures(seen)[run.metric].value)
    rows = tuple(
        (
            ranker_text(ranker.name),
            estimate_text(ranker.figures(seen)[run.metric]),
            *(figure_text(ranker.figures(seen)[key].value) for key in keys if key != run.metric),
        )
        for ranker in ordered
    )
    header = ("ranker", run.metric, *(key for key in keys if key != run.metric))
    title = f"{name}{metric_text('seen items', seen).split(', ')[1]}"
    model = next((place for place, ranker in enumerate(ordered) if ranker.name == "model"), None)
    return table_html(Table(header, rows), caption=title[:1].upper() + title[1:], strong_row=model)
