"""What the diagnosis found."""

from __future__ import annotations

from twotower.reports.content import Note, Report
from twotower.reports.markup import Html, element, joined
from twotower.reports.panel import Block, Panel, paragraphs

__all__ = ["findings_panel"]


def findings_panel(report: Report) -> Panel | None:
    """The findings of every run that was diagnosed; None where none was."""
    several = len(report.runs) > 1
    blocks: list[Block] = []
    for run in report.runs:
        if run.diagnosis is None:
            continue
        name = f"{run.label}: " if several else ""
        blocks += [_finding(note, name) for note in run.diagnosis.findings]
        count = len(run.diagnosis.made)
        found = f"{len(run.diagnosis.findings)} found" if run.diagnosis.findings else "nothing found"
        blocks.append(paragraphs(f"{name}{found} in {count} checks."))
        if run.diagnosis.not_made:
            blocks.append(
                joined(
                    element("p", f"{name}checks that could not be made:", class_="small"),
                    element("ul", *(element("li", f"{c}: {why}") for c, why in run.diagnosis.not_made.items()), class_="small"),
                )
            )
    return Panel("findings", "Diagnosis", (), tuple(blocks)) if blocks else None


def _finding(note: Note, name: str) -> Html:
    return element(
        "div",
        element("h3", element("span", note.severity, class_=f"severity {note.severity}"), f" {name}{note.title}"),
        element("ul", *(element("li", sentence) for sentence in note.evidence)) if note.evidence else None,
        element("p", element("strong", "Why it matters. "), note.why),
        element("p", element("strong", "What to do.")) if note.fix else None,
        element("ul", *(element("li", sentence) for sentence in note.fix)) if note.fix else None,
        element("p", note.code, class_="small"),
        class_="finding",
    )
