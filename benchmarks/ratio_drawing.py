"""How many times as fast, or as small: a bar for each figure that was asked for, beside what was asked, as one SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from asked import Row

__all__ = ["ratio_drawing"]

_LEFT, _WIDTH, _ROW, _TOP, _RIGHT = 360, 420, 24, 46, 74
_INK, _QUIET = "#1f2933", "#9aa5b1"
_COLOURS = {"goal": "#0b7285", "pass": "#3aa6b9", "FAIL": "#c2410c"}
_HIGHEST = 1_000.0


def ratio_drawing(rows: Sequence[Row]) -> str:
    """Draw the bars, on a logarithmic axis from half to a thousand times.

    Args:
        rows: Of the table; one that was not measured has no bar and says so.
    """
    bottom = _TOP + _ROW * len(rows)
    width, height = _LEFT + _WIDTH + _RIGHT, bottom + 58
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" '
        f'fill="{_INK}" role="img" aria-label="How many times as fast twotower is, beside what was asked and the goal">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="22" font-weight="bold">how many times as fast as the peer, or as small</text>',
    ]
    for value in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000):
        parts.append(
            f'<path d="M{_x(value):.1f} {_TOP - 6}V{bottom}" stroke="{_QUIET}" stroke-width="{1.2 if value == 1 else 0.4}"/>'
        )
        parts.append(f'<text x="{_x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value}</text>')
    for place, row in enumerate(rows):
        parts += _bar(_TOP + _ROW * place, row)
    parts += _legend(bottom + 42)
    return "\n".join([*parts, "</svg>", ""])


def _bar(top: float, row: Row) -> list[str]:
    middle = top + _ROW / 2
    what = row.what if len(row.what) <= 58 else f"{row.what[:56].rstrip(' ,:')} ..."
    parts = [f'<text x="{_LEFT - 12}" y="{middle + 4:.1f}" text-anchor="end" font-size="11">{escape(what)}</text>']
    if row.seen is None:
        parts.append(f'<text x="{_x(1) + 6:.1f}" y="{middle + 4:.1f}" fill="{_QUIET}">not measured</text>')
    else:
        start, end = sorted((_x(1), _x(row.seen)))
        parts.append(
            f'<rect class="bar" x="{start:.1f}" y="{top + 5:.1f}" width="{end - start:.1f}" height="{_ROW - 10}" '
            f'fill="{_COLOURS[row.verdict]}"/>'
        )
        shown = f"{row.seen:.1f}" if row.seen < 100 else f"{row.seen:.0f}"
        parts.append(f'<text x="{max(end, _x(row.goal)) + 7:.1f}" y="{middle + 4:.1f}">{shown}</text>')
    parts.append(f'<path class="asked" d="M{_x(row.least):.1f} {top + 2}V{top + _ROW - 2}" stroke="{_INK}" stroke-width="2"/>')
    parts.append(
        f'<path class="goal" d="M{_x(row.goal):.1f} {top + 2}V{top + _ROW - 2}" stroke="{_INK}" stroke-width="1.2" '
        'stroke-dasharray="3 2"/>'
    )
    return parts


def _legend(height: float) -> list[str]:
    parts, at = [], 12.0
    for text, colour in (("goal reached", "goal"), ("asked, reached", "pass"), ("missed", "FAIL")):
        parts.append(f'<rect x="{at}" y="{height - 10}" width="12" height="12" fill="{_COLOURS[colour]}"/>')
        parts.append(f'<text x="{at + 17}" y="{height}">{text}</text>')
        at += 30 + 7 * len(text)
    parts.append(f'<text x="{at + 8}" y="{height}">solid line: asked; dashed line: goal; logarithmic</text>')
    return parts


def _x(value: float) -> float:
    low, high = math.log(0.5), math.log(_HIGHEST)
    return _LEFT + _WIDTH * (math.log(min(max(value, 0.5), _HIGHEST)) - low) / (high - low)
