"""When a listener is told."""

from __future__ import annotations

import pytest

from twotower.columnar import Converting
from twotower.columnar.progress import ConversionClock


def test_a_listener_is_told_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    told: list[Converting] = []
    clock = ConversionClock(told.append, 1000, "converted again: damaged", again=True)
    for step in range(10):
        now[0] = 100.0 + step * 0.06
        clock.tell(step, step * 10)
    clock.tell(10, 1000, last=True)
    assert [event.rows for event in told] == [0, 2, 4, 6, 8, 10]
    assert told[1].seconds == pytest.approx(0.12)
    assert told[1] == Converting(2, 20, 1000, told[1].seconds, "converted again: damaged", again=True)


def test_nobody_listens() -> None:
    ConversionClock(None, 10, "").tell(1, 1, last=True)
