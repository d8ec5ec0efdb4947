"""The folded in-batch loss against the textbook matrix with one column per row of the batch, in value and gradient."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from twotower.losses import InBatchSoftmax, Reduction, Temperature, in_batch_softmax

ITEMS = [0, 1, 1, 2, 0, 1, 3, 1]  # the positive of each row of the batch: 0 twice, 1 four times
EXTRA = [4, 5, 5]  # extra negatives: 5 was drawn twice
COUNTS = [2, 4, 1, 1, 1, 2]
DIM = 3
PAIRS = [(0, 2), (0, 5), (1, 3), (2, 1), (3, 0), (3, 1), (3, 4), (7, 0), (7, 2), (7, 3), (7, 4), (7, 5)]  # (2, 1) is its own


class Case(NamedTuple):
    queries: Tensor
    candidates: Tensor
    temperature: Tensor
    log_q: Tensor
    weights: Tensor


def make_case(seed: int) -> Case:
    generator = torch.Generator().manual_seed(seed)
    return Case(
        torch.randn(len(ITEMS), DIM, generator=generator, dtype=torch.float64).requires_grad_(),
        torch.randn(len(COUNTS), DIM, generator=generator, dtype=torch.float64).requires_grad_(),
        torch.tensor(0.7, dtype=torch.float64, requires_grad=True),
        torch.rand(len(COUNTS), generator=generator, dtype=torch.float64).sub(3.0),
        torch.rand(len(ITEMS), generator=generator, dtype=torch.float64) + 0.1,
    )


def naive_losses(
    case: Case,
    *,
    temperature: Tensor | float,
    log_q: Tensor | None,
    accidental: bool,
    pairs: list[tuple[int, int]],
    hard: int | None,
) -> list[Tensor]:
    columns = ITEMS + EXTRA
    matrix = case.queries @ case.candidates[columns].T / temperature
    if log_q is not None:
        matrix = matrix - log_q[columns]
    losses = []
    for i, own in enumerate(ITEMS):
        logits = matrix[i]
        negatives = []
        for j, item in enumerate(columns):
            hit = item == own and accidental
            other = (i, item) in pairs and item != own
            if j != i and not hit and not other:
                negatives.append(logits[j])
        if hard is not None:
            negatives = sorted(negatives, key=lambda logit: -logit.item())[:hard]
        losses.append(torch.logsumexp(torch.stack([logits[i], *negatives]), 0) - logits[i])
    return losses


def gradients(loss: Tensor, case: Case) -> list[Tensor]:
    inputs = [case.queries, case.candidates, case.temperature]
    found = torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)
    return list(found)


@pytest.mark.parametrize("accidental", [True, False])
@pytest.mark.parametrize("hard", [None, 1, 3, 100])
@pytest.mark.parametrize("mask", ["none", "dense", "pairs"])
def test_equals_the_textbook_matrix(accidental: bool, hard: int | None, mask: str) -> None:
    reductions: tuple[Reduction, ...] = ("mean", "sum")
    pairs = [] if mask == "none" else PAIRS
    rows, columns = torch.tensor(PAIRS).T
    dense = torch.zeros(len(ITEMS), len(COUNTS), dtype=torch.bool)
    for row, column in PAIRS:
        dense[row, column] = True
    masked = {"none": None, "dense": dense, "pairs": (rows, columns)}[mask]
    for seed, (scaled, corrected) in enumerate(itertools.product([False, True], repeat=2)):
        case = make_case(seed)
        temperature = case.temperature if scaled else 1.0
        log_q = case.log_q if corrected else None
        naive = torch.stack(
            naive_losses(case, temperature=temperature, log_q=log_q, accidental=accidental, pairs=pairs, hard=hard)
        )
        for weighted, reduction in itertools.product([False, True], reductions):
            weights = case.weights if weighted else torch.ones(len(ITEMS), dtype=torch.float64)
            expected = (naive * weights).sum() / (weights.sum() if reduction == "mean" else 1)
            loss = in_batch_softmax(
                case.queries,
                case.candidates,
                torch.tensor(ITEMS),
                counts_C=torch.tensor(COUNTS),
                temperature=temperature,
                log_q_C=log_q,
                mask_accidental_hits=accidental,
                masked=masked,
                hard_negatives=hard,
                weights_B=case.weights if weighted else None,
                reduction=reduction,
            )
            assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
            wanted = torch.autograd.grad(
                expected,
                [case.queries, case.candidates, case.temperature],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            for got, want in zip(gradients(loss, case), wanted, strict=True):
                torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_no_counts_means_each_candidate_once() -> None:
    case = make_case(0)
    positives = torch.tensor([0, 3])
    loss = in_batch_softmax(case.queries[:2], case.candidates, positives, reduction="none")
    scores = (case.queries[:2] @ case.candidates.T).tolist()
    for row, own in enumerate([0, 3]):
        expected = math.log(sum(math.exp(score) for score in scores[row])) - scores[row][own]
        assert loss[row].item() == pytest.approx(expected, rel=1e-12)


def test_a_hard_negative_is_cut_to_the_places_that_are_left() -> None:
    # the hardest candidate fills four columns, of which three are kept; the own item has another copy
    queries, candidates = torch.ones(1, 1), torch.tensor([[0.0], [1.0], [0.5]])
    counts = torch.tensor([2, 4, 1])
    for hard, accidental, negatives in (
        (3, True, 3 * math.e),
        (5, True, 4 * math.e + math.exp(0.5)),
        (6, True, 4 * math.e + math.exp(0.5)),
        (6, False, 4 * math.e + math.exp(0.5) + 1),
    ):
        loss = in_batch_softmax(
            queries, candidates, torch.tensor([0]), counts_C=counts, hard_negatives=hard, mask_accidental_hits=accidental
        )
        assert loss.item() == pytest.approx(math.log(1 + negatives), rel=1e-6)


def test_counts_change_nothing_for_a_rows_own_item_alone() -> None:
    positives = torch.zeros(4, dtype=torch.int64)
    queries, candidates = torch.randn(4, 2, generator=torch.Generator().manual_seed(1)), torch.ones(1, 2)
    counts = torch.tensor([4])
    kept = in_batch_softmax(queries, candidates, positives, counts_C=counts)
    assert kept.item() == 0
    naive = in_batch_softmax(queries, candidates, positives, counts_C=counts, mask_accidental_hits=False)
    assert naive.item() == pytest.approx(math.log(4), rel=1e-6)


@pytest.mark.parametrize("hard", [None, 2])
def test_half_precision_and_autocast_are_raised_to_float32(hard: int | None) -> None:
    generator = torch.Generator().manual_seed(3)
    queries, candidates = torch.randn(4, 8, generator=generator) * 3, torch.randn(4, 8, generator=generator) * 3
    positives, counts, log_q = torch.arange(4), torch.tensor([1, 2, 1, 5]), torch.tensor([-1.0, -0.3, -2.0, -7.0])
    plain = in_batch_softmax(queries, candidates, positives, counts_C=counts, log_q_C=log_q, hard_negatives=hard)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = in_batch_softmax(queries, candidates, positives, counts_C=counts, log_q_C=log_q, hard_negatives=hard)
    assert cast.dtype == torch.float32
    assert cast.item() == plain.item()
    half, wide = queries.bfloat16(), queries.bfloat16().float()
    loss = in_batch_softmax(half, candidates.bfloat16(), positives, counts_C=counts, log_q_C=log_q, hard_negatives=hard)
    expected = in_batch_softmax(
        wide, candidates.bfloat16().float(), positives, counts_C=counts, log_q_C=log_q, hard_negatives=hard
    )
    assert loss.dtype == torch.float32
    assert loss.item() == expected.item()


def test_the_inputs_are_left_as_they_were() -> None:
    case = make_case(5)
    before = [each.detach().clone() for each in case]
    mask = torch.zeros(len(ITEMS), len(COUNTS), dtype=torch.bool)
    mask[0, 3] = True
    in_batch_softmax(
        case.queries,
        case.candidates,
        torch.tensor(ITEMS),
        counts_C=torch.tensor(COUNTS),
        log_q_C=case.log_q,
        weights_B=case.weights,
        masked=mask,
    ).backward()  # type: ignore[no-untyped-call]
    assert all(torch.equal(left, right) for left, right in zip(case, before, strict=True))
    assert mask.sum() == 1


def test_no_matrix_of_logits_is_kept_for_the_way_back() -> None:
    case = make_case(5)
    kept: list[Tensor] = []

    def count(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        in_batch_softmax(
            case.queries,
            case.candidates,
            torch.tensor(ITEMS),
            counts_C=torch.tensor(COUNTS),
            temperature=case.temperature,
            log_q_C=case.log_q,
            weights_B=case.weights,
            masked=tuple(torch.tensor(PAIRS).T),
        )
    assert kept
    assert not [tensor for tensor in kept if tensor.numel() == len(ITEMS) * len(COUNTS)]


def test_module_is_the_function_with_its_choices_made() -> None:
    case = make_case(6)
    counts, positives = torch.tensor(COUNTS), torch.tensor(ITEMS)
    loss = InBatchSoftmax(
        Temperature(0.25), log_q=True, mask_accidental_hits=False, hard_negatives=2, reduction="sum"
    )  # 0.25 is exact in float32
    assert (loss.needs_full_catalogue, loss.uses_log_q) == (False, True)
    got = loss(case.queries, case.candidates, positives, counts_C=counts, log_q_C=case.log_q, weights_B=case.weights)
    expected = in_batch_softmax(
        case.queries,
        case.candidates,
        positives,
        counts_C=counts,
        temperature=0.25,
        log_q_C=case.log_q,
        mask_accidental_hits=False,
        hard_negatives=2,
        weights_B=case.weights,
        reduction="sum",
    )
    assert got.item() == expected.item()


def test_log_q_is_given_exactly_when_it_is_used() -> None:
    queries, positives = torch.eye(2), torch.arange(2)
    with pytest.raises(ValueError, match=r"made with log_q=True, and log_q_C was not given"):
        InBatchSoftmax(log_q=True)(queries, queries, positives)
    with pytest.raises(ValueError, match=r"made with log_q=False, and log_q_C was given"):
        InBatchSoftmax()(queries, queries, positives, log_q_C=torch.zeros(2))


def test_hard_negatives_of_zero_are_refused_when_made() -> None:
    with pytest.raises(ValueError, match=r"at least 1, or None for all; came 0"):
        InBatchSoftmax(hard_negatives=0)


def test_the_temperature_of_a_module_is_learned() -> None:
    loss = InBatchSoftmax(Temperature(0.5, learned=True))
    generator = torch.Generator().manual_seed(2)
    queries, candidates = torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    loss(queries, candidates, torch.arange(4)).backward()
    (parameter,) = loss.parameters()
    assert parameter.grad is not None
    assert parameter.grad.item() != 0


@pytest.mark.parametrize("options", [{}, {"hard_negatives": 3}, {"reduction": "sum"}])
def test_precision_rounds_the_scores_and_little_else(options: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(1)
    queries, candidates = torch.randn(9, 4, generator=generator), torch.randn(6, 4, generator=generator)
    positives = torch.arange(9) % 6
    wide, narrow = (
        InBatchSoftmax(0.5, precision=p, **options)(queries, candidates, positives) for p in ("float32", "bfloat16")
    )
    assert wide.dtype == narrow.dtype == torch.float32
    assert float(wide) != float(narrow)
    torch.testing.assert_close(wide, narrow, rtol=0.02, atol=0.02)
    # whole numbers of few bits are not rounded
    few = torch.tensor([[1.0, 2.0], [0.0, -3.0]])
    wide, narrow = (
        InBatchSoftmax(1.0, precision=p, **options)(few, few, torch.tensor([0, 1])) for p in ("float32", "bfloat16")
    )
    assert float(wide) == pytest.approx(float(narrow), abs=5e-7)


def papers_loss(case: Case, *, temperature: Tensor | float, pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Of each row the loss of arXiv 2507.09331, its weight a constant; and -log P, from the matrix with a column per draw."""
    columns = ITEMS + EXTRA
    q = case.log_q.exp()
    losses, surprises = [], []
    for i, own in enumerate(ITEMS):
        score = [case.queries[i] @ case.candidates[item] / temperature for item in range(len(COUNTS))]
        negatives = [item for item in columns if item != own]
        competing = [item for item in negatives if (i, item) not in pairs]
        rest = sum((torch.exp(score[item]) * (1 - q[own]) / q[item] for item in competing), torch.tensor(0.0))
        probability = score[own].exp() / (score[own].exp() + rest / len(negatives))
        losses.append((1 - probability.detach()) * (rest.log() - score[own]) if competing else 0 * score[own])
        surprises.append(-probability.log())
    return torch.stack(losses), torch.stack(surprises)


@pytest.mark.parametrize("mask", ["none", "dense", "pairs"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_certain_positive_has_the_papers_gradient(mask: str, reduction: Reduction) -> None:
    rows, columns = torch.tensor(PAIRS).T
    dense = torch.zeros(len(ITEMS), len(COUNTS), dtype=torch.bool)
    dense[rows, columns] = True
    masked = {"none": None, "dense": dense, "pairs": (rows, columns)}[mask]
    for seed, (scaled, weighted) in enumerate(itertools.product([False, True], repeat=2)):
        case = make_case(seed)
        temperature = case.temperature if scaled else 1.0
        losses, surprises = papers_loss(case, temperature=temperature, pairs=[] if mask == "none" else PAIRS)
        weights = case.weights if weighted else torch.ones(len(ITEMS), dtype=torch.float64)
        total = weights.sum() if reduction == "mean" else 1
        loss = in_batch_softmax(
            case.queries,
            case.candidates,
            torch.tensor(ITEMS),
            counts_C=torch.tensor(COUNTS),
            temperature=temperature,
            log_q_C=case.log_q,
            certain_positive=True,
            masked=masked,
            weights_B=case.weights if weighted else None,
            reduction=reduction,
        )
        assert loss.sum().item() == pytest.approx(((surprises * weights).sum() / total).item(), rel=1e-12)
        inputs = [case.queries, case.candidates, case.temperature]
        wanted = torch.autograd.grad((losses * weights).sum() / total, inputs, allow_unused=True, materialize_grads=True)
        for got, want in zip(gradients(loss.sum(), case), wanted, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_with_a_certain_positive_the_tiles_and_the_matrix_agree() -> None:
    case = make_case(1)
    given = (case.queries.float(), case.candidates.float(), torch.tensor(ITEMS))
    options: dict[str, Any] = {"log_q_C": case.log_q.float(), "counts_C": torch.tensor(COUNTS), "certain_positive": True}
    by_row = in_batch_softmax(*given, **options, reduction="none")
    assert in_batch_softmax(*given, **options, reduction="sum").item() == pytest.approx(by_row.sum().item(), rel=1e-5)


def test_nothing_drawn_but_the_certain_positive_is_a_loss_of_zero() -> None:
    queries = torch.ones(3, 2).requires_grad_()
    own, log_q = torch.zeros(3, dtype=torch.int64), torch.zeros(1)
    for reduction in ("mean", "none"):
        options: dict[str, Any] = {"log_q_C": log_q, "certain_positive": True, "reduction": reduction}
        loss = in_batch_softmax(queries, torch.ones(1, 2), own, counts_C=torch.tensor([3]), **options)
        assert loss.abs().sum().item() == pytest.approx(0, abs=1e-6)
        assert torch.autograd.grad(loss.sum(), queries)[0].abs().sum().item() == pytest.approx(0, abs=1e-6)


def mean_gradients(draws: int, batches: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the scores of a small catalogue: under the full softmax, with log-Q, and with its correction, over many batches."""
    q = torch.tensor([0.4, 0.25, 0.15, 0.1, 0.06, 0.04], dtype=torch.float64)
    scores = torch.tensor([0.8, -0.5, 0.4, 1.2, -1.0, 0.3], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    items = torch.arange(len(q))
    own = torch.multinomial(q, batches, replacement=True, generator=generator)
    found = torch.zeros(3, len(q), dtype=torch.float64)
    for item in own.tolist():
        drawn = torch.multinomial(q, draws, replacement=True, generator=generator)
        counts = torch.bincount(torch.cat([drawn, torch.tensor([item])]), minlength=len(q))
        there = counts > 0
        column = int(there[:item].sum())
        # one query whose scores are the candidates themselves
        candidates = scores[there][:, None].clone().requires_grad_()
        query = torch.ones(1, 1, dtype=torch.float64)
        for place, certain in ((1, False), (2, True)):
            loss = in_batch_softmax(
                query,
                candidates,
                torch.tensor([column]),
                counts_C=counts[there],
                log_q_C=q[there].log(),
                certain_positive=certain,
            )
            found[place, items[there]] += torch.autograd.grad(loss, candidates)[0].squeeze(1) / batches
        found[0] += (scores.softmax(0) - torch.nn.functional.one_hot(torch.tensor(item), len(q))) / batches
    return found[0], found[1], found[2]


@pytest.mark.parametrize("draws", [64, 256])
def test_of_many_draws_a_certain_positive_is_nearer_to_the_full_softmax(draws: int) -> None:
    full, plain, corrected = mean_gradients(draws, 700)
    far, near = (float((found - full).norm() / full.norm()) for found in (plain, corrected))
    # what is left of the one goes with the number of draws; of the other it stays
    assert far > 0.15
    assert near < 3 / draws


@pytest.mark.parametrize("options", [{"hard_negatives": 2}, {"mask_accidental_hits": False}])
def test_what_a_certain_positive_does_not_go_with_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs masked accidental hits and all negatives; came"):
        InBatchSoftmax(log_q="corrected", **options)
    with pytest.raises(ValueError, match=r"needs log_q_C, masked accidental hits and all negatives; came"):
        in_batch_softmax(torch.eye(2), torch.eye(2), torch.arange(2), log_q_C=torch.zeros(2), certain_positive=True, **options)


def test_the_corrected_module_is_the_function_with_a_certain_positive() -> None:
    case = make_case(6)
    loss = InBatchSoftmax(0.5, log_q="corrected")
    assert (loss.uses_log_q, loss.certain_positive) == (True, True)
    given = (case.queries, case.candidates, torch.tensor(ITEMS))
    options: dict[str, Any] = {"log_q_C": case.log_q, "counts_C": torch.tensor(COUNTS)}
    wanted = in_batch_softmax(*given, **options, temperature=0.5, certain_positive=True)
    assert loss(*given, **options).item() == wanted.item()
    assert loss(*given, **options).item() != InBatchSoftmax(0.5, log_q=True)(*given, **options).item()
    with pytest.raises(ValueError, match=r"made with log_q=corrected, and log_q_C was not given"):
        loss(*given)
