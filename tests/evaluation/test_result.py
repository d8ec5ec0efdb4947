"""Figures as JSON."""

from __future__ import annotations

import json

import numpy as np

from twotower.evaluation import Figures


def test_json_has_everything_but_the_rows() -> None:
    figures = Figures(
        values={"recall@1": 0.5},
        intervals={"recall@1": (0.4, 0.6)},
        optimistic={"recall@1": 0.7},
        pessimistic={"recall@1": 0.3},
        rows={"recall@1": np.array([0.0, 1.0])},
    )
    assert json.loads(json.dumps(figures.to_json())) == {
        "values": {"recall@1": 0.5},
        "intervals": {"recall@1": [0.4, 0.6]},
        "optimistic": {"recall@1": 0.7},
        "pessimistic": {"recall@1": 0.3},
    }
