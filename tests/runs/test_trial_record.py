"""What is kept of a trial."""

from __future__ import annotations

import json

from twotower.runs.trial_record import TrialEnd, TrialRecord


def test_a_record_is_plain_json() -> None:
    record = TrialRecord(
        3, "done", {"model.layer_sizes": (8, 4)}, {2: 0.5, 1: 0.25}, TrialEnd("done", 0.5, 2, 2, 1.5), own=True
    )
    assert record.value == 0.5
    assert record.counts
    assert json.loads(json.dumps(record.to_json())) == {
        "number": 3,
        "state": "done",
        "own": True,
        "again": None,
        "settings": {"model.layer_sizes": [8, 4]},
        "value": 0.5,
        "epoch": 2,
        "epochs_run": 2,
        "seconds": 1.5,
        "reason": "",
        "peak_memory_bytes": 0,
        "curve": [{"epoch": 1, "value": 0.25}, {"epoch": 2, "value": 0.5}],
    }


def test_what_did_not_end_does_not_count() -> None:
    for state in ("interrupted", "running", "waiting"):
        record = TrialRecord(0, state, {})
        assert not record.counts
        assert record.value is None
