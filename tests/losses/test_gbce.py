"""gBCE against a slow sum over every draw, in value and gradient; and what its calibration is for."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from twotower.losses import GBCE, Reduction, Temperature, gbce, gbce_beta

OWN = [0, 1, 1, 2, 0, 4]  # the positive of each row
DRAWN = [3, 1, 1, 4, 5, 3, 3]  # uniform negatives; 0 and 2 are only positives
COUNTS = [DRAWN.count(item) for item in range(6)]
PAIRS = [(0, 3), (0, 3), (1, 0), (2, 1), (3, 1), (5, 3), (5, 1), (5, 5)]  # (1, 0) was not drawn, (2, 1) is its own; one twice


def make_case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(len(OWN), 3, generator=generator, dtype=torch.float64).requires_grad_()
    candidates = torch.randn(len(COUNTS), 3, generator=generator, dtype=torch.float64).requires_grad_()
    return queries, candidates, torch.tensor(0.7, dtype=torch.float64, requires_grad=True)


def slowly(
    case: tuple[Tensor, Tensor, Tensor], draws: list[int], beta: float, scaled: bool, pairs: list[tuple[int, int]]
) -> Tensor:
    queries, candidates, temperature = case
    losses = []
    for i, own in enumerate(OWN):
        scores = candidates @ queries[i] / (temperature if scaled else 1)
        negatives = [item for item in draws if item != own and (i, item) not in pairs]
        total = beta * torch.log(torch.sigmoid(scores[own]))
        for item in negatives:
            total = total + torch.log(1 - torch.sigmoid(scores[item]))
        losses.append(-total / (len(negatives) + 1))
    return torch.stack(losses)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("mask", ["none", "dense", "pairs"])
def test_equals_the_sum_over_every_draw(whole: bool, mask: str) -> None:
    reductions: tuple[Reduction, ...] = ("mean", "sum", "none")
    pairs = [] if mask == "none" else PAIRS
    rows, columns = torch.tensor(PAIRS).T
    dense = torch.zeros(len(OWN), len(COUNTS), dtype=torch.bool)
    dense[rows, columns] = True
    masked = {"none": None, "dense": dense, "pairs": (rows, columns)}[mask]
    weights = torch.tensor([1.0, 0.0, 2.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    for seed, (scaled, weighted, reduction) in enumerate(itertools.product([False, True], [False, True], reductions)):
        case = make_case(seed)
        weights_B = weights if weighted else torch.ones_like(weights)
        naive = slowly(case, list(range(6)) if whole else DRAWN, 0.3, scaled, pairs) * weights_B
        expected = naive.sum() / (weights_B.sum() if reduction == "mean" else 1)
        loss = gbce(
            case[0],
            case[1],
            torch.tensor(OWN),
            beta=0.3,
            counts_C=None if whole else torch.tensor(COUNTS, dtype=torch.float32),
            temperature=case[2] if scaled else 1.0,
            masked=masked,
            weights_B=weights if weighted else None,
            reduction=reduction,
        )
        assert loss.sum().item() == pytest.approx(expected.item(), rel=1e-12)
        if reduction == "none":
            torch.testing.assert_close(loss, naive, rtol=1e-12, atol=0)
        wanted = torch.autograd.grad(expected, case, allow_unused=True, materialize_grads=True)
        found = torch.autograd.grad(loss.sum(), case, allow_unused=True, materialize_grads=True)
        for got, want in zip(found, wanted, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("calibration", [0.0, 0.5, 1.0])
def test_beta_is_the_papers(rate: float, calibration: float) -> None:
    wanted = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    assert gbce_beta(rate, calibration) == pytest.approx(wanted, rel=1e-12)
    assert GBCE(calibration=calibration, sampling_rate=rate).beta == gbce_beta(rate, calibration)


def test_scores_of_the_least_loss_are_calibrated() -> None:
    # at the minimum over scores, with beta = alpha the probabilities are those of binary cross-entropy over all items
    shares = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)  # of each item among a query's positives
    rate = 0.2
    for calibration, drawn in ((0.0, rate), (1.0, rate), (0.0, 1.0)):
        beta = gbce_beta(rate, calibration) if drawn < 1 else 1.0
        scores = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe")

        def closure(beta: float = beta, drawn: float = drawn, scores: Tensor = scores) -> Tensor:
            # the mean over positives and draws, each item of the others being drawn so often on average
            loss = -(shares * beta * torch.nn.functional.logsigmoid(scores)).sum()
            loss = loss - ((1 - shares) * drawn * torch.nn.functional.logsigmoid(-scores)).sum()
            scores.grad = torch.autograd.grad(loss, scores)[0]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        calibrated = torch.sigmoid(scores.detach())
        overconfident = shares / (shares + rate * (1 - shares))
        wanted = overconfident if (calibration, drawn) == (0.0, rate) else shares
        torch.testing.assert_close(calibrated, wanted, rtol=1e-4, atol=1e-5)


def test_what_does_not_compete_has_no_gradient() -> None:
    queries, candidates, _ = make_case(0)
    own, counts = torch.tensor([0, 0, 0, 0, 0, 0]), torch.tensor([0, 0, 2, 1, 0, 1])
    masked = (torch.arange(6), torch.full((6,), 3))
    (gradient,) = torch.autograd.grad(gbce(queries, candidates, own, beta=0.5, counts_C=counts, masked=masked), candidates)
    assert (gradient[[1, 3, 4]] == 0).all()
    assert (gradient[[0, 2, 5]] != 0).all()


def test_extreme_scores_stay_finite_and_their_gradients_too() -> None:
    for sign in (1.0, -1.0):
        queries = torch.full((2, 1), 1e4).requires_grad_()
        loss = gbce(queries, torch.tensor([[sign], [-sign], [0.0]]), torch.tensor([0, 1]), beta=0.5)
        assert loss.isfinite()
        assert torch.autograd.grad(loss, queries)[0].isfinite().all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_half_precision_is_raised(precision: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    queries, candidates = torch.randn(4, 8, generator=generator), torch.randn(5, 8, generator=generator)
    plain = GBCE()(queries, candidates, torch.arange(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = GBCE(precision=precision)(queries, candidates, torch.arange(4))
    assert cast.dtype == torch.float32
    assert cast.item() == pytest.approx(plain.item(), rel=1e-6 if precision == "float32" else 0.02)
    assert (cast.item() == plain.item()) == (precision == "float32")


def test_the_module_is_the_function_with_its_choices_made() -> None:
    queries, candidates, _ = make_case(2)
    own, counts = torch.tensor(OWN), torch.tensor(COUNTS)
    loss = GBCE(Temperature(0.25), calibration=0.5, sampling_rate=0.1, reduction="sum")
    assert (loss.needs_full_catalogue, loss.uniform_negatives, loss.uses_log_q) == (False, True, False)
    wanted = gbce(queries, candidates, own, beta=0.55, counts_C=counts, temperature=0.25, reduction="sum")
    assert loss(queries, candidates, own, counts_C=counts).item() == pytest.approx(wanted.item(), rel=1e-12)
    whole = GBCE()
    assert (whole.needs_full_catalogue, whole.uniform_negatives, whole.beta) == (True, False, 1.0)
    assert whole(queries, candidates, own).item() == gbce(queries, candidates, own, beta=1.0).item()


def test_a_temperature_is_learned() -> None:
    queries, candidates, _ = make_case(1)
    loss = GBCE(Temperature(0.5, learned=True))
    loss(queries, candidates, torch.tensor(OWN)).backward()
    (parameter,) = loss.parameters()
    assert parameter.grad is not None
    assert parameter.grad.item() != 0


def test_an_empty_batch() -> None:
    given = torch.zeros(0, 2), torch.ones(3, 2), torch.zeros(0, dtype=torch.int64)
    assert GBCE(reduction="sum")(*given).item() == 0
    with pytest.raises(ValueError, match="at least one query"):
        GBCE()(*given)


def test_a_query_without_negatives_still_knows_its_positive() -> None:
    loss = gbce(torch.ones(1, 1), torch.ones(1, 1), torch.tensor([0]), beta=0.5, counts_C=torch.tensor([3]))
    assert loss.item() == pytest.approx(0.5 * math.log(1 + math.exp(-1)), rel=1e-6)


def test_what_it_can_not_be_given_is_refused() -> None:
    vectors, own = torch.eye(2), torch.arange(2)
    for options in ({"log_q_C": torch.zeros(2)}, {"counts_C": torch.ones(2)}):
        with pytest.raises(ValueError, match="gBCE draws uniformly: it must not be given"):
            GBCE()(vectors, vectors, own, **options)
    for rate, calibration in ((0.0, 0.5), (1.1, 0.5), (0.5, -0.1), (0.5, 1.1)):
        with pytest.raises(ValueError, match=r"sampling_rate must be in \(0, 1\] and calibration in \[0, 1\]"):
            gbce_beta(rate, calibration)
    for counts in (torch.tensor([1, -1]), torch.ones(3)):
        with pytest.raises(ValueError, match="counts_C must be at least 0, one for each of 2 candidates"):
            gbce(vectors, vectors, own, beta=1.0, counts_C=counts)
