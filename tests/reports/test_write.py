"""A report on disk: whole, the same each time, in nobody's way."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from twotower.errors import ConfigError
from twotower.reports import Report, write_report
from twotower.reports.draw import Drawing

write = sys.modules[write_report.__module__]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawings that cost nothing."""
    monkeypatch.setattr(write, "draw", lambda chart: Drawing(f"<svg>{chart.key}</svg>", chart.key.encode()))


def test_page_figures_and_charts_are_written(report: Report, tmp_path: Path) -> None:
    page = write_report(report, tmp_path / "new" / "report")
    found = contents(page.parent)
    assert page.name == "report.html"
    assert Report.model_validate_json(found["report.json"]) == report
    charts = [name for name in found if name.startswith("figures/")]
    assert set(found) == {"report.html", "report.json", *charts}
    assert len(charts) >= 10
    text = found["report.html"].decode()
    assert all(f'id="chart-{Path(name).stem}"' in text for name in charts)


def test_the_same_report_gives_the_same_files(report: Report, sketches: None, tmp_path: Path) -> None:
    first, second = (contents(write_report(report, tmp_path / name).parent) for name in ("a", "b"))
    assert first == second
    assert contents(write_report(report, tmp_path / "a").parent) == second


def test_a_report_replaces_a_report_and_nothing_else(report: Report, sketches: None, tmp_path: Path) -> None:
    folder = write_report(report, tmp_path / "report").parent
    (folder / "figures" / "old.png").write_bytes(b"old")
    write_report(report, folder)
    assert not (folder / "figures" / "old.png").exists()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds other things than a report \(thesis\.tex\)"):
        write_report(report, folder)
    assert (folder / "thesis.tex").read_text() == "years of work"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="a file is in the way"):
        write_report(report, tmp_path / "file")


def test_what_fails_leaves_the_old_report(
    report: Report, sketches: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_report(report, tmp_path / "report").parent
    before = contents(folder)

    def fail(*_: object) -> str:
        raise RuntimeError("half way")

    monkeypatch.setattr(write, "page", fail)
    with pytest.raises(RuntimeError, match="half way"):
        write_report(report, folder)
    assert contents(folder) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]
