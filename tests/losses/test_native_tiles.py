"""The loss by the kernel against the same loss in float64, for sizes that fill its blocks and sizes that don't."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

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
