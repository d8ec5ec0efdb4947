from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from twotower.losses import certain_positive_logits, log_q_from_counts, mixture_log_q


def test_log_q_is_the_log_of_the_share() -> None:
    log_q = log_q_from_counts(torch.tensor([5, 3, 2]))
    assert log_q.dtype == torch.float32
    assert log_q.tolist() == pytest.approx([math.log(0.5), math.log(0.3), math.log(0.2)], rel=1e-6)


def test_a_candidate_never_counted_is_as_rare_as_one_counted_once() -> None:
    log_q = log_q_from_counts(torch.tensor([7, 1, 0, 2], dtype=torch.float64))
    assert log_q.dtype == torch.float64
    assert log_q[2].item() == log_q[1].item() == pytest.approx(math.log(0.1), rel=1e-12)


def test_small_fractional_counts_do_not_make_a_probability_above_one() -> None:
    assert log_q_from_counts(torch.tensor([0.25, 0.0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("counts", "message"), [([3, -1], r"came -1 at row 1"), ([math.nan, 1.0], r"came nan at row 0")])
def test_counts_must_be_counts(counts: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        log_q_from_counts(torch.tensor(counts))


@pytest.mark.parametrize("counts", [[0, 0], []])
def test_something_must_have_been_counted(counts: list[int]) -> None:
    with pytest.raises(ValueError, match=r"more than 0; came \d counts, none above 0"):
        log_q_from_counts(torch.tensor(counts, dtype=torch.int64))


@given(st.floats(1e-6, 1.0), st.integers(1, 5000), st.integers(0, 5000), st.integers(1, 10**6))
def test_mixture_is_the_share_of_both_kinds(p: float, batch: int, uniform: int, size: int) -> None:
    log_p = torch.tensor([math.log(p)], dtype=torch.float64)
    got = mixture_log_q(log_p, batch_size=batch, num_uniform=uniform, catalogue_size=size)
    assert got.item() == pytest.approx(math.log((batch * p + uniform / size) / (batch + uniform)), rel=1e-9, abs=1e-12)


def test_mixture_does_not_hand_back_its_argument() -> None:
    log_p = torch.tensor([-1.0])
    assert mixture_log_q(log_p, 4, 0, 10).add_(1.0).item() == 0
    assert log_p.item() == -1


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, -1, 1), (1, 1, 0)])
def test_mixture_refuses_numbers_out_of_range(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"num_uniform at least 0; came"):
        mixture_log_q(torch.zeros(1), *numbers)


def test_the_correction_makes_the_sampled_softmax_estimate_the_full_one() -> None:
    # the mean over many samples of the sum of exp(logit - log Q) / sample size is the sum over the catalogue
    counts = torch.tensor([60, 25, 10, 5])
    logits = torch.tensor([0.3, -0.5, 1.2, 0.1], dtype=torch.float64)
    drawn = torch.multinomial(counts.double() / 100, 200_000, replacement=True, generator=torch.Generator().manual_seed(0))
    estimate = (logits - log_q_from_counts(counts)).exp()[drawn].mean().item()
    assert estimate == pytest.approx(logits.exp().sum().item(), rel=0.02)
    assert logits.exp()[drawn].mean().item() * 4 != pytest.approx(logits.exp().sum().item(), rel=0.05)


def test_a_certain_positive_is_weighed_against_what_was_drawn_beside_it() -> None:
    log_q, counts = torch.tensor([0.5, 0.3, 0.1]).log(), torch.tensor([4, 1, 2])
    got = certain_positive_logits(log_q, torch.tensor([0, 2, 0, 1]), counts)
    assert got.dtype == torch.float32
    assert got.exp().tolist() == pytest.approx([3 / 0.5, 5 / 0.9, 3 / 0.5, 6 / 0.7], rel=1e-6)
    assert certain_positive_logits(log_q.double(), torch.tensor([1])).exp().item() == pytest.approx(2 / 0.7, rel=1e-6)


def test_an_item_that_is_all_there_is_gives_a_finite_logit() -> None:
    for counts in (None, torch.tensor([7])):
        assert certain_positive_logits(torch.zeros(1), torch.tensor([0]), counts).isfinite().all()
