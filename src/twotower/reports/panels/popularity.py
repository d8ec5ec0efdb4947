"""What is recommended beside what is consumed: popular or rare, varied or alike."""

from __future__ import annotations

from twotower.reports.chart import Chart, Line, LineChart, Table, figure_text
from twotower.reports.content import ListTable, PopularityShares, Report, RunContent
from twotower.reports.markup import Html, element, joined
from twotower.reports.panel import Aside, Block, Panel, table_html
from twotower.reports.panels.wording import compared_baselines, model_name, ranker_text

__all__ = ["popularity_panel"]

_MEANINGS = {
    "coverage": "share of the catalogue that is in any list",
    "gini": "0: every item is recommended equally often; near 1: few items take all",
    "popularity_lift": "popularity of the list by that of the user's own items; 1: as popular",
    "novelty": "bits; more: rarer items",
    "diversity_vectors": "1 - mean cosine within a list; more: less alike",
    "diversity_categories": "1 - mean overlap of categories within a list; more: more varied",
    "calibration": "divergence of the list's categories from the history's, in nats; 0: the same shares",
}


def popularity_panel(report: Report) -> Panel | None:
    """Lists of ten."""
    first = report.runs[0]
    blocks: list[Block] = []
    if first.shares is not None:
        blocks.append(_chart(report, first.shares))
    tables = [run for run in report.runs if run.lists is not None]
    blocks += [_table(run, len(report.runs) > 1) for run in tables]
    if not blocks:
        return None
    lead = [] if first.shares is None else [first.shares.rule]
    if tables and tables[0].lists is not None:
        found = tables[0].lists
        of = "" if found.lists == found.of_users else f" (sampled from {found.of_users:,})"
        lead.append(
            f"{found.lists:,} lists of {found.k}, one per user{of}, made for the first test row, without what was seen."
        )
        blocks.insert(1 if first.shares is not None else 0, Aside("How to read the table", _glossary(tables, found)))
    return Panel("popularity", "What is recommended", tuple(lead), tuple(blocks))


def _glossary(runs: list[RunContent], table: ListTable) -> Html:
    entries = [(name.replace("_", " "), meaning) for name, meaning in _MEANINGS.items() if _has(runs, f"{name}@{table.k}")]
    if table.categories is not None:
        entries.append(("categories", f"those of the column {table.categories}"))
    return element("dl", *(joined(element("dt", name), element("dd", meaning)) for name, meaning in entries))


def _has(runs: list[RunContent], key: str) -> bool:
    return any(key in figures for run in runs if run.lists is not None for figures in run.lists.rankers.values())


def _chart(report: Report, shares: PopularityShares) -> Chart:
    alone = len(report.runs) == 1
    places = tuple(float(place + 1) for place in range(len(shares.names)))
    lines = [Line("consumed (test rows)", places, shares.consumed, 6)]
    for number, run in enumerate(report.runs):
        if run.shares is not None and "model" in run.shares.recommended and run.shares.names == shares.names:
            lines.append(Line(model_name(run, alone=alone), places, run.shares.recommended["model"], number))
    baselines = [name for name in compared_baselines(report.runs[0]) if name in shares.recommended and name != "popularity"]
    lines += [
        Line(ranker_text(name), places, shares.recommended[name], len(report.runs) + place, faint=True)
        for place, name in enumerate(baselines)
    ]
    return LineChart(
        key="recommended-by-popularity",
        title="Popularity of what is recommended and consumed",
        caption="Share of listed items, and of test rows, in each tenth: a line above 'consumed' on the left recommends "
        "popular items too much.",
        x_label="tenth of train rows (1: the most popular items)",
        y_label="share of items listed, of test rows",
        lines=tuple(lines),
        x_names=tuple(name.replace("not in train", "not in\ntrain") for name in shares.names),
    )


def _table(run: RunContent, several: bool) -> Block:
    assert run.lists is not None
    keys = list(dict.fromkeys(key for figures in run.lists.rankers.values() for key in figures))
    rows = tuple(
        (ranker_text(name), *(figure_text(figures[key]) if key in figures else "" for key in keys))
        for name, figures in run.lists.rankers.items()
    )
    header = ("ranker", *(key.replace("_", " ") for key in keys))
    return table_html(Table(header, rows), caption=f"{run.label}: lists" if several else "Lists", strong_rows=frozenset({0}))
