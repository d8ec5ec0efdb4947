"""The recipe, the data, the machine, the time."""

from __future__ import annotations

from twotower.reports.chart import Table
from twotower.reports.content import Report, RunContent
from twotower.reports.markup import Html, element, joined
from twotower.reports.panel import Block, Panel, table_html

__all__ = ["facts_panel", "recipe_panel"]


def recipe_panel(report: Report) -> Panel:
    """The first run's recipe whole; of the others what differs."""
    first = report.runs[0]
    blocks: list[Block] = []
    if len(report.runs) > 1:
        blocks.append(_differences(report))
    rows = tuple(first.facts.recipe.items())
    whole = table_html(Table(("key", "value"), rows), text_columns=2)
    blocks.append(element("details", element("summary", f"The whole recipe of {first.label}: {len(rows)} keys"), whole))
    return Panel("recipe", "Recipe", (), tuple(blocks))


def _differences(report: Report) -> Html:
    recipes = [run.facts.recipe for run in report.runs]
    keys = [key for key in dict.fromkeys(k for recipe in recipes for k in recipe) if len({r.get(key) for r in recipes}) > 1]
    if not keys:
        return element("p", "All runs have the same recipe.")
    rows = tuple((key, *(recipe.get(key, "") for recipe in recipes)) for key in keys)
    header = ("key", *(run.label for run in report.runs))
    return table_html(Table(header, rows), caption="What differs", text_columns=len(header))


def facts_panel(report: Report) -> Panel:
    """What was read and dropped, versions, hardware, seconds, memory."""
    several = len(report.runs) > 1
    blocks: list[Block] = []
    for run in report.runs:
        name = f"{run.label}: " if several else ""
        blocks.append(
            joined(
                element("h3", f"{name}what was read"),
                element("ul", *(element("li", line) for line in run.facts.data)),
            )
        )
    header = ("what", *(run.label for run in report.runs))
    blocks.append(table_html(Table(header, _circumstances(report.runs)), text_columns=len(header)))
    left_out = [(run.label, part) for run in report.runs for part in run.left_out]
    if left_out:
        sentences = [f"{f'{label}: ' if several else ''}{part.part}: {part.why}" for label, part in left_out]
        blocks.append(joined(element("h3", "Left out"), element("ul", *(element("li", sentence) for sentence in sentences))))
    return Panel("facts", "Data and circumstances", (), tuple(blocks))


def _circumstances(runs: tuple[RunContent, ...]) -> tuple[tuple[str, ...], ...]:
    facts = [
        {
            "train, validation, test rows": ", ".join(f"{run.rows[part]:,}" for part in ("train", "validation", "test")),
            "the shipped model has seen": run.facts.trained_on,
            **{f"seconds, {name}": f"{value:,.1f}" for name, value in run.facts.seconds.items()},
            "peak memory": f"{run.facts.peak_memory_bytes / 2**20:,.0f} MiB",
            **run.facts.hardware,
            **{f"version, {name}": value for name, value in run.facts.versions.items()},
        }
        for run in runs
    ]
    names = dict.fromkeys(name for each in facts for name in each)
    return tuple((name, *(each.get(name, "not recorded") for each in facts)) for name in names)
