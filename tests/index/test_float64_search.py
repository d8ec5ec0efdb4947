"""Search in float64 throughout: against sorting all scores, and its two parts alone."""

from __future__ import annotations

import torch

from twotower.index.float64_search import Float64Search, LeaveOut, top_columns
from twotower.types import Ragged


def test_against_sorting_all_scores() -> None:
    generator = torch.Generator().manual_seed(0)
    for seed in range(20):
        num_vectors, num_queries, k = 50 + 13 * seed, seed % 4, 1 + 3 * seed
        vectors_ND = torch.randint(-3, 4, (num_vectors, 5), generator=generator).float()
        queries_BD = torch.randint(-3, 4, (num_queries, 5), generator=generator).float()
        scores_BN, rows_BN = (queries_BD @ vectors_ND.T).sort(dim=1, descending=True, stable=True)
        for tile_bytes in (1, 900, 10**6):
            found = Float64Search(vectors_ND, tile_bytes).search(queries_BD, k, None, None)
            assert torch.equal(found.rows_BK[:, :num_vectors], rows_BN[:, :k])
            assert torch.equal(found.scores_BK[:, :num_vectors], scores_BN[:, :k])


def test_left_out_places_are_of_the_tile() -> None:
    leave_out = LeaveOut(Ragged(torch.tensor([7, 3, 5, 3, 0]), torch.tensor([0, 2, 2, 5])))
    queries, columns = leave_out.places(3, 7)
    assert sorted(zip(queries.tolist(), columns.tolist(), strict=True)) == [(0, 0), (2, 0), (2, 2)]
    assert leave_out.places(8, 20)[0].tolist() == []


def test_top_columns_breaks_ties_by_column() -> None:
    scores_BT = torch.tensor([[1.0, 2.0, 1.0, 1.0, 0.0], [3.0, 3.0, 3.0, 3.0, 4.0]])
    found = top_columns(scores_BT, 3)
    assert found.rows_BK.tolist() == [[1, 0, 2], [4, 0, 1]]
    assert found.scores_BK.tolist() == [[2.0, 1.0, 1.0], [4.0, 3.0, 3.0]]
