from __future__ import annotations

from typing import Any

import pytest

from twotower.config import parse_config
from twotower.errors import ConfigError
from twotower.training import EarlyStopping, TrainingConfig


def test_false_and_none_mean_no_early_stopping() -> None:
    for off in (False, None):
        assert parse_config(TrainingConfig, {"early_stopping": off}).early_stopping is None
    assert isinstance(TrainingConfig().early_stopping, EarlyStopping)
    assert parse_config(TrainingConfig, {"early_stopping": {"metric": "mrr"}}).early_stopping == EarlyStopping(metric="mrr")


def test_a_config_survives_json() -> None:
    for off in (False, {"patience": None}):
        config = parse_config(TrainingConfig, {"early_stopping": off, "optimizer": {"kind": "adamw"}})
        assert TrainingConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    "values",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"clip_norm": 0},
        {"validate_every": 0},
        {"checkpoint_every_s": -1},
        {"early_stopping": True},
        {"early_stopping": {"patience": 0}},
        {"early_stopping": {"min_delta": -0.1}},
        {"schedule": {"warmup_steps": -1}},
        {"optimizer": {"kind": "sgd"}},
        {"learning_rate": 0.1},
    ],
)
def test_what_can_not_be_is_refused_by_its_key(values: dict[str, Any]) -> None:
    (key, value) = next(iter(values.items()))
    path = f"{key}.{next(iter(value))}" if isinstance(value, dict) else key
    with pytest.raises(ConfigError, match=f"^{path}: "):
        parse_config(TrainingConfig, values)
