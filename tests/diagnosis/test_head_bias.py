from __future__ import annotations

from dataclasses import replace

import pytest

from twotower.diagnosis import HeadShares, check_head

FAULT = HeadShares(
    in_batch=True,
    corrected=False,
    head_items=116,
    recommended=0.03,
    consumed=0.33,
    cutoff=100,
    model=0.25,
    popularity=0.9,
)


def test_a_head_that_is_missing_from_the_lists() -> None:
    finding = check_head(FAULT)
    assert finding is not None
    assert finding.fix[0] == "loss.log_q = true"
    assert "33% of what is chosen, and 3.0% of the first ten" in finding.evidence[0]


@pytest.mark.parametrize("change", [{"in_batch": False}, {"corrected": True}, {"recommended": 0.2}, {"model": 0.95}])
def test_every_condition_counts(change: dict[str, bool | float]) -> None:
    assert check_head(replace(FAULT, **change)) is None  # type: ignore[arg-type]
