"""Colours, dashes and markers: told apart by those who see fewer colours, and without any."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["FRAME", "INK", "RULE", "STYLES", "Style", "style_of", "variables"]


class Style(NamedTuple):
    """How a line or a kind of points looks.

    Attributes:
        light: Colour on a light page, and in PNGs.
        dark: Colour on a dark page.
        dash: As matplotlib writes it.
        marker: As matplotlib writes it.
    """

    light: str
    dark: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str


STYLES: tuple[Style, ...] = (
    Style("#0072b2", "#5bb3ec", "-", "o"),
    Style("#d55e00", "#ff8a3d", (0, (4.0, 1.5)), "s"),
    Style("#009e73", "#35cfa2", (0, (1.2, 1.2)), "^"),
    Style("#b8578e", "#e39bc4", (0, (5.0, 1.5, 1.2, 1.5)), "D"),
    Style("#c98500", "#f2b53b", (0, (7.0, 2.0)), "v"),
    Style("#3f93cc", "#8fd0fa", (0, (2.5, 1.0)), "P"),
    Style("#6e6e70", "#a6a6aa", (0, (1.2, 2.2)), "X"),
    Style("#8f7f00", "#e8dc53", (0, (5.0, 1.2, 1.2, 1.2, 1.2, 1.2)), "*"),
)
"""Okabe and Ito (2008), the lighter ones darkened until they can be read on white; each has its own dash and marker."""

INK, RULE, FRAME = "#1b1d21", "#d9dbe0", "#8d9099"
"""Of text, of the grid and of the axes, on a light page."""


def style_of(number: int) -> Style:
    """The style of that number; past the last one, the colours start over with other dashes and markers.

    Example:
        >>> style_of(8).light == style_of(0).light, style_of(8).marker == style_of(0).marker
        (True, False)
    """
    turn, place = divmod(number, len(STYLES))
    shape = STYLES[(place + 3 * turn) % len(STYLES)]
    return STYLES[place]._replace(dash=shape.dash, marker=shape.marker)


def variables() -> dict[str, str]:
    """What stands in a page for each colour of a drawing, so that dark pages can have others."""
    return {
        INK: "currentColor",
        RULE: "var(--rule)",
        FRAME: "var(--frame)",
        **{style.light: f"var(--c{number})" for number, style in enumerate(STYLES)},
    }
