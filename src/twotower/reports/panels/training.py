"""Loss and validation against epochs and against seconds."""

from __future__ import annotations

from twotower.reports.chart import Chart, Line, LineChart, Table
from twotower.reports.content import Epoch, Report, RunContent
from twotower.reports.markup import element
from twotower.reports.panel import Block, Panel, table_html

__all__ = ["training_panel"]


def training_panel(report: Report) -> Panel | None:
    """Curves of all runs."""
    if not any(run.training.epochs for run in report.runs):
        return None
    charts: list[Block] = [_loss(report, by_seconds) for by_seconds in (False, True)]
    charts += [chart for by_seconds in (False, True) if (chart := _validation(report, by_seconds)) is not None]
    if len(report.runs) == 1:
        return Panel("training", "Training", (_kept(report.runs[0]),), tuple(charts))
    rows = tuple((run.label, _kept(run)) for run in report.runs)
    told = table_html(Table(("run", "what was kept"), rows), text_columns=2)
    return Panel(
        "training", "Training", (), (*charts, element("details", element("summary", "What was kept of each run"), told))
    )


def _kept(run: RunContent) -> str:
    phases = dict.fromkeys(epoch.phase for epoch in run.training.epochs)
    ran = sum(epoch.phase == "select" for epoch in run.training.epochs)
    kept = f"epoch {run.training.chosen_epoch} of {ran} was kept"
    on = {
        "validation": " by validation rows cut from train",
        "test": "; the curve is of test rows, so that it leaks and nothing may be chosen by it",
        None: "; there are no validation rows, so that there is no curve of recall",
    }[run.training.validated_on]
    if on.startswith(" by") and not any(key.startswith("training.early_stopping.") for key in run.facts.recipe):
        on = ", the last one; validation rows were looked at and nothing was chosen by them"
    again = "; then trained anew on train and validation rows (refit)" if "refit" in phases else ""
    return f"{kept[:1].upper()}{kept[1:]}{on}{again}."


def _phases(run: RunContent) -> list[tuple[str, list[Epoch]]]:
    names = dict.fromkeys(epoch.phase for epoch in run.training.epochs)
    return [(name, [epoch for epoch in run.training.epochs if epoch.phase == name]) for name in names]


def _name(run: RunContent, phase: str, report: Report) -> str:
    if len(report.runs) == 1:
        return {"select": "train rows", "refit": "refit: train and validation rows", "production": "all rows"}.get(phase, phase)
    return run.label if phase == "select" else f"{run.label}, {phase}"


def _loss(report: Report, by_seconds: bool) -> Chart:
    several = len(report.runs) > 1
    lines = tuple(
        Line(
            _name(run, phase, report), _x(epochs, by_seconds), tuple(e.loss for e in epochs), number + (0 if several else place)
        )
        for number, run in enumerate(report.runs)
        for place, (phase, epochs) in enumerate(_phases(run))
        if phase == "select" or not several
    )
    tasks = any(run.training.tasks for run in report.runs)
    return LineChart(
        key=f"loss-by-{'seconds' if by_seconds else 'epoch'}",
        title=f"Loss against {_axis(by_seconds)[0]}",
        caption="Mean train loss of each epoch; it should fall and flatten. Losses of different kinds do not compare.",
        x_label=_axis(by_seconds)[1],
        y_label="train loss (weighted sum of all tasks, per row)" if tasks else "train loss (nats per row)",
        lines=lines,
    )


def _validation(report: Report, by_seconds: bool) -> Chart | None:
    metric = report.runs[0].training.metric
    drawn = [
        (number, run, epochs)
        for number, run in enumerate(report.runs)
        if (epochs := [e for e in run.training.epochs if e.phase == "select" and metric in e.metrics])
    ]
    if not drawn:
        return None
    on = {run.training.validated_on for _, run, _ in drawn}
    lines = []
    for number, run, epochs in drawn:
        name = run.label if len(report.runs) > 1 else "model"
        told = f"{name}, {run.training.validated_on}" if len(on) > 1 else name
        lines.append(Line(told, _x(epochs, by_seconds), tuple(e.metrics[metric] for e in epochs), number))
    rows = f"{next(iter(on))} rows" if len(on) == 1 else "validation or test rows, as the legend says"
    error = report.runs[0].training.smaller_is_better
    smaller, turns = (", an error, so smaller is better", "rises") if error else ("", "falls")
    warning = " Nothing may be chosen by a curve of test rows." if "test" in on else ""
    return LineChart(
        key=f"validation-by-{'seconds' if by_seconds else 'epoch'}",
        title=f"{metric} against {_axis(by_seconds)[0]}",
        caption=f"{metric} on {rows}{smaller}: where it {turns} while the loss still falls, the model learns train by "
        f"heart.{warning}",
        x_label=_axis(by_seconds)[1],
        y_label=f"{metric} ({rows})" if len(on) == 1 else metric,
        lines=tuple(lines),
    )


def _axis(by_seconds: bool) -> tuple[str, str]:
    return ("seconds", "seconds of training steps") if by_seconds else ("epochs", "epoch")


def _x(epochs: list[Epoch], by_seconds: bool) -> tuple[float, ...]:
    return tuple(epoch.seconds if by_seconds else float(epoch.epoch) for epoch in epochs)
