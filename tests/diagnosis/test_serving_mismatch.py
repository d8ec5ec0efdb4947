from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from twotower.diagnosis import Clipped, Served, check_serving

SOUND = Served(
    items=100,
    items_differing=0.0,
    users=50,
    users_differing=0.0,
    clipped=(Clipped("time", 0.2, 0.0, 1.0),),
    assumed=(("city", 0.3),),
)


def test_what_is_served_is_what_was_trained() -> None:
    assert check_serving(SOUND) is None


@pytest.mark.parametrize(
    ("change", "severity", "said"),
    [
        ({"items_differing": 0.4}, "fault", "40% of 100 item vectors of the bundle differ"),
        ({"users_differing": 0.1}, "fault", "10% of 50 query vectors of the bundle differ"),
        ({"clipped": (Clipped("time", 1.0, 5.0, 9.0),)}, "warning", "100% of the test rows have a 'time' outside"),
        ({"assumed": (("city", 0.7),)}, "warning", "column 'city' is assumed for 70% of the known users"),
    ],
)
def test_each_mismatch(change: dict[str, Any], severity: str, said: str) -> None:
    finding = check_serving(replace(SOUND, **change))
    assert finding is not None
    assert finding.severity == severity
    assert said in finding.evidence[0]
    assert finding.fix
