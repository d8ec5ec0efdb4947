"""Exact search on a GPU against float64 throughout on the CPU: the same rows in the same order."""

from __future__ import annotations

import pytest
import torch
from cuda_device import CUDA, ON_CUDA, float32_products

from twotower.index import ExactIndex
from twotower.index.exact import FirstPassChoice
from twotower.index.float64_search import Float64Search
from twotower.types import Ragged

pytestmark = ON_CUDA

TILE_BYTES = 16 * 2**20


def vectors_of(kind: str, seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if kind == "ties":
        return torch.randint(-2, 3, shape, generator=generator).float()
    return torch.randn(*shape, generator=generator)


@pytest.mark.parametrize("allowed_share", [None, 0.9, 0.1, 0.001])
@pytest.mark.parametrize("excluding", [False, True], ids=["all", "excluded"])
@pytest.mark.parametrize("kind", ["real", "ties"])
def test_the_rows_are_those_of_float64(kind: str, excluding: bool, allowed_share: float | None) -> None:
    vectors_ND = vectors_of(kind, 0, 40_000, 24)
    allowed = None
    if allowed_share is not None:
        allowed = torch.rand(len(vectors_ND), generator=torch.Generator().manual_seed(1)) < allowed_share
    index = ExactIndex.build(vectors_ND.to(CUDA))
    expected = Float64Search(vectors_ND, TILE_BYTES)
    for num_queries in (1, 70, 600):
        queries_BD = vectors_of(kind, 2, num_queries, 24)
        excluded = None
        if excluding:  # the best among them
            best_BK = expected.search(queries_BD, 5, None, allowed).rows_BK.clamp(min=0)
            excluded = Ragged(best_BK.reshape(-1), 5 * torch.arange(num_queries + 1))
        for k in (1, 100):
            oracle = expected.search(queries_BD, k, excluded, allowed)
            for device in (CUDA, torch.device("cpu")):  # queries come to the index
                left_out = None if excluded is None else excluded.to(device)
                mask = None if allowed is None else allowed.to(device)
                found = index.search(queries_BD.to(device), k, excluded=left_out, allowed=mask)
                assert found.rows_BK.device.type == found.scores_BK.device.type == CUDA.type
                assert torch.equal(found.rows_BK.cpu(), oracle.rows_BK)
                torch.testing.assert_close(found.scores_BK.cpu(), oracle.scores_BK, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("first_pass", ["float32", "bfloat16"])
@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_of_fewer_bits_find_the_same(precision: str, first_pass: FirstPassChoice) -> None:
    vectors_ND, queries_BD = vectors_of("real", 0, 40_000, 64), vectors_of("real", 2, 100, 64)
    oracle = Float64Search(vectors_ND, TILE_BYTES).search(queries_BD, 50, None, None)
    with float32_products(precision):
        found = ExactIndex.build(vectors_ND.to(CUDA), first_pass=first_pass).search(queries_BD.to(CUDA), 50)
    assert torch.equal(found.rows_BK.cpu(), oracle.rows_BK)


@pytest.mark.parametrize("kind", ["real", "ties"])
def test_the_best_of_given_rows_are_those_of_the_cpu(kind: str) -> None:
    vectors_ND, queries_BD = vectors_of(kind, 0, 5_000, 24), vectors_of(kind, 2, 40, 24)
    rows_BS = torch.stack([torch.randperm(5_000, generator=torch.Generator().manual_seed(row))[:200] for row in range(40)])
    rows_BS[:, 150:] = -1
    oracle = ExactIndex.build(vectors_ND).best_of(queries_BD, rows_BS, 30)
    found = ExactIndex.build(vectors_ND.to(CUDA)).best_of(queries_BD.to(CUDA), rows_BS.to(CUDA), 30)
    assert found.rows_BK.device.type == CUDA.type
    assert torch.equal(found.rows_BK.cpu(), oracle.rows_BK)
