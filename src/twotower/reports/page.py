"""The page: one file, nothing fetched, nothing run but what is named by its hash."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from itertools import groupby

from twotower.reports.chart import Chart, PointsChart
from twotower.reports.content import Report
from twotower.reports.draw import Drawing
from twotower.reports.markup import Html, element
from twotower.reports.palette import STYLES
from twotower.reports.panel import Aside, Panel, paragraphs, table_html
from twotower.reports.panels import (
    facts_panel,
    findings_panel,
    groups_panel,
    map_panel,
    outcomes_panel,
    popularity_panel,
    ranking_panel,
    recall_panel,
    recipe_panel,
    training_panel,
    users_panel,
    vectors_panel,
    verdict_panel,
)

__all__ = ["charts_of", "page", "page_of", "panels_of"]

_PANELS = (
    verdict_panel,
    findings_panel,
    ranking_panel,
    training_panel,
    recall_panel,
    outcomes_panel,
    groups_panel,
    popularity_panel,
    vectors_panel,
    map_panel,
    users_panel,
    recipe_panel,
    facts_panel,
)


def panels_of(report: Report) -> list[Panel]:
    """The panels that have something to show, in their order on the page."""
    return [panel for make in _PANELS if (panel := make(report)) is not None]


def charts_of(panels: list[Panel]) -> list[Chart]:
    """Every chart of the panels."""
    return [block for panel in panels for block in panel.blocks if not isinstance(block, Html | Aside)]


def page(report: Report, panels: list[Panel], drawings: Mapping[str, Drawing]) -> str:
    """The whole page.

    Args:
        report: For its title.
        panels: What it shows.
        drawings: By the key of their chart.

    Returns:
        HTML.
    """
    return page_of(
        report.title,
        panels,
        drawings,
        footer=f"Intervals are 95% intervals from {report.draws:,} draws of users. Every figure is also in report.json, "
        "every chart in figures/, beside this page.",
    )


def page_of(title: str, panels: list[Panel], drawings: Mapping[str, Drawing], *, footer: str) -> str:
    """A page of panels: one file that asks nobody for anything.

    Args:
        title: Of the page.
        panels: What it shows.
        drawings: By the key of their chart.
        footer: The last sentence.

    Returns:
        HTML.
    """
    style = (
        files("twotower.reports").joinpath("page.css").read_text(encoding="utf-8")
        .replace("LIGHT", _colours("light")).replace("DARK", _colours("dark"))
    )  # fmt: skip
    script = files("twotower.reports").joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        Html(f"<style>{style}</style>"),
    )
    links = [element("li", element("a", panel.title, href=f"#{panel.key}")) for panel in panels]
    body = element(
        "body",
        element("header", element("h1", title)),
        element("nav", element("ul", *links), aria_label="Parts of the report"),
        element("main", *(_section(panel, drawings) for panel in panels)),
        element("footer", paragraphs(footer)),
        Html(f"<script>{script}</script>"),
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n{head.text}\n{body.text}\n</html>\n'


def _colours(side: str) -> str:
    return "".join(f"  --c{number}: {getattr(style, side)};\n" for number, style in enumerate(STYLES))


def _section(panel: Panel, drawings: Mapping[str, Drawing]) -> Html:
    """Cards that follow each other share a grid."""
    parts: list[Html] = []
    for is_markup, blocks in groupby(panel.blocks, key=lambda block: isinstance(block, Html)):
        if is_markup:
            parts += [block for block in blocks if isinstance(block, Html)]
        else:
            cards = [_card(block, drawings) for block in blocks if not isinstance(block, Html)]
            parts.append(element("div", *cards, class_="grid"))
    return element("section", element("h2", panel.title), paragraphs(*panel.lead, class_="lead"), *parts, id=panel.key)


def _card(chart: Chart | Aside, drawings: Mapping[str, Drawing]) -> Html:
    if isinstance(chart, Aside):
        return element("div", element("h3", chart.title), chart.markup, class_="card")
    return element(
        "figure",
        element("figcaption", element("strong", chart.title), chart.caption),
        Html(drawings[chart.key].svg),
        element(
            "details",
            element("summary", "The numbers"),
            table_html(chart.table(), text_columns=1),
        ),
        class_="card points" if isinstance(chart, PointsChart) else "card",
        id=f"chart-{chart.key}",
    )
