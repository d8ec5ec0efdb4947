"""The loss in tiles against the same loss written out, whatever the tile."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twotower.losses import softmax_cross_entropy
from twotower.losses.logits import Precision
from twotower.losses.native_tiles import NativeTiles
from twotower.losses.tiled import fits_tiles, tiled_cross_entropy

B, C, D = 11, 7, 3


@pytest.fixture(params=["kernel", "torch"], autouse=True)
def _with_and_without_the_kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_NATIVE", "1" if request.param == "kernel" else "0")


class Case:
    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(3)
        self.queries = torch.randn(B, D, generator=generator, dtype=dtype).requires_grad_()
        self.candidates = torch.randn(C, D, generator=generator, dtype=dtype).requires_grad_()
        self.positives = torch.randint(0, C, (B,), generator=generator)
        self.coefficients = torch.rand(B, generator=generator, dtype=dtype)
        self.coefficients[4] = 0
        self.bias = torch.randn(C, generator=generator, dtype=dtype)
        self.shift = torch.randn(B, generator=generator, dtype=dtype)
        self.masked = torch.rand(B, C, generator=generator) < 0.3

    def pairs(self) -> tuple[Tensor, Tensor]:
        rows, columns = self.masked.nonzero().T
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(5))
        return rows[order], columns[order]

    def written_out(self, *, bias: bool, shift: bool, masked: bool) -> Tensor:
        logits = self.queries @ self.candidates.T
        if bias:
            logits = logits + self.bias
        own = torch.zeros(B, C, dtype=torch.bool)
        own[torch.arange(B), self.positives] = True
        if shift:
            logits = logits + own * self.shift[:, None]
        if masked:
            logits = logits.masked_fill(self.masked & ~own, -torch.inf)
        return (softmax_cross_entropy(logits, self.positives, reduction="none") * self.coefficients).sum()


@pytest.mark.parametrize("tile_bytes", [1, 8 * C, 8 * C * 4, 8 * C * B, 2**20])
@pytest.mark.parametrize(("bias", "shift", "masked"), [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
def test_value_and_gradients_are_those_of_the_written_out_loss(bias: bool, shift: bool, masked: bool, tile_bytes: int) -> None:
    for as_pairs in (False, True):
        ours, theirs = Case(), Case()
        mask = ours.pairs() if as_pairs else ours.masked
        value = tiled_cross_entropy(
            ours.queries,
            ours.candidates,
            ours.positives,
            ours.coefficients,
            bias_C=ours.bias if bias else None,
            own_shift_B=ours.shift if shift else None,
            masked=mask if masked else None,
            tile_bytes=tile_bytes,
        )
        expected = theirs.written_out(bias=bias, shift=shift, masked=masked)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
        (3 * value).backward()  # type: ignore[no-untyped-call]
        (3 * expected).backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(ours.queries.grad, theirs.queries.grad, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(ours.candidates.grad, theirs.candidates.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("threads", [2, 3, 50])
def test_tiles_side_by_side_are_those_of_one_thread(
    threads: int, precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for least in (10**9, 0):
        monkeypatch.setattr("twotower.losses.tiles._LEAST_PRODUCTS", least)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        case = Case(torch.float32)
        value = tiled_cross_entropy(
            case.queries,
            case.candidates,
            case.positives,
            case.coefficients,
            bias_C=case.bias,
            own_shift_B=case.shift,
            masked=case.masked,
            tile_bytes=4 * C * 2,
            precision=precision,
        )
        value.backward()  # type: ignore[no-untyped-call]
        found.append((value.detach(), case.queries.grad, case.candidates.grad))
    for one, several in zip(*found, strict=True):
        torch.testing.assert_close(several, one, rtol=1e-5, atol=1e-6)
    with torch.inference_mode():
        assert tiled_cross_entropy(case.queries, case.candidates, case.positives, case.coefficients, tile_bytes=4 * C * 2) > 0


def test_gradients_are_those_of_small_steps() -> None:
    case = Case()

    def loss(queries: Tensor, candidates: Tensor) -> Tensor:
        return tiled_cross_entropy(
            queries, candidates, case.positives, case.coefficients, bias_C=case.bias, masked=case.masked, tile_bytes=8 * C * 3
        )

    assert torch.autograd.gradcheck(loss, (case.queries, case.candidates))


def test_a_masked_candidate_that_nobody_chose_has_a_gradient_of_exactly_0() -> None:
    case = Case()
    case.positives.clamp_(max=C - 2)
    case.masked[:, C - 1] = True
    tiled_cross_entropy(case.queries, case.candidates, case.positives, case.coefficients, masked=case.masked).backward()  # type: ignore[no-untyped-call]
    assert case.candidates.grad is not None
    assert case.candidates.grad[C - 1].tolist() == [0.0, 0.0, 0.0]
    assert case.candidates.grad[: C - 1].abs().min() > 0


def test_scores_that_exponentials_can_not_hold() -> None:
    """An own candidate that scores 1,000 below another has a probability of 0 in float32, and a loss of 1,000."""
    queries = torch.tensor([[1000.0]], requires_grad=True)
    candidates = torch.tensor([[1.0], [0.0]], requires_grad=True)
    value = tiled_cross_entropy(queries, candidates, torch.tensor([1]), torch.ones(1))
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 1000
    assert queries.grad is not None
    assert queries.grad.tolist() == [[1.0]]


def test_nothing_is_kept_where_no_gradient_is_wanted() -> None:
    case = Case(torch.float32)
    with torch.no_grad():
        silent = tiled_cross_entropy(case.queries, case.candidates, case.positives, case.coefficients)
    assert not silent.requires_grad
    loud = tiled_cross_entropy(case.queries, case.candidates, case.positives, case.coefficients)
    assert loud.requires_grad
    assert torch.equal(silent, loud.detach())


def test_what_is_not_finite_is_not_hidden() -> None:
    case = Case()
    with torch.no_grad():
        case.queries[2, 1] = torch.nan
    value = tiled_cross_entropy(case.queries, case.candidates, case.positives, case.coefficients)
    assert bool(value.isnan())


def test_vectors_of_no_width_are_left_to_the_loss_that_is_written_out() -> None:
    assert fits_tiles(torch.zeros(2, 3))
    assert not fits_tiles(torch.zeros(2, 0))


def test_tiles_of_many_candidates_hold_a_few_dozen_queries() -> None:
    generator = torch.Generator().manual_seed(0)
    # a megabyte would be the logits of 13 queries
    queries, candidates = torch.randn(150, 4, generator=generator), torch.randn(20_000, 4, generator=generator)
    positives, coefficients = torch.arange(150), torch.rand(150, generator=generator)
    logits = queries.double() @ candidates.double().T
    expected = (coefficients * (logits.logsumexp(1) - logits[torch.arange(150), positives])).sum()
    for tile_bytes in (None, 2**20):
        torch.testing.assert_close(
            tiled_cross_entropy(queries, candidates, positives, coefficients, tile_bytes=tile_bytes).double(), expected
        )


def rounded(values: Tensor) -> Tensor:
    return values.to(torch.bfloat16).double()


@pytest.mark.parametrize("tile_bytes", [1, 4 * C * 4, None])
@pytest.mark.parametrize("bias", [False, True])
def test_narrow_products_are_the_loss_of_rounded_numbers(bias: bool, tile_bytes: int | None) -> None:
    narrow, wide, case = Case(torch.float32), Case(torch.float32), Case(torch.float32)
    values = {}
    for precision, found in (("bfloat16", narrow), ("float32", wide)):
        values[precision] = tiled_cross_entropy(
            found.queries,
            found.candidates,
            found.positives,
            found.coefficients,
            bias_C=found.bias if bias else None,
            own_shift_B=found.shift,
            masked=found.masked,
            tile_bytes=tile_bytes,
            precision=precision,  # type: ignore[arg-type]
        )
        values[precision].backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        own = torch.nn.functional.one_hot(case.positives, C).bool()
        logits = rounded(case.queries) @ rounded(case.candidates).T
        if NativeTiles.open(case.queries, case.candidates, None, "bfloat16") is None:
            logits = rounded(logits)  # what comes out of torch's products has 8 bits too
        logits = logits + own * case.shift[:, None] + (case.bias.double() if bias else 0)
        logits = logits.masked_fill(case.masked & ~own, -torch.inf)
        losses = logits.logsumexp(1) - logits[own]
        gradient = rounded((logits.softmax(1) - own.double()) * case.coefficients[:, None].double())
        expected_queries, expected_candidates = gradient @ rounded(case.candidates), gradient.T @ rounded(case.queries)
    torch.testing.assert_close(values["bfloat16"].detach().double(), (losses * case.coefficients).sum(), rtol=1e-5, atol=1e-5)
    assert abs(float((values["bfloat16"] - values["float32"]).detach())) > 1e-5
    for found_grad, expected, wide_grad in (
        (narrow.queries.grad, expected_queries, wide.queries.grad),
        (narrow.candidates.grad, expected_candidates, wide.candidates.grad),
    ):
        assert found_grad is not None
        assert found_grad.dtype == torch.float32
        torch.testing.assert_close(found_grad.double(), expected, rtol=2**-7, atol=2**-8)
        assert not torch.equal(found_grad, wide_grad)  # type: ignore[arg-type]
