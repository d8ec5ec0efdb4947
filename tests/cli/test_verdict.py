"""What the verdict says of new items and of the oracle."""

from __future__ import annotations

from typing import Any

import pytest

from twotower.cli.verdict import print_verdict


def variants(recall: float) -> dict[str, dict[str, float]]:
    return {"seen_included": {"recall@100": recall}, "seen_removed": {"recall@100": recall / 2}}


def summary(**more: Any) -> dict[str, Any]:
    details = {"intervals": {}, "group_intervals": {}, "cold_items": variants(0.12)}
    return {
        "recipe": "planted",
        "rows": {"test": 1000},
        "metrics": {"test": variants(0.4)},
        "baselines": {"oracle": variants(0.5)},
        "evaluation": {
            **{"users": 300, "catalogue": 5000, "not_in_catalogue": 7, "warm_rows": 900, "cold_rows": 100},
            **{"cold_item_rows": 42},
        },
        "details": {"model": details, "oracle": details},
        **more,
    }


def test_new_items_apart(capsys: pytest.CaptureFixture[str]) -> None:
    print_verdict(summary())
    out = capsys.readouterr().out
    assert "7 of them ask for an item that the catalogue lacks" in out
    title, figures = out[out.index("items without train rows") :].splitlines()[:2]
    assert title == "items without train rows (42 rows)"
    assert figures.split() == ["recall@100", ".1200", ".1200", ".0600", ".0600"]
    assert "share of the oracle" not in out


def test_the_share_of_the_oracle(capsys: pytest.CaptureFixture[str]) -> None:
    share = {"seen_included": {"share": 0.8, "low": 0.7912, "high": 0.81}, "seen_removed": {"share": 0.1, "low": 0, "high": 1}}
    exact = {"seen_included": {"share": 1.0, "low": None, "high": None}}
    print_verdict(summary(oracle={"metric": "recall@100", "shares": {"all": share, "cold": exact}}))
    line = next(line for line in capsys.readouterr().out.splitlines() if "share of the oracle" in line)
    assert line == "share of the oracle's recall@100: all rows 80.0% (79.1% to 81.0%); users without train rows 100.0%"
