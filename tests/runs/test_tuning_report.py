"""From a tuning to its page."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from twotower.runs.trial_record import TrialEnd, TrialRecord
from twotower.runs.tune_config import TuneKeyConfig
from twotower.runs.tuning import TuningResult
from twotower.runs.tuning_report import report_tuning, tuning_content

SPACE = {
    "loss.temperature": TuneKeyConfig(low=0.1, high=10.0, log=True),
    "model.layer_sizes": TuneKeyConfig(choices=((), (8,))),
}


def result(recipe: Any, folder: Path) -> TuningResult:
    def record(number: int, state: Any, warmth: float, sizes: tuple[int, ...], **rest: Any) -> TrialRecord:
        return TrialRecord(number, state, {"loss.temperature": warmth, "model.layer_sizes": sizes}, **rest)

    records = (
        record(0, "done", 1.0, (), curve={1: 0.2, 2: 0.3}, end=TrialEnd("done", 0.3, 2, 2), own=True),
        record(1, "interrupted", 2.0, ()),
        record(2, "done", 2.0, (8,), curve={1: 0.4}, end=TrialEnd("done", 0.4, 1, 1), again=1),
        record(3, "pruned", 10.0, (8,), curve={1: 0.1}, end=TrialEnd("pruned", 0.1, 1, 1)),
        record(4, "failed", 0.1, (), end=TrialEnd("failed", reason="<no number>")),
    )
    summary = {
        "metric": "recall@5",
        "smaller_is_better": False,
        "rows": {"train": 70, "validation": 10},
        "best": records[2].to_json(),
        "own": records[0].to_json(),
        "importances": {"loss.temperature": 0.75, "model.layer_sizes": 0.25},
        "notes": ["a note"],
    }
    return TuningResult(folder, summary, SPACE, records, recipe)


def test_the_figures_of_the_page(make_recipe: Any, tmp_path: Path) -> None:
    content = tuning_content(make_recipe(), result(make_recipe(), tmp_path))
    assert (content.best, content.own, content.title) == (2, 0, "Tuning of small")
    assert [trial.number for trial in content.trials] == [0, 2, 3, 4]
    first, second = content.keys
    assert (first.low, first.high, first.own, first.best, first.importance) == ("0.1", "10.0", "1.0", "2.0", 0.75)
    assert (second.low, second.high, second.own, second.best) == ("[]", "[8]", "[]", "[8]")
    assert content.trials[0].places == pytest.approx((0.5, 0.0))
    assert (content.trials[0].epochs, content.trials[0].curve) == ((1, 2), (0.2, 0.3))
    assert "4 trials (2 finished, 1 given up early, 1 failed)" in content.sentences[0]


def test_the_page_asks_nobody_for_anything(make_recipe: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = report_tuning(make_recipe(), result(make_recipe(), tmp_path))
    text = page.read_text()
    assert page == tmp_path / "report.html"
    for key in ("by-trial", "by-epoch", "importance", "parallel"):
        assert f'id="chart-{key}"' in text
    assert "failed: &lt;no number&gt;" in text
    assert "a note" in text
    assert not re.search(r"""(?:src|href|action)=["'](?!#)|url\((?!#)|@import""", text)
    assert "default-src 'none'" in unescape(text)
    before = page.read_bytes()
    assert report_tuning(make_recipe(), result(make_recipe(), tmp_path)).read_bytes() == before
