"""The page: nothing breaks out of it, nothing comes in."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from html import unescape
from html.parser import HTMLParser

from twotower.reports import Report, RunContent
from twotower.reports.chart import Chart
from twotower.reports.draw import Drawing, draw
from twotower.reports.page import charts_of, page, panels_of


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "hr"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)


@lru_cache
def drawn(chart: Chart) -> Drawing:
    return draw(chart)


def written(report: Report) -> str:
    panels = panels_of(report)
    return page(report, panels, {chart.key: drawn(chart) for chart in charts_of(panels)})


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


def test_hostile_titles_stay_text(report: Report) -> None:
    text = written(report)
    reader = read(text)
    assert (reader.faults, reader.open) == ([], [])
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert "alert(" not in re.sub(r"&lt;script&gt;alert\(", "", text)
    assert "alert(" in unescape(text)


def test_nothing_is_fetched_and_nothing_else_is_run(two_runs: Report) -> None:
    text = written(two_runs)
    reader = read(text)
    policy = next(attrs["content"] for tag, attrs in reader.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    script = text[text.index("<script>") + 8 : text.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("href", "src", "xlink:href", "srcset", "action"):
            assert str(attributes.get(name) or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", text)


def test_links_lead_to_the_parts_and_ids_are_unique(report: Report) -> None:
    reader = read(written(report))
    ids = [str(attrs["id"]) for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [str(attrs["href"])[1:] for tag, attrs in reader.tags if tag == "a"]
    assert links == [str(attrs["id"]) for tag, attrs in reader.tags if tag == "section"]
    assert links[0] == "verdict"


def test_every_chart_has_a_caption_and_its_numbers(report: Report) -> None:
    text = written(report)
    for chart in charts_of(panels_of(report)):
        card = text[text.index(f'id="chart-{chart.key}"') :]
        card = card[: card.index("</figure>")]
        assert chart.caption.endswith(".")
        assert "<figcaption>" in card
        assert "<svg" in card
        assert "<details>" in card
        assert "<td" in card


def test_parts_without_anything_are_left_out(make_run: Callable[..., RunContent]) -> None:
    nothing = dict.fromkeys(("frozen", "groupings", "users_shown", "outcomes", "notes"), ())
    empty = make_run(**nothing, vectors=None, shares=None, lists=None, item_map=None, diagnosis=None)
    keys = [panel.key for panel in panels_of(Report(title="T", draws=10, runs=(empty,)))]
    assert keys == ["verdict", "rankers", "training", "recall", "recipe", "facts"]


def test_dark_pages_have_colours_of_their_own(report: Report) -> None:
    text = written(report)
    assert "prefers-color-scheme: dark" in text
    assert re.findall(r"--c0: (#[0-9a-f]{6})", text) == ["#0072b2", "#5bb3ec"]
    assert "LIGHT" not in text.split("</style>")[0]
