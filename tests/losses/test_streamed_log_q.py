from __future__ import annotations

import math

import pytest
import torch

from twotower.losses import CountMinSketch, StreamedLogQ, in_batch_softmax, log_q_from_counts, mixture_log_q


def test_a_batch_is_counted_before_it_is_asked_for() -> None:
    log_q = StreamedLogQ(CountMinSketch(2**12))
    first = log_q(torch.tensor([3, 8, 70]), torch.tensor([0, 1, 1, 1]))
    assert first.dtype == torch.float32
    assert first.exp().tolist() == pytest.approx([1 / 4, 3 / 4, 1 / 4])  # 70 is a negative, and nobody's positive
    second = log_q(torch.tensor([8, 70, 71]), torch.tensor([1, 0, 1, 1, 1, 0]))
    assert second.exp().tolist() == pytest.approx([5 / 10, 4 / 10, 1 / 10])


def test_uniform_negatives_and_a_queue_make_the_mixture_that_they_are() -> None:
    log_q = StreamedLogQ(CountMinSketch(2**12), rows_drawn=12, num_uniform=5, catalogue_size=40)
    found = log_q(torch.tensor([3, 8, 9]), torch.tensor([0, 1, 1, 1]))
    assert found.exp().tolist() == pytest.approx([(12 * p + 5 / 40) / 17 for p in (0.25, 0.75, 0.25)], rel=1e-6)


def test_after_an_epoch_the_loss_is_that_of_held_counts_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    items = torch.randint(30, (64,), generator=generator).square() % 31
    held_N = mixture_log_q(log_q_from_counts(torch.bincount(items, minlength=31)), 16, 3, 31)
    streamed = StreamedLogQ(CountMinSketch(2**14), rows_drawn=16, num_uniform=3, catalogue_size=31)
    vectors = torch.randn(31, 5, generator=generator)
    queries = torch.randn(64, 5, generator=generator)

    def loss(
        part: slice, log_q_C: torch.Tensor, candidates: torch.Tensor, columns: torch.Tensor, counts: torch.Tensor
    ) -> float:
        return float(in_batch_softmax(queries[part], vectors[candidates], columns, counts_C=counts, log_q_C=log_q_C))

    parts = [slice(start, start + 16) for start in range(0, 64, 16)]
    differ = []
    for epoch in range(3):
        for place, part in enumerate(parts):
            candidates, columns, counts = torch.unique(items[part], return_inverse=True, return_counts=True)
            found = loss(part, streamed(candidates, columns), candidates, columns, counts)
            wanted = loss(part, held_N[candidates], candidates, columns, counts)
            if place == len(parts) - 1:
                assert found == wanted, epoch
            differ.append(found != wanted)
    assert any(differ)  # in the middle of an epoch counts are others


def test_one_over_the_share_is_as_biased_as_the_docstring_says() -> None:
    # an item of probability p in the n + 1st draw, after n others: E[(n + 1) / (X + 1)] = (1 - (1 - p)^(n + 1)) / p
    p, n, tries = 0.02, 40, 4_000
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for _ in range(tries):
        log_q = StreamedLogQ(CountMinSketch(16, 2))
        before = int((torch.rand(n, generator=generator) < p).sum())
        log_q.sketch.add(torch.tensor([1, 2]), torch.tensor([before, n - before]))
        total += math.exp(-float(log_q(torch.tensor([1]), torch.tensor([0]))))
    wanted = (1 - (1 - p) ** (n + 1)) / p
    assert total / tries == pytest.approx(wanted, rel=0.02)
    assert wanted < 0.6 / p  # far from 1 / p: it was expected less than once


def test_numbers_out_of_range_are_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="batch_size and catalogue_size must be at least 1"):
        StreamedLogQ(CountMinSketch(8), rows_drawn=0)
