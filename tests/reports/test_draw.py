"""Drawings: whole, alike every time, and at home on any page."""

from __future__ import annotations

import re
import struct
import sys
from xml.etree import ElementTree

import pytest

from twotower.errors import ConfigError
from twotower.reports.chart import Chart, DotChart, Dots, Line, LineChart, Points, PointsChart
from twotower.reports.draw import draw

HOSTILE = """<script>"$x_1$"</script>&'"""
LINES = LineChart(
    "lines", HOSTILE, "Caption.", "k", "recall",
    (Line("$cost_1$ <a>", (1.0, 10.0, 1000.0), (0.1, 0.2, 0.9), 0), Line("b", (1.0, 1000.0), (0.0, 0.5), 1, faint=True)),
    x_log=True,
)  # fmt: skip
STEPS = LineChart("steps", "T", "C.", "x", "y", (Line("a", (-1.0, 0.0, 1.0), (0.25, 0.75), 2),), shape="steps")
DOTS = DotChart("dots", "T", "C.", "x", "y", ("head\n3 rows", "tail"), (Dots("a", (0.5, None), (0.4, None), (0.6, None), 0),))
POINTS = PointsChart(
    "points", "T", "C.", "x", "y",
    (Points("p", (0.0, 1.0), (0.0, 1.0), (HOSTILE, "two"), 0), Points("q", (2.0,), (0.5,), ("three",), 3)),
)  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("chart", [LINES, STEPS, DOTS, POINTS])
def test_a_drawing_is_sound_and_in_the_page_colours(chart: Chart) -> None:
    drawing = draw(chart)
    root = ElementTree.fromstring(drawing.svg)
    assert root.get("viewBox")
    assert root.get("width") is root.get("height") is None
    assert root.get("aria-label") == f"{chart.title}: {chart.caption}"
    assert not re.findall(r"(?:fill|stroke): *#", drawing.svg)
    assert "currentColor" in drawing.svg
    assert "var(--c" in drawing.svg
    assert "DejaVu" not in drawing.svg
    assert "<style" not in drawing.svg
    own = [element.get("id") for element in root.iter() if element.get("id")]
    assert own
    assert all(name and name.startswith(f"{chart.key}-") for name in own)
    referred = set(re.findall(r'(?:href="|url\()#([^")]+)', drawing.svg))
    assert referred <= set(own)
    assert drawing.png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", drawing.png[16:24])
    assert (width, height > 300) == (860, True)


@pytest.mark.parametrize("chart", [LINES, POINTS])
def test_the_same_chart_gives_the_same_bytes(chart: Chart) -> None:
    assert draw(chart) == draw(chart)


def test_names_are_text_whatever_they_hold() -> None:
    texts = [element.text for element in ElementTree.fromstring(draw(LINES).svg).iter(f"{SVG}text")]
    assert "$cost_1$ <a>" in texts
    assert "recall" in texts
    assert "1,000" in texts


NAMES = ("_hidden", "plain", "日本")
ONE, TWO = (0.5,), (0.0, 1.0)
NAMED: dict[str, Chart] = {
    "lines": LineChart("c", "T", "C.", "x", "y", tuple(Line(n, TWO, TWO, i) for i, n in enumerate(NAMES))),
    "steps": LineChart("c", "T", "C.", "x", "y", tuple(Line(n, TWO, ONE, i) for i, n in enumerate(NAMES)), shape="steps"),
    "dots": DotChart("c", "T", "C.", "x", "y", ("g",), tuple(Dots(n, ONE, ONE, ONE, i) for i, n in enumerate(NAMES))),
    "points": PointsChart("c", "T", "C.", "x", "y", tuple(Points(n, ONE, ONE, ("t",), i) for i, n in enumerate(NAMES))),
}


@pytest.mark.parametrize("kind", NAMED)
def test_every_name_is_in_the_legend(kind: str) -> None:
    """Names that matplotlib would leave out or has no letters for."""
    root = ElementTree.fromstring(draw(NAMED[kind]).svg)
    legend = next(element for element in root.iter() if "legend" in (element.get("id") or ""))
    assert [element.text for element in legend.iter(f"{SVG}text")] == list(NAMES)


def test_every_point_has_its_title() -> None:
    root = ElementTree.fromstring(draw(POINTS).svg)
    titles = [title.text for use in root.iter(f"{SVG}use") for title in use.iter(f"{SVG}title")]
    assert titles == [HOSTILE, "two", "three"]


def test_points_lie_where_they_were_put() -> None:
    root = ElementTree.fromstring(draw(POINTS).svg)
    places = [
        (float(str(use.get("x"))), float(str(use.get("y"))))
        for use in root.iter(f"{SVG}use")
        if use.find(f"{SVG}title") is not None
    ]
    (x0, y0), (x1, y1), (x2, y2) = places
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.05)
    assert y0 - y1 == pytest.approx(2 * (y0 - y2), abs=0.05)  # y grows downwards


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'twotower\[report\]'"):
        draw(LINES)


def test_the_legend_lies_above_the_axes() -> None:
    root = ElementTree.fromstring(draw(LINES).svg)
    legend = next(g for g in root.iter(f"{SVG}g") if str(g.get("id")).endswith("legend_1"))
    lowest = max(float(str(text.get("y"))) for text in legend.iter(f"{SVG}text"))
    axes = next(g for g in root.iter(f"{SVG}g") if str(g.get("id")).endswith("axes_1"))
    frame = next(path for path in axes.iter(f"{SVG}path"))
    top = min(float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", str(frame.get("d"))))
    assert lowest < top


def test_one_line_needs_no_legend() -> None:
    assert "legend_1" not in draw(STEPS).svg
    assert "legend_1" in draw(LINES).svg
