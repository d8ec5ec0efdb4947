"""The panels of a tuning's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from twotower.reports.chart import BarChart, StrandsChart
from twotower.reports.draw import draw
from twotower.reports.page import charts_of
from twotower.reports.tuning import TunedKey, TuningReport, TuningTrial
from twotower.reports.tuning_page import tuning_panels, write_tuning_page

HOSTILE = "<script>alert(1)</script>"


def trial(number: int, value: float | None, state: Any = "done") -> TuningTrial:
    epochs = () if value is None else (1, 2)
    return TuningTrial(
        number=number,
        state=state,
        settings=("1.0", HOSTILE),
        places=(0.5, 1.0),
        value=value,
        epoch=2,
        epochs=epochs,
        curve=() if value is None else (value / 2, value),
        reason="" if value is not None else HOSTILE,
    )


def report(**changes: Any) -> TuningReport:
    content: dict[str, Any] = {
        "title": f"Tuning of {HOSTILE}",
        "metric": "recall@10",
        "smaller_is_better": False,
        "rows": 1000,
        "sentences": ("A sentence.",),
        "notes": (HOSTILE,),
        "best": 2,
        "own": 0,
        "keys": (
            TunedKey(name="loss.temperature", low="0.1", high="10.0", own="1.0", best="1.0", importance=0.3),
            TunedKey(name="query.features.0.embedding.dim", low="2", high=HOSTILE, own="2", best="4", importance=0.7),
        ),
        "trials": (trial(0, 0.2), trial(1, 0.1, "pruned"), trial(2, 0.4), trial(3, None, "failed"), trial(4, 0.3)),
    }
    return TuningReport(**{**content, **changes})


def chart_of(found: TuningReport, key: str) -> Any:
    (chart,) = [chart for chart in charts_of(tuning_panels(found)) if chart.key == key]
    return chart


def test_the_best_so_far_never_falls() -> None:
    chart = chart_of(report(), "by-trial")
    assert isinstance(chart, StrandsChart)
    (line,) = chart.kinds[-1].lines
    assert line == ((0.0, 1.0, 2.0, 4.0), (0.2, 0.2, 0.4, 0.4))
    (errors,) = chart_of(report(smaller_is_better=True), "by-trial").kinds[-1].lines
    assert errors[1] == (0.2, 0.2, 0.2, 0.2)


def test_importance_is_in_order_and_left_out_where_it_is_not_known() -> None:
    chart = chart_of(report(), "importance")
    assert isinstance(chart, BarChart)
    assert chart.names == ("query.features.0.embedding.dim", "loss.temperature")
    unknown = tuple(key.model_copy(update={"importance": None}) for key in report().keys)
    assert "importance" not in [panel.key for panel in tuning_panels(report(keys=unknown))]


def test_lines_go_from_key_to_key_to_the_figure() -> None:
    chart = chart_of(report(), "parallel")
    assert chart.x_names == ("temperature", "query 0 dim", "recall@10")
    assert chart.kinds[-1].lines[0] == ((1.0, 2.0, 3.0), (0.5, 1.0, 1.0))
    assert [kind.name for kind in chart.kinds] == ["given up early", "finished", "the recipe as it was", "best"]
    assert len(chart.table().rows) == 4  # the one that failed has no figure
    alone = report(trials=(trial(2, 0.4),), own=2)
    assert [kind.name for kind in chart_of(alone, "parallel").kinds] == ["best"]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = write_tuning_page(report(), tmp_path / "report.html")
    text = page.read_text()
    assert text.count("<script>") == 1
    assert "alert(" not in text.replace("&lt;script&gt;alert(", "")
    assert draw(chart_of(report(), "importance")).png.startswith(b"\x89PNG")
