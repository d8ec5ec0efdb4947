"""The bilateral softmax against a slow sum over every draw, in value and gradient."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from twotower.losses import BilateralSoftmax, Reduction, bilateral_softmax, in_batch_softmax

OWN = [0, 1, 1, 2, 0, 4]
USERS = [7, 3, 7, 7, 3, 3]
COUNTS = [2, 2, 1, 3, 1, 1]
# some repeated as often as would leave nothing; the last has nothing left
PAIRS = [*[(0, 3)] * 4, (0, 4), (1, 0), (2, 1), (3, 1), *((5, column) for column in range(6))]
WEIGHTS = [1.0, 0.0, 2.0, 0.5, 1.0, 3.0]


def make_case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(len(OWN), 3, generator=generator, dtype=torch.float64).requires_grad_()
    candidates = torch.randn(len(COUNTS), 3, generator=generator, dtype=torch.float64).requires_grad_()
    return queries, candidates, torch.rand(len(COUNTS), generator=generator, dtype=torch.float64).sub(2.5)


def slowly(
    case: tuple[Tensor, Tensor, Tensor],
    t1: float,
    t2: float,
    users: list[int],
    weights: list[float],
    corrected: bool,
    pairs: Any,
    weight: float = 1.0,
) -> Tensor:
    queries, candidates, log_q = case
    own_scores = [queries[i] @ candidates[own] for i, own in enumerate(OWN)]
    losses = []
    for i, own in enumerate(OWN):
        negatives = [item for item, n in enumerate(COUNTS) for _ in range(n) if item != own]
        competing = [item for item in negatives if (i, item) not in pairs]
        if not competing:
            losses.append(queries.new_zeros(()))
            continue
        mine = [j for j, user in enumerate(users) if user == users[i]]
        total = sum(weights[j] for j in mine)
        mean = sum(weights[j] * (own_scores[j] / t1).exp() for j in mine) / total
        summed = torch.zeros((), dtype=torch.float64)
        for item in competing:
            q_rest = log_q[item].exp() / (1 - log_q[own].exp())
            summed = summed + (queries[i] @ candidates[item] / t2).exp() / (q_rest * len(negatives) if corrected else 1)
        losses.append(-mean.log() + weight * t2 / t1 * summed.log())  # type: ignore[union-attr]
    return torch.stack(losses)


@pytest.mark.parametrize("mask", ["none", "dense", "pairs"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_equals_the_sum_over_every_draw(mask: str, reduction: Reduction) -> None:
    pairs = [] if mask == "none" else PAIRS
    rows, columns = torch.tensor(PAIRS).T
    dense = torch.zeros(len(OWN), len(COUNTS), dtype=torch.bool)
    dense[rows, columns] = True
    masked = {"none": None, "dense": dense, "pairs": (rows, columns)}[mask]
    for seed, (grouped, corrected, weighted) in enumerate(itertools.product([False, True], repeat=3)):
        case, push = make_case(seed), (1.0, 1.3, 0.6)[seed % 3]
        weights = WEIGHTS if weighted else [1.0] * len(OWN)
        users = USERS if grouped else list(range(6))
        naive = slowly(case, 0.4, 0.7, users, [max(w, 1e-30) for w in weights], corrected, pairs, push)
        weights_B = torch.tensor(weights, dtype=torch.float64)
        expected = (naive * weights_B).sum() / (weights_B.sum() if reduction == "mean" else 1)
        loss = bilateral_softmax(
            case[0],
            case[1],
            torch.tensor(OWN),
            users_B=torch.tensor(USERS) if grouped else None,
            counts_C=torch.tensor(COUNTS),
            temperature=0.7,
            positive_temperature=0.4,
            negative_weight=push,
            log_q_C=case[2] if corrected else None,
            masked=masked,
            weights_B=weights_B if weighted else None,
            reduction=reduction,
        )
        assert loss.sum().item() == pytest.approx(expected.item(), rel=1e-11, abs=1e-12)
        wanted = torch.autograd.grad(expected, case[:2])
        for got, want in zip(torch.autograd.grad(loss.sum(), case[:2]), wanted, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_the_kernels_tiles_give_the_same_in_float32(size: float) -> None:
    generator = torch.Generator().manual_seed(3)
    wide = [torch.randn(count, 8, generator=generator, dtype=torch.float64) * size for count in (40, 90)]
    own, users = torch.arange(40) % 17, torch.arange(40) % 11
    counts, log_q = torch.arange(90) % 3 + 1, torch.rand(90, generator=generator, dtype=torch.float64) - 6
    found = []
    ways: tuple[tuple[torch.dtype, Reduction], ...] = ((torch.float64, "none"), (torch.float32, "sum"))
    for dtype, reduction in ways:
        given = [vectors.to(dtype).requires_grad_() for vectors in wide]
        queries, candidates = given
        loss = bilateral_softmax(
            queries,
            candidates,
            own,
            users_B=users,
            counts_C=counts,
            log_q_C=log_q.to(dtype),
            temperature=2.0,
            reduction=reduction,
        ).sum()
        found.append([loss.detach().double(), *(g.double() for g in torch.autograd.grad(loss, given))])
    for narrow, exact in zip(found[1], found[0], strict=True):
        assert float((narrow - exact).norm() / exact.norm()) < 1e-4


def test_of_single_rows_it_is_the_softmax_without_its_positive() -> None:
    queries, candidates, _ = make_case(0)
    own = torch.tensor(OWN)
    softmax = in_batch_softmax(queries, candidates, own, temperature=0.5, reduction="none")
    found = bilateral_softmax(queries, candidates, own, temperature=0.5, reduction="none")
    # log((1 - p) / p) of p = exp(-loss)
    torch.testing.assert_close(found, torch.log(torch.expm1(softmax)), rtol=1e-10, atol=1e-12)
    # and its positive temperature is a factor
    other = bilateral_softmax(queries, candidates, own, temperature=0.5, positive_temperature=0.25, reduction="none")
    torch.testing.assert_close(other, 2 * found, rtol=1e-10, atol=1e-12)


def test_a_low_positive_temperature_heeds_a_low_positive_less() -> None:
    # one user, two rows: what is pulled up of the positive that scores lower
    shares = []
    for temperature in (0.1, 1.0, 10.0):
        queries = torch.tensor([[1.0, 0.0], [0.0, 0.2]], dtype=torch.float64).requires_grad_()
        candidates = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
        own, users = torch.arange(2), torch.zeros(2, dtype=torch.int64)
        options: dict[str, Any] = {"masked": (own, 1 - own), "positive_temperature": temperature, "reduction": "sum"}
        both, alone = (bilateral_softmax(queries, candidates, own, users_B=u, **options) for u in (users, None))
        pulled = [torch.autograd.grad(loss, queries)[0] for loss in (both, alone)]
        positive = [float(gradient[1, 1] - pulled[1][1, 1] - 1 / temperature) for gradient in pulled]
        shares.append(-positive[0] * temperature / 2)
    assert shares[0] < 0.01 < 0.25 < shares[1] < shares[2] < 0.5


def test_a_row_of_no_weight_is_no_positive_of_its_user() -> None:
    queries = torch.tensor([[1.0], [500.0], [1.0], [2.0]]).requires_grad_()
    candidates, own = torch.tensor([[1.0], [0.5]]), torch.zeros(4, dtype=torch.int64)
    users, weights = torch.tensor([0, 0, 1, 1]), torch.tensor([1.0, 0.0, 0.0, 0.0])
    loss = bilateral_softmax(queries, candidates, own, users_B=users, weights_B=weights)
    alone = bilateral_softmax(queries[:1], candidates, own[:1])
    assert loss.item() == pytest.approx(alone.item(), rel=1e-3)
    gradient = torch.autograd.grad(loss, queries)[0]
    assert gradient.isfinite().all()
    assert (gradient[1:] == 0).all()


def test_nothing_that_competes_is_a_loss_of_zero() -> None:
    queries = torch.ones(3, 2).requires_grad_()
    reductions: tuple[Reduction, ...] = ("mean", "none")
    for reduction in reductions:
        loss = BilateralSoftmax(0.5, reduction=reduction)(
            queries, torch.ones(1, 2), torch.zeros(3, dtype=torch.int64), users_B=torch.zeros(3, dtype=torch.int64)
        ).sum()
        assert loss.item() == 0
        assert torch.autograd.grad(loss, queries)[0].abs().sum().item() == 0


def test_the_module_is_the_function_with_its_choices_made() -> None:
    queries, candidates, log_q = make_case(2)
    own, users, counts = torch.tensor(OWN), torch.tensor(USERS), torch.tensor(COUNTS)
    loss = BilateralSoftmax(0.5, positive_temperature=0.25, negative_weight=1.2, log_q=True, reduction="sum")
    assert (loss.needs_full_catalogue, loss.uses_log_q, loss.needs_users) == (False, True, True)
    assert list(loss.parameters()) == []
    options: dict[str, Any] = {"users_B": users, "counts_C": counts, "log_q_C": log_q}
    wanted = bilateral_softmax(
        queries, candidates, own, **options, temperature=0.5, positive_temperature=0.25, negative_weight=1.2, reduction="sum"
    )
    assert loss(queries, candidates, own, **options).item() == wanted.item()
    assert BilateralSoftmax(0.5).positive_temperature.value().item() == 0.5


def test_what_does_not_fit_is_refused() -> None:
    vectors, own = torch.eye(2), torch.arange(2)
    with pytest.raises(ValueError, match="made with log_q=True, and log_q_C was not given"):
        BilateralSoftmax(log_q=True)(vectors, vectors, own)
    with pytest.raises(ValueError, match=r"users_B of shape \(2,\); came 1.0 and \(3,\)"):
        bilateral_softmax(vectors, vectors, own, users_B=torch.arange(3))
    with pytest.raises(ValueError, match=r"the positive temperature must be above 0 .*; came 0.0 and None"):
        bilateral_softmax(vectors, vectors, own, positive_temperature=0.0)
    for weight in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"weight of the negatives must be .*above 0; came"):
            bilateral_softmax(vectors, vectors, own, negative_weight=weight)
        with pytest.raises(ValueError, match=r"weight of the negatives must be .*above 0; came"):
            BilateralSoftmax(negative_weight=weight)
    with pytest.raises(ValueError, match="at least one query"):
        bilateral_softmax(vectors[:0], vectors, own[:0])


def test_the_positive_is_out_of_the_sum_however_far_above_it_scores() -> None:
    # in the tiles it is there, pushed so far down that it is nothing beside any negative
    candidates = torch.tensor([[300.0], [-300.0], [-301.0]], requires_grad=True)
    queries = torch.ones(2, 1, requires_grad=True)
    loss = bilateral_softmax(queries, candidates, torch.tensor([0, 0]))
    assert float(loss.detach()) == pytest.approx(-300 - 300 + float(torch.tensor([0.0, -1.0]).logsumexp(0)), abs=1e-3)
    loss.backward()  # type: ignore[no-untyped-call]
    share = float(torch.tensor(1.0).sigmoid())
    assert candidates.grad is not None
    assert candidates.grad.flatten().tolist() == pytest.approx([-1.0, share, 1 - share], abs=1e-4)


@pytest.mark.parametrize("reduction", ["sum", "none"])
def test_a_query_without_negatives_loses_nothing_beside_other_rows_of_its_user(reduction: Reduction) -> None:
    queries, candidates = torch.tensor([[1.0], [1.0]]), torch.tensor([[3.0], [0.5]])
    masked = torch.tensor([[False, True], [False, False]])
    losses = bilateral_softmax(
        queries, candidates, torch.tensor([0, 1]), users_B=torch.tensor([4, 4]), masked=masked, reduction=reduction
    )
    mean = (torch.tensor(3.0).exp() + torch.tensor(0.5).exp()) / 2
    wanted = torch.stack([torch.zeros(()), 3.0 - mean.log()])
    torch.testing.assert_close(losses, wanted.sum() if reduction == "sum" else wanted)
