"""Curves of the cost model for 1 to 1,024 ranks, as SVG: what takes how long, and where rows a second stop growing.

Nothing is measured: the drawings follow from the recipe, the table of devices and the equations of ``docs/scale.md``, and from
steps that are played through (`twotower.planning.simulate`), in which ranks vary, wait for each other, and have popular rows.

    python benchmarks/scale_curves.py --out docs/drawings

Prints a table for each drawing; the last line of stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from measured import table

from twotower.planning import DEVICES, Device, Point, Scaling, Workload, scaling_curve, simulate
from twotower.runs import AskedSizes, plan_recipe, read_recipe

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "livestream.toml"
RANKS = tuple(2**power for power in range(11))
ROWS, USERS, ITEMS = 10**9, 10**8, 10**7
BATCHES: Mapping[Scaling, int] = {"strong": 65_536, "weak": 8_192}
KINDS = {
    "tables": ("lookups", "row updates", "dense updates"),
    "towers": ("towers",),
    "loss": ("loss",),
    "all-to-all": ("all_to_all: ids", "all_to_all: vectors", "all_to_all: gradients"),
    "negatives gathered": ("all_gather: candidates", "all_reduce: candidates' gradients"),
    "other traffic": ("all_gather: rows touched", "all_reduce: towers and dense tables"),
    "input": ("input",),
    "calls": ("calls",),
}
_COLOURS = ("#0b7285", "#2f9e44", "#c2410c", "#7048e8", "#d6336c", "#868e96", "#e8890c", "#495057")
_INK, _QUIET = "#1f2933", "#9aa5b1"
_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP, _NAMES = 330, 260, 66, 56, 30, 150


def main() -> None:
    """Draw, print and end in a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the drawings into this folder")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for name, (device, scaling) in DRAWINGS.items():
        curve = curve_of(device, scaling)
        found[name] = [facts(point) for point in curve]
        print(f"{name}: {device.name}, {scaling} scaling")
        print(
            table(
                [
                    "ranks",
                    "rows/s",
                    "overlapped",
                    "efficiency",
                    "step",
                    "simulated",
                    "waited",
                    "fullest",
                    "most of it",
                    "needs",
                ],
                list(map(_row, curve)),
            )
        )
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{name}.svg").write_text(drawing(device, scaling, curve), encoding="utf-8")
    print(json.dumps({"benchmark": "scale_curves", "curves": found}))


DRAWINGS: Mapping[str, tuple[Device, Scaling]] = {
    "scale_strong": (DEVICES["h200"], "strong"),
    "scale_weak": (DEVICES["h200"], "weak"),
    "scale_strong_l4": (DEVICES["l4"], "strong"),
}


def planned_workload() -> Workload:
    """The live-stream recipe over a billion rows; no table is read."""
    recipe = read_recipe(RECIPE, overrides=["training.batch_size=65536"])
    sizes = AskedSizes(rows=ROWS, users=USERS, items=ITEMS, read=False)
    return plan_recipe(recipe, DEVICES["h200"], ranks=1, sizes=sizes).workload


def curve_of(device: Device, scaling: Scaling) -> list[Point]:
    """The points of a drawing."""
    workload = replace(planned_workload(), batch_size=BATCHES[scaling])
    return scaling_curve(workload, device, RANKS, scaling=scaling)


def seconds_by_kind(point: Point) -> dict[str, float]:
    """Seconds of a step, by what could be the narrowest place."""
    parts = point.plan.step.parts()
    unknown = parts.keys() - {name for names in KINDS.values() for name in names}
    if unknown:
        raise ValueError(f"of no kind: {', '.join(sorted(unknown))}")
    return {kind: sum(parts.get(name, 0.0) for name in names) for kind, names in KINDS.items()}


def facts(point: Point) -> dict[str, Any]:
    """A point for programs."""
    plan, played = point.plan, simulate(point.plan)
    return {
        "ranks": plan.ranks,
        "batch_size": plan.workload.batch_size,
        "rows_per_s": plan.step.rows_per_s,
        "overlapped_rows_per_s": plan.step.overlapped_rows_per_s,
        "efficiency": point.efficiency,
        "fits": point.fits,
        "device_bytes": plan.memory.peak(host=False),
        "host_bytes": plan.memory.peak(host=True),
        "seconds": seconds_by_kind(point),
        "simulated": {
            "rows_per_s": plan.workload.batch_size / played.mean_s,
            "waited": played.waited,
            "fullest": played.fullest,
            "asked": played.asked,
        },
    }


def _row(point: Point) -> list[str]:
    plan, kinds, played = point.plan, seconds_by_kind(point), simulate(point.plan)
    most = max(kinds, key=lambda kind: kinds[kind])
    return [
        f"{plan.ranks:,}",
        f"{plan.step.rows_per_s / 1e6:.2f} M",
        f"{plan.step.overlapped_rows_per_s / 1e6:.2f} M",
        f"{point.efficiency:.2f}",
        f"{1e3 * plan.step.seconds:.2f} ms",
        f"{1e3 * played.mean_s:.2f} ms",
        f"{played.waited:.0%}",
        f"{played.fullest:.2f}",
        f"{most} {kinds[most] / plan.step.seconds:.0%}",
        f"{plan.memory.peak(host=False) / 1e9:.1f} GB{'' if point.fits else ' (no room)'}",
    ]


def drawing(device: Device, scaling: Scaling, curve: Sequence[Point]) -> str:
    """Two panels: rows a second, and the seconds of a step by kind, against the ranks; all axes logarithmic."""
    ranks = [float(point.plan.ranks) for point in curve]
    width, height = 2 * (_LEFT + _WIDTH) + _GAP + _NAMES, _TOP + _HEIGHT + 60
    each = " a rank" if scaling == "weak" else ""
    title = f"{device.name}, {scaling} scaling: batches of {BATCHES[scaling]:,} rows{each}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" '
        f'fill="{_INK}" role="img" aria-label="Rows a second, and seconds of a step by kind, for 1 to {ranks[-1]:,.0f} ranks; '
        f'{title}">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="20" font-weight="bold" font-size="14">{title}</text>',
    ]
    speeds = {
        "all at once": [point.plan.step.overlapped_rows_per_s for point in curve],
        "one after the other": [point.plan.step.rows_per_s for point in curve],
        "played through": [point.plan.workload.batch_size / simulate(point.plan).mean_s for point in curve],
    }
    first = speeds["one after the other"][0]
    ideal = [first * rank for rank in ranks]
    roomless = [point.plan.ranks for point in curve if not point.fits]
    parts += _panel(_LEFT, "rows a second", ranks, speeds, ideal, roomless)
    kinds = [seconds_by_kind(point) for point in curve]
    times = {kind: [found[kind] for found in kinds] for kind in KINDS}
    parts += _panel(2 * _LEFT + _WIDTH + _GAP, "seconds of a step, by kind", ranks, times, None, [])
    return "\n".join([*parts, "</svg>", ""])


def _panel(
    left: float,
    title: str,
    ranks: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    ideal: Sequence[float] | None,
    roomless: Sequence[int],
) -> list[str]:
    values = [value for curve in curves.values() for value in curve if value > 0]
    low, high = 10 ** math.floor(math.log10(max(min(values), max(values) / 1e6))), max(values) * 1.4
    bottom = _TOP + _HEIGHT

    def x(value: float) -> float:
        return left + _WIDTH * math.log2(value) / math.log2(ranks[-1])

    def y(value: float) -> float:
        return _TOP + _HEIGHT * (1 - math.log(value / low) / math.log(high / low))

    parts = [f'<text x="{left}" y="{_TOP - 12}" font-weight="bold">{title}</text>']
    parts.append(f'<path d="M{left} {_TOP}V{bottom}H{left + _WIDTH}" fill="none" stroke="{_INK}"/>')
    for rank in ranks[::2]:
        parts.append(f'<path d="M{x(rank):.1f} {bottom}v5" stroke="{_INK}"/>')
        parts.append(f'<text x="{x(rank):.1f}" y="{bottom + 19}" text-anchor="middle">{rank:,.0f}</text>')
    parts.append(f'<text x="{left + _WIDTH / 2}" y="{bottom + 38}" text-anchor="middle">ranks</text>')
    for value in _ticks(low, high):
        height = y(value)
        parts.append(f'<path d="M{left} {height:.1f}h{_WIDTH}" stroke="{_QUIET}" stroke-width=".4"/>')
        parts.append(f'<text x="{left - 7}" y="{height + 4:.1f}" text-anchor="end">{_named(value)}</text>')
    if ideal is not None:
        points = [(x(a), y(b)) for a, b in zip(ranks, ideal, strict=True) if b <= high]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{_QUIET}" stroke-dasharray="4 3"/>')
    ends = []
    for (name, curve), colour in zip(curves.items(), _COLOURS, strict=False):
        drawn = [(x(a), y(b)) for a, b in zip(ranks, curve, strict=True) if b >= low]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in drawn)
        parts.append(f'<polyline class="curve" points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        ends.append((drawn[-1][1] if drawn else bottom, name, colour))
    if ideal is None:
        parts += _names(left + _WIDTH + 8, ends)
    else:
        said = [(name, colour) for _, name, colour in ends] + [("dashed: in proportion", _QUIET)]
        said += [("ring: no room in memory", _INK)] if roomless else []
        for place, (name, colour) in enumerate(reversed(said)):
            height = bottom - 12 - 17 * place
            parts.append(f'<text x="{left + _WIDTH - 6}" y="{height}" text-anchor="end" fill="{colour}">{name}</text>')
        last = curves["one after the other"]
        parts += [
            f'<circle cx="{x(rank):.1f}" cy="{y(value):.1f}" r="5" fill="#ffffff" stroke="{_INK}"/>'
            for rank, value in zip(ranks, last, strict=True)
            if rank in roomless
        ]
    return parts


def _names(left: float, ends: Sequence[tuple[float, str, str]]) -> list[str]:
    """Names beside the ends of curves, moved apart where they would lie on each other."""
    parts, below = [], -math.inf
    for height, name, colour in sorted(ends):
        below = max(height + 4, below + 15)
        parts.append(f'<text x="{left}" y="{below:.1f}" fill="{colour}">{name}</text>')
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two values, and 2 and 5 times these where there would be few."""
    steps = (1, 2, 5) if high < 100 * low else (1,)
    powers = range(round(math.log10(low)), math.floor(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in steps if step * 10.0**power <= high]


def _named(value: float) -> str:
    for unit, size in ((" M", 1e6), ("", 1.0), (" ms", 1e-3), (" us", 1e-6)):
        if value >= 0.999 * size:
            if unit == "":
                return f"{value:,.0f}" if value >= 1000 else f"{value:g} s"
            return f"{value / size:,.0f}{unit}"
    return f"{value:g}"


if __name__ == "__main__":
    main()
