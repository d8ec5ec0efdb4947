"""What the diagnosis found."""

from __future__ import annotations

from twotower.reports.content import Note, Report
from twotower.reports.markup import Html, element
from twotower.reports.panel import Block, Panel, paragraphs

__all__ = ["findings_panel"]


def findings_panel(report: Report) -> Panel | None:
    """The findings of every run that was diagnosed."""
    diagnosed = [run for run in report.runs if run.findings is not None]
    if not diagnosed:
        return None
    blocks: list[Block] = []
    for run in diagnosed:
        if len(report.runs) > 1:
            blocks.append(element("h3", run.label))
        blocks += [_finding(note) for note in run.findings or ()] or [paragraphs("Nothing was found.")]
    return Panel("findings", "Diagnosis", (), tuple(blocks))


def _finding(note: Note) -> Html:
    return element(
        "div",
        element("h3", element("span", note.severity, class_=f"severity {note.severity}"), f" {note.title}"),
        element("ul", *(element("li", sentence) for sentence in note.evidence)) if note.evidence else None,
        element("p", element("strong", "Why it matters. "), note.why),
        element("p", element("strong", "What to do. "), note.fix),
        element("p", note.code, class_="small"),
        class_="finding",
    )
