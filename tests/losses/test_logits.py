from __future__ import annotations

from typing import Any

import pytest
import torch

from twotower.losses.logits import check_loss_inputs, scaled_scores


@pytest.mark.parametrize("temperature", [1.0, 0.5, torch.tensor(0.5)])
@pytest.mark.parametrize("bias", [None, [10.0, -1.0, 0.5]])
def test_scores_temperature_and_bias(temperature: Any, bias: list[float] | None) -> None:
    queries, candidates = [[1.0, 2.0], [0.0, -1.0]], [[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]]
    divisor = float(temperature)
    expected = [
        [sum(a * b for a, b in zip(q, c, strict=True)) / divisor + (bias[j] if bias else 0.0) for j, c in enumerate(candidates)]
        for q in queries
    ]
    bias_tensor = None if bias is None else torch.tensor(bias)
    assert scaled_scores(torch.tensor(queries), torch.tensor(candidates), temperature, bias_tensor).tolist() == expected


def test_dtype_is_float32_at_least() -> None:
    half, double = torch.ones(1, 1, dtype=torch.bfloat16), torch.ones(1, 1, dtype=torch.float64)
    assert scaled_scores(half, half, 1.0).dtype == torch.float32
    assert scaled_scores(half, double, 1.0).dtype == torch.float64
    assert scaled_scores(half.float(), half, 1.0, torch.zeros(1, dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries_BD": torch.zeros(2, 4)}, r"same D; came \(2, 4\) and \(5, 3\)"),
        ({"candidates_CD": torch.zeros(5)}, r"same D; came \(2, 3\) and \(5,\)"),
        ({"positives_B": torch.tensor([0])}, r"positives_B must have shape \(2,\); came \(1,\)"),
        ({"positives_B": torch.tensor([0, 5])}, r"columns in \[0, 5\); came 0 to 5"),
        ({"positives_B": torch.tensor([-1, 0])}, r"columns in \[0, 5\); came -1 to 0"),
        ({"weights_B": torch.ones(5)}, r"weights_B must have shape \(2,\); came \(5,\)"),
        ({"counts_C": torch.ones(2)}, r"counts_C must have shape \(5,\); came \(2,\)"),
        ({"log_q_C": torch.ones(5, 1)}, r"log_q_C must have shape \(5,\); came \(5, 1\)"),
        ({"counts_C": torch.tensor([1, 1, 0, 1, 1])}, r"at least 1; came 0 for candidate 2"),
        ({"temperature": 0.0}, r"temperature must be above 0; came 0.0"),
        ({"temperature": float("nan")}, r"temperature must be above 0; came nan"),
        ({"temperature": torch.ones(2)}, r"must be a scalar; came shape \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    fitting: dict[str, Any] = {
        "queries_BD": torch.zeros(2, 3),
        "candidates_CD": torch.zeros(5, 3),
        "positives_B": torch.tensor([0, 4]),
        "temperature": 1.0,
        "weights_B": torch.ones(2),
        "counts_C": torch.ones(5),
        "log_q_C": torch.zeros(5),
    }
    check_loss_inputs(**fitting)
    with pytest.raises(ValueError, match=message):
        check_loss_inputs(**{**fitting, **change})
