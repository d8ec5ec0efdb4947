"""Panels of a page: a title, sentences, charts, tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from twotower.reports.chart import Chart, Table
from twotower.reports.markup import Html, element, joined

__all__ = ["Aside", "Block", "Panel", "paragraphs", "table_html"]


@dataclass(frozen=True)
class Aside:
    """Markup in a card, beside the charts.

    Attributes:
        title: Of the card.
        markup: Below it.
    """

    title: str
    markup: Html


Block: TypeAlias = Chart | Aside | Html


@dataclass(frozen=True)
class Panel:
    """A part of the page.

    Attributes:
        key: Its anchor.
        title: Its heading.
        lead: Sentences below the heading.
        blocks: Charts and asides, each a card beside others, and markup, which takes the whole width.
    """

    key: str
    title: str
    lead: tuple[str, ...]
    blocks: tuple[Block, ...]


def paragraphs(*sentences: str, class_: str | None = None) -> Html:
    """A paragraph for each."""
    return joined(*(element("p", sentence, class_=class_) for sentence in sentences))


def table_html(
    table: Table, *, caption: str | None = None, text_columns: int = 1, strong_rows: frozenset[int] = frozenset()
) -> Html:
    """A table that scrolls by itself where it is wider than the page.

    Args:
        table: Its cells.
        caption: Above it.
        text_columns: How many of the first columns are text; the others are numbers, and set to the right.
        strong_rows: Rows that stand out.
    """

    def cells(name: str, values: tuple[str, ...]) -> Html:
        return joined(*(element(name, v, class_="text" if i < text_columns else None) for i, v in enumerate(values)))

    body = joined(
        *(element("tr", cells("td", row), class_="strong" if i in strong_rows else None) for i, row in enumerate(table.rows))
    )
    written = element(
        "table",
        element("thead", element("tr", cells("th", table.header))),
        element("tbody", body),
        aria_label=caption,
    )
    return joined(
        element("p", caption, class_="caption") if caption else None,
        element("div", written, class_="scroll", tabindex="0"),
        element("p", table.note, class_="small") if table.note else None,
    )
