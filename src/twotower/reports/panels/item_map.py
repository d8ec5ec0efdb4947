"""The catalogue's vectors as a map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from twotower.reports.chart import Points, PointsChart
from twotower.reports.content import ItemMap, Report
from twotower.reports.panel import Panel

__all__ = ["map_panel"]


def map_panel(report: Report) -> Panel | None:
    """Items of the first run, by popularity and by category."""
    run = report.runs[0]
    found = run.item_map
    if found is None:
        return None
    charts = [_chart("map-popularity", "popularity", found, found.popularity, tuple(dict.fromkeys(_by_count(found))))]
    if found.categories:
        order = [name for name, _ in sorted(Counter(found.categories).items(), key=lambda e: (e[0] == "other", -e[1], e[0]))]
        charts.append(_chart("map-category", str(found.category_column), found, found.categories, order))
    share = found.variance[0] + found.variance[1]
    shown = f"{len(found.x):,} of {found.of:,} items, drawn at random" if len(found.x) < found.of else f"all {found.of:,} items"
    of = f" of {run.label}" if len(report.runs) > 1 else ""
    lead = (
        f"The vectors of {shown}{of}, on their first two principal components, which hold {share:.0%} of the variance: "
        "what is close here need not be close in the other dimensions. Point at an item, or tap it, for its title.",
    )
    return Panel("map", "Map of the catalogue", lead, tuple(charts))


def _by_count(found: ItemMap) -> list[str]:
    """Names of the groups, the most popular first."""
    return [name for _, name in sorted(zip(found.counts, found.popularity, strict=True), key=lambda e: -e[0])]


def _chart(key: str, by: str, found: ItemMap, kinds: Sequence[str], order: Sequence[str]) -> PointsChart:
    points = []
    for style, name in enumerate(order):
        places = [place for place, kind in enumerate(kinds) if kind == name]
        points.append(
            Points(
                name,
                tuple(found.x[i] for i in places),
                tuple(found.y[i] for i in places),
                tuple(f"{found.titles[i]} · {name} · {found.counts[i]:,} train rows" for i in places),
                6 if name == "other" else style,
            )
        )
    labels = [f"component {i + 1} ({found.variance[i]:.0%} of variance)" for i in range(2)]
    return PointsChart(
        key=key,
        title=f"Items by {by}",
        caption=f"Items that the model holds to be alike lie together; colour is {by}: one cloud without order says little.",
        x_label=labels[0],
        y_label=labels[1],
        kinds=tuple(points),
    )
