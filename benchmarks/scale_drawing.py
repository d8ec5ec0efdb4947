"""Time and memory against rows, both axes logarithmic, as one SVG; the dashed line is proportion to the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["scale_drawing"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 330, 240, 62, 40, 90
_INK, _QUIET, _LINES = "#1f2933", "#9aa5b1", ("#0b7285", "#c2410c")


def scale_drawing(sizes: Sequence[Mapping[str, Any]]) -> str:
    """Draw two panels: seconds (preparing, and with one epoch) and gigabytes (prepared, and at most) against rows.

    Args:
        sizes: By number of rows, ascending; at least one, with the keys that ``livestream_scale.py`` prints.
    """
    rows = [float(size["rows"]) for size in sizes]
    panels = [
        ("seconds", "{:g}", {"prepare": "prepare_seconds", "prepare and one epoch": "seconds"}, 1.0),
        ("peak memory, GB", "{:g}", {"prepared": "prepare_peak_bytes", "one epoch": "peak_memory_bytes"}, 1e9),
    ]
    width = 2 * (_LEFT + _WIDTH) + _GAP
    height = _TOP + _HEIGHT + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" '
        f'fill="{_INK}" role="img" aria-label="Seconds and peak memory against the number of rows">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for place, (title, form, keys, unit) in enumerate(panels):
        curves = {name: [float(size[key]) / unit for size in sizes] for name, key in keys.items()}
        parts += _panel(_LEFT + place * (_LEFT + _WIDTH + _GAP // 2), title, form, rows, curves)
    return "\n".join([*parts, "</svg>", ""])


def _panel(left: float, title: str, form: str, rows: list[float], curves: Mapping[str, list[float]]) -> list[str]:
    values = [value for curve in curves.values() for value in curve]
    x_low, x_high = min(rows) / 1.3, max(rows) * 1.3
    y_low, y_high = min(values) / 3, max(values) * 1.5

    def x(value: float) -> float:
        return left + _WIDTH * math.log(value / x_low) / math.log(x_high / x_low)

    def y(value: float) -> float:
        return _TOP + _HEIGHT * (1 - math.log(value / y_low) / math.log(y_high / y_low))

    bottom = _TOP + _HEIGHT
    parts = [f'<text x="{left}" y="{_TOP - 14}" font-weight="bold">{title}</text>']
    parts += [f'<path d="M{left} {_TOP}V{bottom}H{left + _WIDTH}" fill="none" stroke="{_INK}"/>']
    for value in rows:
        parts.append(f'<path d="M{x(value):.1f} {bottom}v5" stroke="{_INK}"/>')
        parts.append(f'<text x="{x(value):.1f}" y="{bottom + 19}" text-anchor="middle">{value / 1e6:g} M</text>')
    parts.append(f'<text x="{left + _WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">rows</text>')
    for value in _ticks(y_low, y_high):
        parts.append(f'<path d="M{left} {y(value):.1f}h{_WIDTH}" stroke="{_QUIET}" stroke-width=".4"/>')
        parts.append(f'<text x="{left - 7}" y="{y(value) + 4:.1f}" text-anchor="end">{form.format(value)}</text>')
    # in proportion to the rows, through the upper curve's first point
    first = list(curves.values())[-1][0]
    reach = min(max(rows), rows[0] * y_high / first)
    parts.append(
        f'<path d="M{x(rows[0]):.1f} {y(first):.1f}L{x(reach):.1f} {y(first * reach / rows[0]):.1f}" '
        f'stroke="{_QUIET}" stroke-dasharray="4 3"/>'
    )
    for (name, curve), colour, row in zip(curves.items(), _LINES, (1, 0), strict=True):
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(rows, curve, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="3" fill="{colour}"/>' for a, b in zip(rows, curve, strict=True)]
        parts.append(_label(left, bottom - 26 - 16 * row, name, colour))
    parts.append(_label(left, bottom - 10, "dashed: in proportion to the rows", _QUIET))
    return parts


def _label(left: float, height: float, text: str, colour: str) -> str:
    return f'<text x="{left + _WIDTH - 6}" y="{height}" text-anchor="end" fill="{colour}">{text}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high]
