from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.losses import keep_hard_negatives


def oracle(logits: list[float], positive: int, n: int, counts: list[int], accidental: bool) -> list[float]:
    columns = []
    for candidate, (logit, count) in enumerate(zip(logits, counts, strict=True)):
        times = (0 if accidental else count - 1) if candidate == positive else count
        columns += [logit] * times
    return sorted(columns, reverse=True)[:n]


@given(st.data())
def test_keeps_the_top_columns_of_the_repeated_matrix(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 6))
    logits = data.draw(st.lists(st.integers(-5, 5).map(float), min_size=size, max_size=size))
    counts = data.draw(st.lists(st.integers(1, 4), min_size=size, max_size=size))
    positive = data.draw(st.integers(0, size - 1))
    n = data.draw(st.integers(1, 12))
    accidental = data.draw(st.booleans())
    kept = keep_hard_negatives(
        torch.tensor([logits]),
        torch.tensor([positive]),
        n,
        counts_C=torch.tensor(counts),
        mask_accidental_hits=accidental,
    )
    assert kept.logits.shape == kept.counts.shape
    assert (kept.logits[0, 0].item(), kept.counts[0, 0].item()) == (logits[positive], 1.0)
    columns: list[float] = []
    for logit, count in zip(kept.logits[0, 1:].tolist(), kept.counts[0, 1:].tolist(), strict=True):
        columns += [logit] * int(count)
    assert columns == oracle(logits, positive, n, counts, accidental)


def test_without_counts_each_candidate_is_one_column() -> None:
    logits = torch.tensor([[5.0, 1.0, 4.0, 3.0], [5.0, 1.0, 4.0, 3.0]])
    kept = keep_hard_negatives(logits, torch.tensor([0, 1]), 2)
    negatives = [
        [value for value, count in zip(row, counts, strict=True) if count > 0]
        for row, counts in zip(kept.logits[:, 1:].tolist(), kept.counts[:, 1:].tolist(), strict=True)
    ]
    assert negatives == [[4.0, 3.0], [5.0, 4.0]]


def test_masked_candidates_come_last() -> None:
    logits = torch.tensor([[0.0, -math.inf, -3.0]])
    kept = keep_hard_negatives(logits, torch.tensor([0]), 1)
    assert [x for x, n in zip(kept.logits[0].tolist(), kept.counts[0].tolist(), strict=True) if n] == [0.0, -3.0]


def test_gradients_reach_the_kept_logits_only() -> None:
    logits = torch.tensor([[5.0, 1.0, 4.0, 3.0]], requires_grad=True)
    kept = keep_hard_negatives(logits, torch.tensor([1]), 2)
    (gradient,) = torch.autograd.grad((kept.logits * kept.counts).sum(), logits)
    assert gradient.tolist() == [[1.0, 1.0, 1.0, 0.0]]


def test_none_kept_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 1; came 0"):
        keep_hard_negatives(torch.zeros(1, 2), torch.tensor([0]), 0)
