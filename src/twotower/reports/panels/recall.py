"""Recall at every length of the list."""

from __future__ import annotations

from twotower.reports.chart import Chart, Line, LineChart
from twotower.reports.content import Report, Seen
from twotower.reports.panel import Panel
from twotower.reports.panels.wording import compared_baselines, model_name, ranker_text

__all__ = ["recall_panel"]


def recall_panel(report: Report) -> Panel:
    """Models of all runs, and the baselines of the first."""
    variants: tuple[Seen, ...] = ("included", "removed")
    return Panel(
        "recall",
        "Recall at any k",
        ("The same ranks as in the table, read at every length of the list.", *_apart(report)),
        tuple(_chart(report, seen) for seen in variants),
    )


def _apart(report: Report) -> list[str]:
    apart = [run.label for run in report.runs if run.not_paired is not None]
    if not apart:
        return []
    verb = "was" if len(apart) == 1 else "were"
    return [f"{', '.join(apart)} {verb} judged on other test rows than {report.runs[0].label}: the heights do not compare."]


def _chart(report: Report, seen: Seen) -> Chart:
    alone = len(report.runs) == 1
    lines = []
    for number, run in enumerate(report.runs):
        model = run.curves.rankers[0]
        ks = tuple(float(k) for k in run.curves.ks)
        lines.append(Line(model_name(run, alone=alone), ks, model.included if seen == "included" else model.removed, number))
    first = report.runs[0]
    paired = all(run.not_paired is None for run in report.runs)
    shown = None if alone else compared_baselines(first)
    for curve in first.curves.rankers[1:]:
        if shown is None or curve.name in shown:
            name = ranker_text(curve.name) if paired else f"{ranker_text(curve.name)} ({first.label})"
            values = curve.included if seen == "included" else curve.removed
            lines.append(Line(name, tuple(float(k) for k in first.curves.ks), values, len(lines), faint=True))
    return LineChart(
        key=f"recall-{seen}",
        title=f"Recall@k, seen items {seen}",
        caption="Share of test rows whose item is among the first k; a line above another is better at that length of list.",
        x_label="k, items in the list (log scale)",
        y_label="recall@k (share of test rows)",
        lines=tuple(lines),
        x_log=True,
    )
