"""Scores and vectors: whether positives stand out, and what the lengths of vectors say."""

from __future__ import annotations

from twotower.reports.chart import Chart, Line, LineChart, Table, figure_text
from twotower.reports.content import Distribution, Report
from twotower.reports.panel import Block, Panel, table_html
from twotower.reports.panels.wording import signed

__all__ = ["vectors_panel"]


def vectors_panel(report: Report) -> Panel | None:
    """Distributions of the first run; the others' figures in the table."""
    found = report.runs[0].vectors
    if found is None:
        return None
    blocks: list[Block] = [
        _chart(
            "scores",
            "Scores",
            f"Scores of {found.scores[0].count:,} test rows' own items and of random items: the further apart, the better.",
            "score (dot product)",
            found.scores,
        ),
        _chart(
            "norms",
            "Lengths of vectors",
            "Lengths of query and candidate vectors: long candidates win more often, whatever the query asks.",
            "length (Euclidean norm)",
            (found.query_norms, found.candidate_norms),
        ),
    ]
    header = (
        "run", "queries", "own item above a random one", "spread of logits", "softmax shared by (items)", "temperature",
        "candidate length against log popularity",
    )  # fmt: skip
    rows = tuple(
        (
            run.label,
            f"{run.vectors.queries:,}",
            figure_text(run.vectors.ordered_fraction),
            figure_text(run.vectors.logit_spread),
            figure_text(run.vectors.perplexity),
            f"{figure_text(run.vectors.temperature)} ({run.vectors.temperature_note})",
            "none" if run.vectors.norm_popularity is None else signed(run.vectors.norm_popularity),
        )
        for run in report.runs
        if run.vectors is not None
    )
    blocks.append(table_html(Table(header, rows)))
    lead = (
        "A softmax shared by as many items as the catalogue has is flat (the temperature is too high, or nothing was learned); "
        "one shared by one item alone is saturated.",
        "The last column is a correlation: +1 where longer vectors belong to more popular items, 0 where length and popularity "
        "have nothing to do with each other.",
    )
    return Panel("vectors", "Scores and vectors", lead, tuple(blocks))


def _chart(key: str, title: str, caption: str, x_label: str, distributions: tuple[Distribution, ...]) -> Chart:
    return LineChart(
        key=key,
        title=title,
        caption=caption,
        x_label=x_label,
        y_label="share of values in the bin",
        lines=tuple(
            Line(f"{each.name} (mean {figure_text(each.mean)})", each.edges, each.shares, place)
            for place, each in enumerate(distributions)
        ),
        shape="steps",
    )
