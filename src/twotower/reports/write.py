"""From figures to files: the page, the figures as JSON, the charts as PNGs."""

from __future__ import annotations

from pathlib import Path

from twotower.bundle import atomic_folder
from twotower.errors import ConfigError
from twotower.reports.content import Report
from twotower.reports.draw import draw, require_matplotlib
from twotower.reports.page import charts_of, page, panels_of

__all__ = ["require_report_folder", "write_report"]

_PAGE, _FIGURES = "report.html", "report.json"


def write_report(report: Report, folder: str | Path) -> Path:
    """Write ``report.html``, ``report.json`` and ``figures/*.png``: all of them whole, or the folder as it was.

    The same report gives the same bytes.

    Args:
        report: What to say.
        folder: New, or of an earlier report, which is replaced.

    Returns:
        The path of the page.

    Raises:
        ConfigError: If matplotlib is not installed, or the folder holds other things.
        BundleError: If the folder can't be written.
    """
    require_matplotlib()
    place = Path(folder)
    require_report_folder(place)
    panels = panels_of(report)
    drawings = {chart.key: draw(chart) for chart in charts_of(panels)}
    written = page(report, panels, drawings)
    with atomic_folder(place) as temporary:
        (temporary / _PAGE).write_text(written, encoding="utf-8")
        (temporary / _FIGURES).write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (temporary / "figures").mkdir()
        for key, drawing in drawings.items():
            (temporary / "figures" / f"{key}.png").write_bytes(drawing.png)
        temporary.chmod(0o755)
    return place / _PAGE


def require_report_folder(folder: Path) -> None:
    """Make sure that writing a report there loses nothing but an earlier report.

    Raises:
        ConfigError: If it is a file, or a folder with other things in it.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--output {folder}: must be a folder, or a new name; a file is in the way")
    ours = {_PAGE, _FIGURES, "figures"}
    other = sorted(entry.name for entry in folder.iterdir() if entry.name not in ours) if folder.is_dir() else []
    if other:
        raise ConfigError(
            f"--output {folder}: the folder holds other things than a report ({', '.join(other[:3])}), and a report takes the "
            "place of the whole folder; name a new one"
        )
