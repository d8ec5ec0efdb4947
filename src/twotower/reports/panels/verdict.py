"""The verdict: what the figures say, in words, and how sure they are."""

from __future__ import annotations

from twotower.reports.chart import Table, figure_text
from twotower.reports.content import Comparison, Estimate, Report, RunContent
from twotower.reports.markup import Html, element, joined
from twotower.reports.panel import Panel, paragraphs, table_html
from twotower.reports.panels.wording import estimate_text, metric_text, ranker_text, signed

_FEW = 3
"""Runs whose comparisons are told in sentences; more are in the table alone."""

_ONE_TRAINING = (
    "Intervals between runs draw users, not trainings: another training seed moves the figures too. What is said of two runs "
    "is said of these two trainings; of their recipes only several seeds can tell (twotower compare --seeds)."
)

__all__ = ["comparison_sentence", "verdict_panel", "verdict_sentences"]


def verdict_panel(report: Report) -> Panel:
    """The first thing on the page."""
    run = report.runs[0]
    warnings = [joined(element("strong", f"{each.label}: "), note) for each in report.runs for note in each.notes]
    blocks = [
        element("ul", *(element("li", warning) for warning in warnings), class_="warnings") if warnings else None,
        element("div", *_tiles(run), class_="tiles"),
        paragraphs(*(verdict_sentences(report) if len(report.runs) <= _FEW else _of_first(run)), class_="verdict"),
        _side_by_side(report) if len(report.runs) > 1 else None,
    ]
    return Panel("verdict", "Verdict", (), tuple(block for block in blocks if block is not None))


def verdict_sentences(report: Report) -> list[str]:
    """Which ranker is best, by how much, and whether the test set can tell."""
    run = report.runs[0]
    sentences = _of_first(run)
    for other in report.runs[1:]:
        if other.against_first is not None:
            sentences.append(comparison_sentence(other.against_first))
        if other.not_paired is not None:
            sentences.append(f"{other.label} is not compared with {run.label}: {other.not_paired}")
        if other.against_baseline and other.not_paired is not None:  # of paired runs the baselines are those of the first
            sentences.append(f"Within {other.label}: {comparison_sentence(other.against_baseline[0])}")
    if any(other.against_first is not None for other in report.runs[1:]):
        sentences.append(_ONE_TRAINING)
    return sentences


def _of_first(run: RunContent) -> list[str]:
    sentences = [_about(run), *(comparison_sentence(each) for each in run.against_baseline)]
    if any(each.seen != run.seen for each in run.against_baseline) and any(ranker.settings for ranker in run.rankers):
        sentences.append(
            "Settings of the baselines are chosen by one of the two rankings (the deciding one, unless [baselines] seen in the "
            "recipe says otherwise); in the other they need not be at their best."
        )
    if not run.against_baseline:
        sentences.append("There is no baseline but chance to compare with.")
    return [f"{sentence[:1].upper()}{sentence[1:]}" if sentence.startswith("the ") else sentence for sentence in sentences]


def _side_by_side(report: Report) -> Html:
    """Every run's model, against the first run's and against the best baseline of its own rows."""
    first = report.runs[0]
    rows = tuple(
        (
            run.label,
            estimate_text(run.rankers[0].figures(run.seen)[run.metric]),
            _difference(run.against_first.difference) if run.against_first is not None else "",
            *(
                (_difference(run.against_baseline[0].difference), ranker_text(run.against_baseline[0].second))
                if run.against_baseline
                else ("", "")
            ),
        )
        for run in report.runs
    )
    header = ("run", first.metric, f"less {first.label}", "less the best baseline", "which is")
    notes = [f"{run.label} is not paired with {first.label}: {run.not_paired}" for run in report.runs if run.not_paired]
    if len(report.runs) > _FEW and any(run.against_first is not None for run in report.runs):
        notes.append(_ONE_TRAINING)
    caption = f"{metric_text(first.metric, first.seen)}; differences with 95% intervals, paired over users"
    return table_html(Table(header, rows, " ".join(notes)), caption=caption)


def _difference(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return signed(found.value)
    said = "" if found.low > 0 or found.high < 0 else ", none can be shown"
    return f"{signed(found.value)} ({signed(found.low)} to {signed(found.high)}){said}"


def _about(run: RunContent) -> str:
    missing = (
        f" {run.not_in_catalogue:,} of them ask for an item that the catalogue lacks, and count as missed by every ranker."
        if run.not_in_catalogue
        else ""
    )
    return (
        f"{run.label}: {run.rows['test']:,} test rows of {run.users:,} users, each ranked against all {run.catalogue:,} items; "
        f"decided by {metric_text(run.metric, run.seen)}.{missing}"
    )


def comparison_sentence(found: Comparison) -> str:
    """A comparison in words; *better* only where the interval of the difference leaves out 0."""
    first, second = ranker_text(found.first), ranker_text(found.second)
    low, high = found.difference.low, found.difference.high
    values = (
        f"{figure_text(found.first_value)} against {figure_text(found.second_value)} ({metric_text(found.metric, found.seen)})"
    )
    if low is None or high is None:
        return f"{first} and {second}: {values}; no interval was drawn, so that nothing is said of the difference."
    interval = f"95% interval {signed(low)} to {signed(high)}, paired over {found.users:,} users"
    size = figure_text(abs(found.difference.value))
    if low > 0:
        return f"{first} is better than {second} by {size}: {values}; {interval}."
    if high < 0:
        return f"{first} is worse than {second} by {size}: {values}; {interval}."
    return f"{first} and {second}: no difference that this test set can show. {values}; {interval}."


def _tiles(run: RunContent) -> list[Html]:
    figures = run.rankers[0].figures(run.seen)[run.metric]
    ends = "" if figures.low is None or figures.high is None else f"{figure_text(figures.low)} to {figure_text(figures.high)}"
    tiles = [_tile(f"{run.metric} of {ranker_text(run.rankers[0].name)}", figure_text(figures.value), ends)]
    for found in run.against_baseline[:1]:
        low, high = found.difference.low, found.difference.high
        tiles.append(_tile(f"best baseline: {ranker_text(found.second)}", figure_text(found.second_value), "same rows"))
        tiles.append(
            _tile(
                "difference, paired",
                signed(found.difference.value),
                "" if low is None or high is None else f"{signed(low)} to {signed(high)}",
            )
        )
    tiles.append(_tile("test rows", f"{run.rows['test']:,}", f"{run.users:,} users"))
    return tiles


def _tile(name: str, value: str, below: str) -> Html:
    return element(
        "div",
        element("div", name, class_="name"),
        element("div", value, class_="value"),
        element("div", below, class_="small") if below else None,
        class_="tile",
    )
