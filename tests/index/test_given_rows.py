"""The best of given rows: in C and in numpy, against a sort of everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from twotower.index import ExactIndex, given_rows
from twotower.index.given_rows import best_of_rows
from twotower.types import Ragged


@pytest.fixture(params=["c", "numpy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(given_rows, "_library", lambda: None)
    elif given_rows._library() is None:
        pytest.skip("there is no C compiler")
    return str(request.param)


@pytest.mark.parametrize("num_queries", [0, 1, 3, 70])
@pytest.mark.parametrize("dim", [1, 7, 64])
def test_against_exact_search_of_a_mask(way: str, num_queries: int, dim: int) -> None:
    generator = torch.Generator().manual_seed(dim)
    vectors_ND = torch.randint(-2, 3, (300, dim), generator=generator).float()
    queries_BD = torch.randint(-2, 3, (num_queries, dim), generator=generator).float()
    rows = torch.randperm(300, generator=generator)[:50]
    given = torch.cat([rows, torch.tensor([-1, -1])])[torch.randperm(52, generator=generator)]
    excluded = Ragged(torch.randint(0, 300, (num_queries * 40,), generator=generator), torch.arange(num_queries + 1) * 40)
    allowed = torch.rand(300, generator=generator) < 0.5
    own = torch.zeros(300, dtype=torch.bool).index_fill_(0, rows, True)
    exact = ExactIndex.build(vectors_ND)
    for left_out, mask in ((None, None), (excluded, None), (None, allowed), (excluded, allowed)):
        for k in (1, 10, 60):
            found = best_of_rows(vectors_ND, queries_BD, given.expand(num_queries, -1), k, left_out, mask)
            expected = exact._slow.search(queries_BD, k, left_out, own if mask is None else own & mask)
            assert torch.equal(found.rows_BK, expected.rows_BK)
            assert torch.equal(found.scores_BK, expected.scores_BK)


def test_every_query_has_rows_of_its_own(way: str) -> None:
    found = best_of_rows(torch.tensor([[1.0], [2.0], [3.0]]), torch.ones(2, 1), torch.tensor([[0, 1], [2, -1]]), 2)
    assert found.rows_BK.tolist() == [[1, 0], [2, -1]]
    assert found.scores_BK.tolist() == [[2.0, 1.0], [3.0, float("-inf")]]


def test_no_rows_and_no_vectors(way: str) -> None:
    assert (
        best_of_rows(torch.ones(3, 2), torch.ones(2, 2), torch.empty(2, 0, dtype=torch.int64), 1).rows_BK.tolist() == [[-1]] * 2
    )
    assert best_of_rows(torch.empty(0, 2), torch.ones(1, 2), torch.tensor([[-1]]), 1).rows_BK.tolist() == [[-1]]


def test_rows_and_queries_that_are_views(way: str) -> None:
    vectors_ND = torch.arange(10.0).unsqueeze(1)
    rows_SB = torch.tensor([[1, 2], [3, 4], [5, 6]])
    queries_BD = torch.tensor([[1.0, 9.0], [-1.0, 9.0]])[:, :1]
    assert best_of_rows(vectors_ND, queries_BD, rows_SB.T, 2).rows_BK.tolist() == [[5, 3], [2, 4]]


def test_scores_are_sums_in_float64(way: str) -> None:
    # in float32 the sum of these is 0 or 2
    vectors_ND = torch.tensor([[2.0**30, 1.0, -(2.0**30), 1.0, 1.0]])
    assert best_of_rows(vectors_ND, torch.ones(1, 5), torch.zeros(1, 1, dtype=torch.int64), 1).scores_BK.tolist() == [[3.0]]


def test_the_scores_of_exact_search(way: str) -> None:
    generator = torch.Generator().manual_seed(0)
    vectors_ND, queries_BD = torch.randn(2000, 33, generator=generator), torch.randn(20, 33, generator=generator)
    expected = ExactIndex.build(vectors_ND).search(queries_BD, 50)
    shuffled_BK = expected.rows_BK[:, torch.from_numpy(np.random.default_rng(0).permutation(50))]
    found = best_of_rows(vectors_ND, queries_BD, shuffled_BK, 50)
    assert torch.equal(found.rows_BK, expected.rows_BK)
    assert torch.equal(found.scores_BK, expected.scores_BK)
