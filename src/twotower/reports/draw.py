"""From a chart to an SVG for the page and a PNG for a slide: one drawing of matplotlib, written twice.

The only file that imports matplotlib, which comes with the extra ``report``.
"""

from __future__ import annotations

import io
import re
import warnings
from html import escape
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

from twotower.errors import ConfigError
from twotower.reports.chart import BarChart, Chart, DotChart, LineChart, PointsChart, StrandsChart
from twotower.reports.palette import FRAME, INK, RULE, style_of, variables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Drawing", "draw", "require_matplotlib"]

_WIDTH_IN, _PLOT_IN, _LEGEND_ROW_IN, _LABELS_IN = 4.3, 2.3, 0.18, 0.6
_LETTERS_ACROSS, _LETTERS_UP = 48, 30
_BAR_IN = 0.24
_PNG_DOTS_PER_IN = 200
_MOST_MARKERS = 14
_NAMED = "named"
"""The label of whatever has a name in the legend."""

_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.2,
    "ytick.labelsize": 9.2,
    "legend.fontsize": 9.2,
    "axes.edgecolor": FRAME,
    "axes.labelcolor": INK,
    "axes.formatter.useoffset": False,
    "xtick.color": FRAME,
    "ytick.color": FRAME,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "path.simplify": True,
    "axes.unicode_minus": True,
}


class Drawing(NamedTuple):
    """A chart as it is shown.

    Attributes:
        svg: An ``<svg>`` element, colours by variables of the page, ids its own.
        png: Of the same drawing, on white.
    """

    svg: str
    png: bytes


def require_matplotlib() -> None:
    """Make sure that there is something to draw with, before any work is done.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError("a report draws with matplotlib, which is not installed: pip install 'twotower[report]'") from None


def draw(chart: Chart) -> Drawing:
    """Draw a chart; the same chart gives the same bytes.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib

    settings: Any = {**_SETTINGS, "svg.hashsalt": chart.key}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # letters that the PNG's font lacks are boxes there; the page has its reader's fonts
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure = _figure(chart)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, and then written twice as it is
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=_PNG_DOTS_PER_IN, facecolor="white", metadata={"Software": None})
    return Drawing(_for_page(svg.getvalue(), chart), png.getvalue())


def _figure(chart: Chart) -> Figure:
    from matplotlib.figure import Figure

    names = _names(chart)
    columns = _legend_columns(names)
    rows = -(-len(names) // columns) if len(names) > 1 else 0
    plot = max(0.8, _BAR_IN * len(chart.names)) if isinstance(chart, BarChart) else _PLOT_IN
    height = plot + _LABELS_IN + _LEGEND_ROW_IN * rows + (0.9 if isinstance(chart, PointsChart) else 0.0)
    figure = Figure(figsize=(_WIDTH_IN, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(fill(chart.x_label, _LETTERS_ACROSS))
    axes.set_ylabel(fill(chart.y_label, _LETTERS_UP))
    axes.set_axisbelow(True)
    if isinstance(chart, LineChart):
        _draw_lines(axes, chart)
    elif isinstance(chart, DotChart):
        _draw_dots(axes, chart)
    elif isinstance(chart, BarChart):
        _draw_bars(axes, chart)
    elif isinstance(chart, StrandsChart):
        _draw_strands(axes, chart)
    else:
        _draw_points(axes, chart)
    if rows:
        legend = figure.legend(
            loc="outside upper left", ncols=columns, frameon=False, handlelength=2.2, columnspacing=1.2, borderpad=0.1,
            labelspacing=0.25,
        )  # fmt: skip
        # a label that begins with an underscore, or is empty, would be left out: names are put in afterwards
        for text, name in zip(legend.get_texts(), names, strict=True):
            text.set_text(name)
    return figure


def _names(chart: Chart) -> list[str]:
    if isinstance(chart, LineChart):
        return [line.name for line in chart.lines]
    if isinstance(chart, BarChart):
        return []
    return [part.name for part in (chart.series if isinstance(chart, DotChart) else chart.kinds)]


def _legend_columns(names: list[str]) -> int:
    """As many as fit beside each other."""
    longest = max(map(len, names), default=1)
    return max(1, min(4, int(_WIDTH_IN * 72 / (longest * 5.6 + 34))))


def _draw_lines(axes: Axes, chart: LineChart) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.grid(axis="both")
    for line in chart.lines:
        style = style_of(line.style)
        width = 1.0 if line.faint else 1.7
        if chart.shape == "steps":
            axes.stairs(line.y, line.x, color=style.light, linestyle=style.dash, linewidth=width, label=_NAMED)
            continue
        every = max(1, len(line.x) // _MOST_MARKERS)
        axes.plot(
            line.x, line.y, color=style.light, linestyle=style.dash, linewidth=width, marker=style.marker,
            markersize=2.6 if line.faint else 3.4, markevery=every, label=_NAMED,
        )  # fmt: skip
    if chart.x_names:
        axes.set_xticks(range(1, len(chart.x_names) + 1), list(chart.x_names))
    elif not chart.x_log and all(x == round(x) for line in chart.lines for x in line.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if chart.x_log:
        _log_axis(axes, [x for line in chart.lines for x in line.x])
    low, high = axes.get_ylim()
    if min(y for line in chart.lines for y in line.y) >= 0 and low < 0.35 * high:
        axes.set_ylim(0, high)


def _log_axis(axes: Axes, places: list[float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    low, high = min(places), max(places)
    ticks = [float(digit * 10**power) for power in range(7) for digit in (1, 2, 5) if low <= digit * 10**power <= high]
    if len(ticks) > 7:
        ticks = [tick for tick in ticks if str(tick).startswith("1")]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _draw_dots(axes: Axes, chart: DotChart) -> None:
    axes.grid(axis="y")
    number = len(chart.series)
    for place, dots in enumerate(chart.series):
        style = style_of(dots.style)
        offset = (place - (number - 1) / 2) * min(0.16, 0.7 / max(1, number))
        there = [i for i, value in enumerate(dots.values) if value is not None]
        ends = [(i, dots.lows[i], dots.highs[i]) for i in there]
        for i, low, high in ends:
            if low is not None and high is not None:
                axes.plot([i + offset] * 2, [low, high], color=style.light, linewidth=1.3, label="_interval")
        axes.plot(
            [i + offset for i in there], [value for value in dots.values if value is not None], color=style.light,
            linestyle="none", marker=style.marker, markersize=4.6, label=_NAMED,
        )  # fmt: skip
    axes.set_xticks(range(len(chart.groups)), list(chart.groups))
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(chart.groups) - 0.5)
    axes.set_ylim(bottom=0)


def _draw_points(axes: Axes, chart: PointsChart) -> None:
    axes.grid(axis="both")
    for number, kind in enumerate(chart.kinds):
        style = style_of(kind.style)
        axes.plot(
            kind.x, kind.y, color=style.light, linestyle="none", marker=style.marker, markersize=2.8, markeredgewidth=0,
            alpha=0.75, label=_NAMED, gid=f"points-{number}",
        )  # fmt: skip


def _draw_bars(axes: Axes, chart: BarChart) -> None:
    axes.grid(axis="x")
    axes.barh(range(len(chart.names)), chart.values, height=0.62, color=style_of(0).light)
    axes.set_yticks(range(len(chart.names)), list(chart.names))
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(left=0)


def _draw_strands(axes: Axes, chart: StrandsChart) -> None:
    from matplotlib.ticker import MaxNLocator

    for kind in chart.kinds:
        style = style_of(kind.style)
        for place, (x, y) in enumerate(kind.lines):
            axes.plot(
                x, y, color=style.light, linewidth=0.8 if kind.faint else 1.8, alpha=0.45 if kind.faint else 1.0,
                marker=style.marker if len(x) < 2 or (chart.x_names and not kind.faint) else "none", markersize=3.0,
                linestyle=style.dash, label="_more" if place else _NAMED,
            )  # fmt: skip
    if not chart.x_names:
        axes.grid(axis="both")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        return
    places = range(1, len(chart.x_names) + 1)
    axes.set_xticks(places, list(chart.x_names), rotation=30, ha="right", rotation_mode="anchor")
    axes.set_ylim(-0.09, 1.09)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)
    for place, (low, high) in zip(places, chart.ends, strict=True):
        axes.plot([place, place], [0, 1], color=FRAME, linewidth=0.9, zorder=0, label="_axis")
        axes.text(place, -0.03, low, ha="center", va="top", fontsize=7.5)
        axes.text(place, 1.03, high, ha="center", va="bottom", fontsize=7.5)


_NOT_FOR_A_PAGE = (
    re.compile(r"\A.*?(?=<svg)", re.DOTALL),
    re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL),
    re.compile(r"\s*<!--.*?-->", re.DOTALL),
    re.compile(r"\s*<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL),  # it is of all elements: the page has its own
    re.compile(r'(?<=<svg)(?=[^>]* width=")[^>]*?(?= viewBox)'),
    re.compile(r' height="[^"]*pt"'),
)
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_ID = re.compile(r'(\bid="|url\(#|href="#)')
_FONT = re.compile(r"'DejaVu Sans'(, ?[^;\"]*)?")
_USE = re.compile(r"<use ([^>]*?)/>")
_PLACES = re.compile(r'\b(?:d|x|y|transform)="[^"]*"')
_LONG = re.compile(r"(\.\d\d)\d+")


def _for_page(svg: str, chart: Chart) -> str:
    """The drawing without what only a file of its own needs, in the colours and the font of the page."""
    for pattern in _NOT_FOR_A_PAGE:
        svg = pattern.sub("", svg, count=1)
    named = variables()
    svg = _PLACES.sub(lambda found: _LONG.sub(r"\1", found.group(0)), svg)
    svg = _COLOUR.sub(lambda found: named.get(found.group(0), found.group(0)), svg)
    svg = _FONT.sub("var(--sans)", svg).replace('xlink:href="', 'href="')
    if isinstance(chart, PointsChart):
        svg = _titled(svg, chart)
    svg = _ID.sub(lambda found: f"{found.group(1)}{chart.key}-", svg)
    label = escape(f"{chart.title}: {chart.caption}", quote=True)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{label}" class="chart"', 1)
    return re.sub(r"\n\s*", "\n", svg).strip()


def _titled(svg: str, chart: PointsChart) -> str:
    """Every point with its title inside, which browsers show when it is pointed at."""
    for number, kind in enumerate(chart.kinds):
        start = svg.index(f'<g id="points-{number}"')
        titles = iter(kind.titles)
        # a title comes after the attributes of its point: where it goes is decided by matplotlib's own elements alone
        points = _USE.sub(
            lambda found, titles=titles: f"<use {found.group(1).strip()}><title>{escape(next(titles))}</title></use>",  # type: ignore[misc]
            svg[start:],
            count=len(kind.titles),
        )
        svg = svg[:start] + points
    return svg
