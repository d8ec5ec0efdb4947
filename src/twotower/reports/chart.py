"""Charts as plain numbers and words: what is drawn, and the same numbers as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = [
    "BarChart",
    "Chart",
    "DotChart",
    "Dots",
    "Line",
    "LineChart",
    "Points",
    "PointsChart",
    "Strands",
    "StrandsChart",
    "Table",
    "figure_text",
]

MOST_TABLE_ROWS = 120
"""Rows of a chart's table; a longer one says how many it leaves out (``report.json`` has them all)."""


@dataclass(frozen=True)
class Table:
    """Cells as they are read.

    Attributes:
        header: Names of the columns.
        rows: A cell per column; the first is a name, the others are numbers.
        note: A line below it; empty for none.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: In the legend.
        x: Ascending.
        y: One per ``x``; for ``steps`` one less, the height between two.
        style: Which colour, dash and marker, counted from 0; lines of one run share it.
        faint: Drawn thinner: there to compare with.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    style: int
    faint: bool = False


@dataclass(frozen=True)
class LineChart:
    """Lines over a common axis.

    Attributes:
        key: Names the file, and the chart on the page.
        title: Above it.
        caption: One sentence: what it shows and what to look for.
        x_label: With its unit.
        y_label: With its unit.
        lines: At least one.
        x_log: Whether x is drawn by its logarithm.
        x_names: What stands at x = 1, 2, ... in place of the numbers; empty for the numbers.
        shape: ``lines``, or ``steps`` for histograms.
    """

    key: str
    title: str
    caption: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    x_log: bool = False
    x_names: tuple[str, ...] = ()
    shape: Literal["lines", "steps"] = "lines"

    def table(self) -> Table:
        """A row per x that any line has; lines that lack it have an empty cell."""
        columns = [dict(zip(line.x, line.y, strict=False)) for line in self.lines]
        places = sorted({x for line in self.lines for x in (line.x[:-1] if self.shape == "steps" else line.x)})
        kept = _thinned(places)
        rows = tuple((self._place(x), *("" if x not in column else figure_text(column[x]) for column in columns)) for x in kept)
        first = f"{self.x_label}, from" if self.shape == "steps" else self.x_label
        note = "" if len(kept) == len(places) else f"{len(kept)} of {len(places)} rows; report.json has them all"
        return Table((first, *(line.name for line in self.lines)), rows, note)

    def _place(self, x: float) -> str:
        return self.x_names[round(x) - 1].replace("\n", " ") if self.x_names else figure_text(x)


@dataclass(frozen=True)
class Dots:
    """One ranker's figure in every group.

    Attributes:
        name: In the legend.
        values: One per group; None where there is none.
        lows: Lower ends of the intervals; None where there is none.
        highs: Upper ends.
        style: As for `Line`.
    """

    name: str
    values: tuple[float | None, ...]
    lows: tuple[float | None, ...]
    highs: tuple[float | None, ...]
    style: int


@dataclass(frozen=True)
class DotChart:
    """Figures by group, as dots with intervals.

    Attributes:
        key: Names the file, and the chart on the page.
        title: Above it.
        caption: One sentence: what it shows and what to look for.
        x_label: What the groups are.
        y_label: With its unit.
        groups: Names; a line break is kept.
        series: At least one.
    """

    key: str
    title: str
    caption: str
    x_label: str
    y_label: str
    groups: tuple[str, ...]
    series: tuple[Dots, ...]

    def table(self) -> Table:
        """A row per group."""

        def cell(dots: Dots, place: int) -> str:
            value, low, high = dots.values[place], dots.lows[place], dots.highs[place]
            if value is None:
                return ""
            return figure_text(value) + ("" if low is None or high is None else f" ({figure_text(low)} to {figure_text(high)})")

        rows = tuple((name.replace("\n", " "), *(cell(dots, i) for dots in self.series)) for i, name in enumerate(self.groups))
        return Table((self.x_label, *(dots.name for dots in self.series)), rows)


@dataclass(frozen=True)
class Points:
    """Points of one kind.

    Attributes:
        name: In the legend.
        x: Of each.
        y: Of each.
        titles: Of each, shown when it is pointed at.
        style: As for `Line`.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    titles: tuple[str, ...]
    style: int


@dataclass(frozen=True)
class PointsChart:
    """A map of titled points.

    Attributes:
        key: Names the file, and the chart on the page.
        title: Above it.
        caption: One sentence: what it shows and what to look for.
        x_label: With its unit.
        y_label: With its unit.
        kinds: At least one.
    """

    key: str
    title: str
    caption: str
    x_label: str
    y_label: str
    kinds: tuple[Points, ...]

    def table(self) -> Table:
        """A row per point, those furthest from the middle first, for they are what a reader asks about."""
        points = [(point, kind.name) for kind in self.kinds for point in zip(kind.titles, kind.x, kind.y, strict=True)]
        points.sort(key=lambda entry: (-(entry[0][1] ** 2 + entry[0][2] ** 2), entry[0][0]))
        rows = tuple((title, figure_text(x), figure_text(y), kind) for (title, x, y), kind in points[:MOST_TABLE_ROWS])
        more = len(points) - len(rows)
        note = f"the {len(rows)} furthest from the middle; report.json has the other {more:,}" if more else ""
        return Table(("item", self.x_label, self.y_label, "kind"), rows, note)


@dataclass(frozen=True)
class BarChart:
    """One figure for each of some names, as bars that lie.

    Attributes:
        key: Names the file, and the chart on the page.
        title: Above it.
        caption: One sentence: what it shows and what to look for.
        x_label: With its unit.
        y_label: What the names are of.
        names: At least one, the first at the top.
        values: One per name, none below 0.
    """

    key: str
    title: str
    caption: str
    x_label: str
    y_label: str
    names: tuple[str, ...]
    values: tuple[float, ...]

    def table(self) -> Table:
        """A row per name."""
        rows = tuple((name, figure_text(value)) for name, value in zip(self.names, self.values, strict=True))
        return Table((self.y_label, self.x_label), rows)


@dataclass(frozen=True)
class Strands:
    """Many lines of one kind.

    Attributes:
        name: In the legend.
        lines: x and y of each.
        style: As for `Line`.
        faint: Drawn thin and half through.
    """

    name: str
    lines: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
    style: int
    faint: bool = False


@dataclass(frozen=True)
class StrandsChart:
    """Many lines of a few kinds over a common axis, or from one upright axis to the next.

    Attributes:
        key: Names the file, and the chart on the page.
        title: Above it.
        caption: One sentence: what it shows and what to look for.
        x_label: With its unit.
        y_label: With its unit.
        kinds: At least one; later ones are drawn over earlier ones.
        rows: The numbers, as a table.
        x_names: What stands at x = 1, 2, ...: upright axes, on which y goes from 0 to 1; empty for plain numbers.
        ends: With ``x_names``, what stands at the lower and the upper end of each.
    """

    key: str
    title: str
    caption: str
    x_label: str
    y_label: str
    kinds: tuple[Strands, ...]
    rows: Table
    x_names: tuple[str, ...] = ()
    ends: tuple[tuple[str, str], ...] = ()

    def table(self) -> Table:
        """As it was given."""
        return self.rows


Chart: TypeAlias = LineChart | DotChart | PointsChart | BarChart | StrandsChart


def figure_text(value: float) -> str:
    """A number as it is read: four decimals below 1, fewer above, thousands apart.

    Example:
        >>> figure_text(0.62854), figure_text(12.3456), figure_text(1664), figure_text(123456.7)
        ('.6285', '12.35', '1,664', '123,457')
        >>> figure_text(0.0), figure_text(-0.25), figure_text(0.0001), figure_text(0.00001)
        ('0', '-.2500', '.0001', '1.0e-05')
    """
    size = abs(value)
    if value == round(value) and size < 1e15:
        return f"{round(value):,}"
    if size < 0.00005:
        return f"{value:.1e}"
    if size < 0.99995:
        return f"{value:.4f}".replace("0.", ".", 1)
    return f"{value:,.2f}" if size < 1000 else f"{value:,.0f}"


def _thinned(places: Sequence[float]) -> list[float]:
    """At most as many as a table takes, evenly, with the first and the last."""
    if len(places) <= MOST_TABLE_ROWS:
        return list(places)
    last = len(places) - 1
    return [places[round(i * last / (MOST_TABLE_ROWS - 1))] for i in range(MOST_TABLE_ROWS)]
