"""The loss by the kernel against the same loss in float64, for sizes that fill its blocks and sizes that don't."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twotower.losses.in_batch import in_batch_softmax
from twotower.losses.logits import Precision
from twotower.losses.native_tiles import NativeTiles
from twotower.losses.tiled import tiled_cross_entropy
from twotower.native import native_library, native_status

pytestmark = pytest.mark.skipif(not native_status("softmax").available, reason="there is no C compiler")


def inputs(num_queries: int, num_candidates: int, dim: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "queries": torch.randn(num_queries, dim, generator=generator),
        "candidates": torch.randn(num_candidates, dim, generator=generator),
        "positives": torch.randint(0, num_candidates, (num_queries,), generator=generator),
        "coefficients": torch.rand(num_queries, generator=generator),
        "bias": torch.randn(num_candidates, generator=generator),
        "shift": -torch.rand(num_queries, generator=generator) * 60,
        "masked": torch.rand(num_queries, num_candidates, generator=generator) < 0.3,
    }


def loss(
    given: dict[str, Tensor], dtype: torch.dtype, *, tile_bytes: int | None = None, precision: Precision = "float32"
) -> tuple[Tensor, Tensor, Tensor]:
    queries, candidates = (given[name].to(dtype, copy=True).requires_grad_() for name in ("queries", "candidates"))
    value = tiled_cross_entropy(
        queries,
        candidates,
        given["positives"],
        given["coefficients"].to(dtype),
        bias_C=given["bias"],
        own_shift_B=given["shift"],
        masked=given["masked"],
        tile_bytes=tile_bytes,
        precision=precision,
    )
    value.backward()  # type: ignore[no-untyped-call]
    assert queries.grad is not None
    assert candidates.grad is not None
    return value.detach(), queries.grad, candidates.grad


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dim", [1, 15, 16, 17, 32, 48, 100])
@pytest.mark.parametrize(("num_queries", "num_candidates"), [(1, 1), (7, 5), (8, 48), (9, 49), (65, 1000), (130, 769)])
def test_against_float64(
    num_queries: int, num_candidates: int, dim: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("twotower.losses.tiles._LEAST_PRODUCTS", 0)
    given = inputs(num_queries, num_candidates, dim)
    for tile_bytes in (None, 1, 4 * num_candidates * 11):
        for ours, exact in zip(loss(given, torch.float32, tile_bytes=tile_bytes), loss(given, torch.float64), strict=True):
            torch.testing.assert_close(ours.double(), exact, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dim", [1, 16, 33, 64])
@pytest.mark.parametrize(("num_queries", "num_candidates"), [(1, 1), (7, 5), (9, 48), (65, 1000), (130, 769)])
def test_narrow_products_against_float64_of_narrow_numbers(
    num_queries: int, num_candidates: int, dim: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("twotower.losses.tiles._LEAST_PRODUCTS", 0)
    given = inputs(num_queries, num_candidates, dim)
    for name in ("queries", "candidates"):  # numbers that are narrow already: only the gradient of a logit is rounded
        given[name] = given[name].to(torch.bfloat16).float()
    assert (NativeTiles.open(given["queries"], given["candidates"], None, "bfloat16") is None) == (not narrow_is_there())
    exact = loss(given, torch.float64)
    for tile_bytes in (None, 1, 4 * num_candidates * 11):
        found = loss(given, torch.float32, tile_bytes=tile_bytes, precision="bfloat16")
        torch.testing.assert_close(found[0].double(), exact[0], rtol=1e-5 if narrow_is_there() else 1e-2, atol=1e-5)
        for ours, wide in zip(found[1:], exact[1:], strict=True):
            assert float((ours - wide).norm()) <= 2**-7 * float(wide.norm()) + 1e-4


def narrow_is_there() -> bool:
    library = native_library("softmax")
    return library is not None and bool(library.softmax_narrow())


def test_the_kernel_is_what_works_on_float32() -> None:
    given = inputs(3, 4, 5)
    assert NativeTiles.open(given["queries"], given["candidates"], None) is not None
    assert NativeTiles.open(given["queries"].double(), given["candidates"].double(), None) is None


@pytest.mark.parametrize("name", ["queries", "candidates", "bias"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_makes_the_loss_none(name: str, value: float) -> None:
    given = inputs(20, 70, 32)
    given["masked"][:] = False
    given[name].view(-1)[33 if name != "bias" else 3] = value
    assert not bool(loss(given, torch.float32)[0].isfinite())


def test_logits_far_apart() -> None:
    given = inputs(20, 70, 32)
    for name in ("queries", "candidates"):
        given[name] *= 40
    for ours, exact in zip(loss(given, torch.float32), loss(given, torch.float64), strict=True):
        assert bool(ours.isfinite().all())
        torch.testing.assert_close(ours.double(), exact, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("positive", [-1, 70])
def test_a_positive_that_is_no_candidate(positive: int) -> None:
    given = inputs(20, 70, 32)
    given["positives"][5] = positive
    with pytest.raises(ValueError, match=rf"query 5: .* candidates, 0 to 69; its positive is {positive}"):
        loss(given, torch.float32)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("most", [1, 3, 16, 40, 700, 5000])
@pytest.mark.parametrize(("num_queries", "num_candidates"), [(1, 1), (7, 5), (9, 49), (65, 1000), (40, 769)])
@pytest.mark.parametrize("repeats", [None, "masked", "negatives"])
def test_hard_negatives_against_the_whole_matrix(
    num_queries: int, num_candidates: int, most: int, repeats: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("twotower.losses.tiles._LEAST_PRODUCTS", 0)
    given = inputs(num_queries, num_candidates, 24)
    generator = torch.Generator().manual_seed(most)
    counts = None if repeats is None else torch.randint(1, 6, (num_candidates,), generator=generator).float()
    found = []
    for dtype, reduction in ((torch.float32, "sum"), (torch.float64, "sum"), (torch.float64, "none")):
        queries, candidates = (given[name].to(dtype, copy=True).requires_grad_() for name in ("queries", "candidates"))
        value = in_batch_softmax(
            queries,
            candidates,
            given["positives"],
            counts_C=counts,
            temperature=0.7,
            log_q_C=given["bias"],
            mask_accidental_hits=repeats != "negatives",
            masked=given["masked"] if most != 16 else None,
            hard_negatives=most,
            weights_B=given["coefficients"],
            reduction=reduction,  # type: ignore[arg-type]
        ).sum()
        value.backward()  # type: ignore[no-untyped-call]
        found.append([value.detach(), queries.grad, candidates.grad])
    kernel, tiles, matrix = found
    for one, two, three in zip(kernel, tiles, matrix, strict=True):
        assert one is not None
        assert two is not None
        assert three is not None
        torch.testing.assert_close(two, three, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(one.double(), three, rtol=3e-5, atol=3e-5)


@pytest.mark.parametrize("most", [1, 4, 30])
def test_of_equal_logits_as_many_are_kept_as_there_are_places(most: int) -> None:
    queries, candidates = torch.ones(3, 8), torch.ones(60, 8)  # all the same: whichever are kept, the loss is
    counts = torch.full((60,), 3.0)
    for copies in (False, True):
        losses = in_batch_softmax(
            queries,
            candidates,
            torch.tensor([0, 5, 59]),
            counts_C=counts,
            mask_accidental_hits=not copies,
            hard_negatives=most,
            reduction="mean",
        )
        torch.testing.assert_close(losses, torch.tensor(float(most + 1)).log())


def test_hard_negatives_of_what_is_no_number() -> None:
    queries, candidates = torch.ones(2, 8), torch.ones(50, 8)
    queries[1] = torch.nan
    value = in_batch_softmax(queries, candidates, torch.tensor([0, 1]), hard_negatives=3, reduction="sum")
    assert bool(value.isnan())
    for rows in (60, 500):  # without and with a first look at maxima
        candidates, queries = torch.randn(rows, 8), torch.ones(2, 8)
        candidates[rows // 2, 3] = torch.nan
        assert bool(in_batch_softmax(queries, candidates, torch.tensor([0, 1]), hard_negatives=3, reduction="sum").isnan())
    candidates[:, 0] = -torch.inf
    assert bool(in_batch_softmax(queries, candidates, torch.tensor([0, 1]), hard_negatives=3, reduction="sum").isnan())


def test_hard_negatives_of_narrow_products() -> None:
    given = inputs(40, 300, 32)
    for name in ("queries", "candidates"):
        given[name] = given[name].to(torch.bfloat16).float()
    options = {"hard_negatives": 7, "reduction": "sum"}
    exact = in_batch_softmax(given["queries"].double(), given["candidates"].double(), given["positives"], **options)  # type: ignore[arg-type]
    found = in_batch_softmax(given["queries"], given["candidates"], given["positives"], precision="bfloat16", **options)  # type: ignore[arg-type]
    torch.testing.assert_close(found.double(), exact, rtol=1e-4 if narrow_is_there() else 1e-2, atol=1e-4)
