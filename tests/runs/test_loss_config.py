"""What a recipe may say of the loss, and what it hears of options that would do nothing."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from twotower.runs.loss_config import LossConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "full", "log_q": True}, "log_q corrects for sampled negatives; the full softmax samples none"),
        ({"kind": "full", "log_q": "corrected"}, "log_q corrects for sampled negatives; the full softmax samples none"),
        ({"kind": "full", "extra_negatives": 1}, "extra_negatives have no meaning with the full softmax"),
        ({"kind": "full", "mask_accidental_hits": False}, "mask_accidental_hits = false has no meaning with the full softmax"),
        ({"log_q": "corrected", "mask_accidental_hits": False}, "takes a query's own item out of what was drawn"),
        ({"log_q": "corrected", "hard_negatives": 5}, "which the hardest negatives are not"),
        ({"kind": "gbce", "log_q": True}, "gbce draws uniformly: leave it out"),
        ({"kind": "gbce", "hard_negatives": 5}, "would undo the calibration of gbce, which is of uniform draws: leave it out"),
        ({"kind": "gbce", "mask_accidental_hits": False}, "no meaning with gbce: an item is no negative of its own query"),
        ({"kind": "gbce", "calibration": 0.5}, "calibration does nothing where every item competes"),
        ({"kind": "in_batch", "calibration": 0.5}, "calibration is of kind = 'gbce' alone: leave it out"),
        ({"calibration": 0.5}, "calibration is of kind = 'gbce' alone: leave it out"),
        ({"kind": "bsl", "log_q": "corrected"}, "about the positive in the sum, where bsl has none"),
        ({"kind": "bsl", "learn_temperature": True}, "no best temperature to learn: leave it out"),
        ({"kind": "bsl", "hard_negatives": 2}, "bsl weighs negatives by how hard they are"),
        ({"kind": "bsl", "mask_accidental_hits": False}, "no meaning with bsl"),
        ({"kind": "bsl", "calibration": 0.5}, "calibration is of kind = 'gbce' alone"),
        ({"kind": "gbce", "positive_temperature": 0.5}, "positive_temperature is of kind = 'bsl' alone: leave it out"),
        ({"negative_weight": 1.2}, "negative_weight is of kind = 'bsl' alone: leave it out"),
        ({"positive_temperature": 0.5}, "positive_temperature is of kind = 'bsl' alone: leave it out"),
        ({"kind": "full", "queue_batches": 1}, "queue_batches have no meaning with kind = 'full'"),
        ({"kind": "gbce", "queue_batches": 1}, "queue_batches have no meaning with kind = 'gbce'"),
        ({"kind": "full", "sketch": {}}, "sketch counts for log-Q, which corrects nothing here: leave it out"),
        ({"kind": "gbce", "sketch": {}}, "sketch counts for log-Q, which corrects nothing here: leave it out"),
        ({"log_q": False, "sketch": {}}, "sketch counts for log-Q, which corrects nothing here: leave it out"),
        ({"kind": "bsl", "log_q": False, "sketch": {}}, "sketch counts for log-Q, which corrects nothing here"),
        ({"sketch": {"width": 100}}, "must be a power of 2, such as 64 or 128; came 100"),
        ({"sketch": {"width": 1}}, "greater than or equal to 2"),
        ({"sketch": {"width": 2**29}}, "less than or equal to 268435456"),
        ({"sketch": {"depth": 0}}, "greater than or equal to 1"),
        ({"sketch": {"depth": 17}}, "less than or equal to 16"),
        ({"sketch": {"hight": 2}}, "hight"),
        ({"log_q": "correct"}, "log_q"),
    ],
)
def test_what_would_do_nothing_is_refused_once(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        LossConfig.model_validate(values)
    if values.get("log_q") != "correct":
        assert caught.value.error_count() == 1


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"log_q": "corrected"},
        {"log_q": False},
        {"kind": "in_batch", "log_q": "corrected", "extra_negatives": 5},
        {"kind": "gbce"},
        {"kind": "gbce", "extra_negatives": 5, "calibration": 0.0},
        {"sketch": {}},
        {"kind": "bsl", "sketch": {"width": 1024, "depth": 2}},
    ],
)
def test_a_config_survives_json(values: dict[str, Any]) -> None:
    config = LossConfig.model_validate(values)
    assert LossConfig.model_validate_json(config.model_dump_json()) == config


def test_a_loss_without_a_sketch_is_written_as_before_there_were_any() -> None:
    # checkpoints and tunings know a recipe again by what is written of it
    assert "sketch" not in LossConfig().model_dump(mode="json")
    assert LossConfig.model_validate({"sketch": {}}).model_dump(mode="json")["sketch"] == {"width": 65536, "depth": 4}
