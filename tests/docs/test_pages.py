"""What the pages list is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from twotower.runs.baselines_config import BASELINE_NAMES

ROOT = Path(__file__).resolve().parent.parent.parent


def first_cells(page: str, heading: str) -> list[str]:
    """The code in the first cells of the table under a heading."""
    section = (ROOT / "docs" / page).read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)`", section, re.MULTILINE)


def test_the_page_of_reports_names_every_check_of_the_diagnosis() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src" / "twotower" / "diagnosis").glob("*.py"))
    codes = set(re.findall(r'^\s+code="(\w+)",$', source, re.MULTILINE))
    assert len(codes) >= 12
    assert sorted(first_cells("report.md", "Diagnosis")) == sorted(codes)


def test_the_page_of_reports_has_a_section_for_every_panel() -> None:
    folder = ROOT / "src" / "twotower" / "reports" / "panels"
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    panels = set(re.findall(r'\bPanel\(\s*"\w+",\s*"([^"]+)"', source))
    assert len(panels) >= 13
    told = re.findall(r"^## (.*)$", (ROOT / "docs" / "report.md").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(panels)


def test_the_page_of_comparisons_names_every_baseline() -> None:
    assert first_cells("comparing.md", "Baselines") == list(BASELINE_NAMES)


def test_the_page_of_own_tables_names_every_kind_of_feature() -> None:
    text = (ROOT / "docs" / "own-table.md").read_text()
    named = re.findall(r"\[`(\w+)`\]\(recipe\.md#query-features-(\w+)\)", text)
    kinds = {"id", "category", "number", "buckets", "timestamp", "geo", "text", "multi_category", "vector", "history"}
    assert {kind for kind, _ in named} == kinds
    assert all(kind == anchor for kind, anchor in named)
