"""The page of a tuning: what was found, what matters, and every trial."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from twotower.bundle import write_text
from twotower.reports.chart import BarChart, Chart, Strands, StrandsChart, Table, figure_text
from twotower.reports.draw import draw, require_matplotlib
from twotower.reports.markup import element
from twotower.reports.page import charts_of, page_of
from twotower.reports.panel import Block, Panel, paragraphs, table_html
from twotower.reports.tuning import TuningReport, TuningTrial

__all__ = ["tuning_panels", "write_tuning_page"]

_FAINT, _PRUNED, _STRONG, _OWN = 0, 6, 1, 2
_STATES = {"done": "finished", "pruned": "given up early", "failed": "failed"}


def write_tuning_page(report: TuningReport, path: Path) -> Path:
    """Write the page: one file that opens from disk and asks nobody for anything.

    Raises:
        ConfigError: If matplotlib is not installed.
        BundleError: If the file can't be written.
    """
    require_matplotlib()
    panels = tuning_panels(report)
    drawings = {chart.key: draw(chart) for chart in charts_of(panels)}
    footer = "All figures are of validation rows; test rows were not looked at. They are also in trials.json beside this page."
    write_text(path, page_of(report.title, panels, drawings, footer=footer))
    return path


def tuning_panels(report: TuningReport) -> list[Panel]:
    """What the page shows, in its order."""
    return [_found(report), _course(report), *_importance(report), _settings(report), _trials(report)]


def _found(report: TuningReport) -> Panel:
    warnings = element("ul", *(element("li", note) for note in report.notes), class_="warnings") if report.notes else None
    has_importance = any(key.importance is not None for key in report.keys)
    rows = tuple(
        (
            key.name,
            key.own,
            key.best,
            *([] if not has_importance else ["" if key.importance is None else f"{key.importance:.2f}"]),
        )
        for key in report.keys
    )
    header = ("key", "as it was", "best", *(["importance"] if has_importance else []))
    table = table_html(Table(header, rows), caption="The best values", text_columns=1)
    blocks = [warnings, paragraphs(*report.sentences, class_="verdict"), table]
    return Panel("found", "What was found", (), tuple(block for block in blocks if block is not None))


def _with_value(report: TuningReport) -> list[tuple[TuningTrial, float]]:
    return [(trial, trial.value) for trial in report.trials if trial.value is not None]


def _course(report: TuningReport) -> Panel:
    charts: list[Block] = [_by_trial(report), _by_epoch(report)]
    lead = "The first trial is the recipe as it was, if its values are in the space; then come random ones, then those of TPE."
    return Panel("course", "How it went", (lead,), tuple(charts))


def _by_trial(report: TuningReport) -> Chart:
    best: float | None = None
    numbers, so_far = [], []
    for trial, value in _with_value(report):
        if trial.state == "done":
            better = best is None or (value < best if report.smaller_is_better else value > best)
            best = value if better else best
        if best is not None:
            numbers.append(float(trial.number))
            so_far.append(best)
    kinds = [
        Strands(name, tuple(((float(trial.number),), (value,)) for trial, value in chosen), style)
        for name, state, style in (("given up early", "pruned", _PRUNED), ("finished", "done", _FAINT))
        if (chosen := [entry for entry in _with_value(report) if entry[0].state == state])
    ]
    rows = tuple((str(trial.number), _STATES[trial.state], figure_text(value)) for trial, value in _with_value(report)[:120])
    return StrandsChart(
        key="by-trial",
        title=f"{report.metric} of each trial",
        caption=f"{report.metric} on {report.rows:,} validation rows, of the epoch that would be kept; where the best no "
        "longer changes, more trials of this space find little.",
        x_label="trial",
        y_label=f"{report.metric} (validation rows)",
        kinds=(*kinds, Strands("best so far", ((tuple(numbers), tuple(so_far)),), _STRONG)),
        rows=Table(("trial", "how it ended", report.metric), rows),
    )


def _kinds(report: TuningReport, line_of: dict[int, tuple[tuple[float, ...], tuple[float, ...]]]) -> tuple[Strands, ...]:
    """Trials by how they ended; the recipe's own and the best stand out."""

    def of(numbers: Iterable[int]) -> tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]:
        return tuple(line_of[number] for number in numbers if number in line_of)

    special = {report.best, report.own}
    kinds = [
        Strands(name, of(t.number for t in report.trials if t.state == state and t.number not in special), style, faint=True)
        for name, state, style in (("given up early", "pruned", _PRUNED), ("finished", "done", _FAINT))
    ]
    if report.own is not None and report.own != report.best:
        kinds.append(Strands("the recipe as it was", of([report.own]), _OWN))
    kinds.append(Strands("best", of([report.best]), _STRONG))
    return tuple(kind for kind in kinds if kind.lines)


def _by_epoch(report: TuningReport) -> Chart:
    shown = [trial for trial in report.trials if trial.epochs]
    rows = tuple(
        (f"{trial.number}", _STATES[trial.state], f"{trial.epochs[-1]}", figure_text(trial.curve[-1])) for trial in shown[:120]
    )
    return StrandsChart(
        key="by-epoch",
        title=f"{report.metric} over the epochs",
        caption="A line per trial; one that ends early was given up, because it was behind the others at that epoch, or had "
        "stopped to improve.",
        x_label="epoch",
        y_label=f"{report.metric} (validation rows)",
        kinds=_kinds(report, {t.number: (tuple(map(float, t.epochs)), t.curve) for t in shown}),
        rows=Table(("trial", "how it ended", "last epoch", f"{report.metric} there"), rows),
    )


def _importance(report: TuningReport) -> list[Panel]:
    known = sorted(((key.importance, key.name) for key in report.keys if key.importance is not None), reverse=True)
    if not known:
        return []
    chart = BarChart(
        key="importance",
        title="Importance",
        caption="Share of what separates the better trials from the others that each key explains (PED-ANOVA, finished "
        "trials); of few trials a rough guess.",
        x_label="share",
        y_label="key",
        names=tuple(name for _, name in known),
        values=tuple(value for value, _ in known),
    )
    return [Panel("importance", "What matters", (), (chart,))]


def _settings(report: TuningReport) -> Panel:
    finished = [trial for trial, _ in _with_value(report) if len(trial.places) == len(report.keys)]
    values = [value for _, value in _with_value(report)]
    low, high = min(values), max(values)
    across = tuple(float(place) for place in range(1, len(report.keys) + 2))
    lines = {
        trial.number: (across, (*trial.places, 0.5 if high == low else ((trial.value or 0.0) - low) / (high - low)))
        for trial in finished
    }
    short = tuple(_short(key.name) for key in report.keys)
    chart = StrandsChart(
        key="parallel",
        title="Values of every trial",
        caption="A line per trial, from one key to the next and to its figure: where lines that end well lie close "
        "together, the value matters.",
        x_label="",
        y_label="",
        kinds=_kinds(report, lines),
        rows=Table(
            ("trial", *short, report.metric),
            tuple((str(trial.number), *trial.settings, figure_text(trial.value or 0.0)) for trial in finished[:120]),
        ),
        x_names=(*short, report.metric),
        ends=(*((key.low, key.high) for key in report.keys), (figure_text(low), figure_text(high))),
    )
    return Panel("settings", "Values and figures", (), (chart,))


def _short(name: str) -> str:
    """The last part of a key, and of a feature's key whose it is."""
    parts = name.split(".")
    return parts[-1] if "features" not in parts else f"{parts[0]} {parts[2]} {parts[-1]}"


def _trials(report: TuningReport) -> Panel:
    header = ("trial", "how it ended", *(_short(key.name) for key in report.keys), report.metric, "epoch")
    rows = tuple(
        (
            str(trial.number),
            _STATES[trial.state] + (f": {trial.reason}" if trial.reason else ""),
            *(trial.settings or ("",) * len(report.keys)),
            "" if trial.value is None else figure_text(trial.value),
            str(trial.epoch or ""),
        )
        for trial in report.trials
    )
    strong = frozenset(place for place, trial in enumerate(report.trials) if trial.number == report.best)
    table = table_html(Table(header, rows), text_columns=2, strong_rows=strong)
    return Panel("trials", "All trials", ("The best one stands out.",), (table,))
