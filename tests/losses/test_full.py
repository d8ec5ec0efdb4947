"""The full softmax against a plain sum, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from twotower.errors import ConfigError
from twotower.losses import FullSoftmax, Temperature, full_softmax

SCORES = [[2.0, -1.0, 0.5, 0.0], [0.0, 1.0, 3.0, -2.0]]


def softmax_loss(scores: list[float], positive: int, temperature: float) -> float:
    return math.log(sum(math.exp(score / temperature) for score in scores)) - scores[positive] / temperature


@pytest.mark.parametrize("temperature", [1.0, 0.2, 3.0])
def test_is_the_log_loss_of_the_softmax(temperature: float) -> None:
    queries, catalogue = torch.tensor(SCORES, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    losses = full_softmax(queries, catalogue, torch.tensor([1, 2]), temperature=temperature, reduction="none")
    expected = [softmax_loss(SCORES[0], 1, temperature), softmax_loss(SCORES[1], 2, temperature)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-12)


def test_hard_negatives_are_the_best_of_the_rest() -> None:
    queries, catalogue = torch.tensor(SCORES, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    losses = full_softmax(queries, catalogue, torch.tensor([1, 2]), hard_negatives=2, reduction="none")
    expected = [softmax_loss([2.0, 0.5, -1.0], 2, 1.0), softmax_loss([0.0, 1.0, 3.0], 2, 1.0)]
    assert losses.tolist() == pytest.approx(expected, rel=1e-12)


def test_module_is_the_function_with_its_choices_made() -> None:
    queries, catalogue, positives = torch.tensor(SCORES), torch.eye(4), torch.tensor([1, 2])
    weights, mask = torch.tensor([1.0, 2.0]), (torch.tensor([0]), torch.tensor([0]))
    loss = FullSoftmax(Temperature(0.5), hard_negatives=2, reduction="sum")
    assert (loss.needs_full_catalogue, loss.uses_log_q) == (True, False)
    expected = full_softmax(
        queries, catalogue, positives, temperature=0.5, hard_negatives=2, reduction="sum", weights_B=weights, masked=mask
    )
    assert loss(queries, catalogue, positives, weights_B=weights, masked=mask).item() == expected.item()


def test_log_q_is_refused_with_the_reason() -> None:
    with pytest.raises(ConfigError, match=r"every candidate competes in every row, so there is no sampling"):
        FullSoftmax(log_q=True)


def test_what_belongs_to_a_sample_is_refused() -> None:
    queries, positives = torch.eye(2), torch.arange(2)
    with pytest.raises(ValueError, match=r"must not be given counts_C or log_q_C"):
        FullSoftmax()(queries, queries, positives, counts_C=torch.ones(2), log_q_C=torch.zeros(2))
    with pytest.raises(ValueError, match=r"must not be given counts_C:"):
        FullSoftmax()(queries, queries, positives, counts_C=torch.ones(2))
    with pytest.raises(ValueError, match=r"must not be given log_q_C:"):
        FullSoftmax()(queries, queries, positives, log_q_C=torch.zeros(2))


def test_hard_negatives_of_zero_are_refused_when_made() -> None:
    with pytest.raises(ValueError, match=r"at least 1, or None for all; came -1"):
        FullSoftmax(hard_negatives=-1)


def test_autocast_does_not_reach_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, catalogue = torch.randn(4, 16, generator=generator) * 3, torch.randn(9, 16, generator=generator)
    plain = full_softmax(queries, catalogue, torch.arange(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert full_softmax(queries, catalogue, torch.arange(4)).item() == plain.item()


@pytest.mark.parametrize("options", [{}, {"hard_negatives": 3}, {"reduction": "sum"}])
def test_precision_rounds_the_scores_and_little_else(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(1)
    queries, candidates = torch.randn(9, 4, generator=generator), torch.randn(6, 4, generator=generator)
    positives = torch.arange(9) % 6
    wide, narrow = (FullSoftmax(0.5, precision=p, **options)(queries, candidates, positives) for p in ("float32", "bfloat16"))
    assert wide.dtype == narrow.dtype == torch.float32
    assert float(wide) != float(narrow)
    torch.testing.assert_close(wide, narrow, rtol=0.02, atol=0.02)
    # whole numbers of few bits are not rounded
    few = torch.tensor([[1.0, 2.0], [0.0, -3.0]])
    wide, narrow = (FullSoftmax(1.0, precision=p, **options)(few, few, torch.tensor([0, 1])) for p in ("float32", "bfloat16"))
    assert float(wide) == pytest.approx(float(narrow), abs=5e-7)
