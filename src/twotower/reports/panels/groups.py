"""Who is served, and which items are found: recall by popularity, by history, warm and cold."""

from __future__ import annotations

from twotower.reports.chart import DotChart, Dots, Table
from twotower.reports.content import Grouping, Report, RunContent
from twotower.reports.markup import Html, element, joined
from twotower.reports.panel import Block, Panel, table_html
from twotower.reports.panels.wording import compared_baselines, estimate_text, metric_text, model_name, ranker_text

__all__ = ["groups_panel"]

_TITLES = {
    "popularity": ("by item popularity", "test rows by how popular their item is in train"),
    "history": ("by history length", "test rows by how many items the user had seen"),
    "warmth": ("warm and cold users", "test rows by whether their user has train rows"),
}
_CAPTIONS = {
    "popularity": "Recall of rows by the popularity of their item: a model worth having beats popularity on the tail, too.",
    "history": "Recall of rows by how much was known of their user: long histories leave rarer items to find.",
    "warmth": "Recall of rows of users with and without train rows: how far the model carries over to new users.",
}


def groups_panel(report: Report) -> Panel | None:
    """A chart and a table for each grouping of the first run, with the other runs' models where their groups are the same."""
    first = report.runs[0]
    if not first.groupings:
        return None
    blocks: list[Block] = [_chart(report, grouping) for grouping in first.groupings]
    tables = [_table(run, grouping, len(report.runs) > 1) for run in report.runs for grouping in run.groupings]
    blocks.append(element("details", element("summary", "Groups of every run and ranker, with counts"), joined(*tables)))
    return Panel(
        "groups",
        "Who is served",
        tuple(grouping.rule for grouping in first.groupings),
        tuple(blocks),
    )


def _chart(report: Report, grouping: Grouping) -> DotChart:
    first, alone = report.runs[0], len(report.runs) == 1
    names = [group.name for group in grouping.groups]
    series = []
    for number, run in enumerate(report.runs):
        same = next((g for g in run.groupings if g.key == grouping.key), None)
        if same is not None and (run is first or run.not_paired is None):
            series.append(_dots(model_name(run, alone=alone), "model", same, names, number))
    series += [
        _dots(ranker_text(name), name, grouping, names, len(report.runs) + place)
        for place, name in enumerate(compared_baselines(first))
    ]
    title, x_label = _TITLES[grouping.key]
    counts = [f"{group.name}\n{group.rows:,} rows" for group in grouping.groups]
    return DotChart(
        key=f"by-{grouping.key}",
        title=f"{grouping.metric} {title}",
        caption=f"{_CAPTIONS[grouping.key]} Bars: 95% intervals.",
        x_label=x_label,
        y_label=f"{grouping.metric} (share of rows)",
        groups=tuple(counts),
        series=tuple(series),
    )


def _dots(label: str, ranker: str, grouping: Grouping, names: list[str], style: int) -> Dots:
    found = {group.name: group.rankers.get(ranker) for group in grouping.groups}
    estimates = [found.get(name) for name in names]
    return Dots(
        label,
        tuple(None if e is None else e.value for e in estimates),
        tuple(None if e is None else e.low for e in estimates),
        tuple(None if e is None else e.high for e in estimates),
        style,
    )


def _table(run: RunContent, grouping: Grouping, several: bool) -> Html:
    rankers = [ranker.name for ranker in run.rankers]
    with_items = any(group.items is not None for group in grouping.groups)
    header = ("group", *(("items",) if with_items else ()), "rows", "users", *(ranker_text(name) for name in rankers))
    rows = tuple(
        (
            group.name,
            *((("" if group.items is None else f"{group.items:,}"),) if with_items else ()),
            f"{group.rows:,}",
            f"{group.users:,}",
            *(estimate_text(group.rankers[name]) if name in group.rankers else "" for name in rankers),
        )
        for group in grouping.groups
    )
    name = f"{run.label}: " if several else ""
    return table_html(
        Table(header, rows), caption=f"{name}{metric_text(grouping.metric, grouping.seen)}, {_TITLES[grouping.key][0]}"
    )
