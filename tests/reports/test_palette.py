"""Colours that can be told apart, and read, on both pages."""

from __future__ import annotations

from itertools import combinations

import pytest

from twotower.reports.palette import STYLES, style_of, variables

LIGHT_CARD, DARK_CARD = "#ffffff", "#1d2026"


def luminance(colour: str) -> float:
    """WCAG 2.1, relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("style", STYLES)
def test_lines_stand_out_from_the_card(style: object) -> None:
    # 3 is what WCAG asks of graphics
    assert contrast(style.light, LIGHT_CARD) >= 3  # type: ignore[attr-defined]
    assert contrast(style.dark, DARK_CARD) >= 3  # type: ignore[attr-defined]


def test_no_two_styles_share_a_marker_or_a_colour() -> None:
    for first, second in combinations(STYLES, 2):
        assert first.marker != second.marker
        assert first.dash != second.dash
        assert first.light != second.light
        assert first.dark != second.dark


def test_every_colour_of_a_drawing_has_one_variable() -> None:
    named = variables()
    assert len(set(named.values())) == len(named) == len(STYLES) + 3
    assert all(named[style.light] == f"var(--c{i})" for i, style in enumerate(STYLES))


def test_more_lines_than_colours_are_told_apart() -> None:
    styles = [style_of(number) for number in range(4 * len(STYLES))]
    assert styles[: len(STYLES)] == list(STYLES)
    assert len({(style.light, style.marker) for style in styles}) == len(styles)
    assert len({(style.light, style.dash) for style in styles}) == len(styles)
