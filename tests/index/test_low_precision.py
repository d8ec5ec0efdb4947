"""Products in few bits: never further from the exact score than the bounds say, and bounds that say something."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twotower.index.low_precision import FIRST_PASSES, LANES, TILE_ROWS, FirstPass, LowPrecision, multiply
from twotower.index.quickest import can_multiply

KINDS = [kind for kind in FIRST_PASSES if can_multiply(kind, 48)]


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def errors_and_bounds(vectors_ND: Tensor, queries_BD: Tensor, kind: FirstPass) -> tuple[Tensor, Tensor]:
    """Of every pair, in the units of the bounds."""
    unit = LowPrecision.unit_of(float(vectors_ND.double().norm(dim=1).max()), vectors_ND.shape[1])
    assert unit is not None
    low = LowPrecision(vectors_ND, kind, unit, rows_at_once=TILE_ROWS)
    queries = low.queries(queries_BD)
    products_NB = torch.empty(len(vectors_ND), len(queries_BD), dtype=low.out_dtype)
    multiply(low.low_ND, queries.low_DB, products_NB)
    row = torch.arange(len(vectors_ND))
    block = row // TILE_ROWS * LANES + row % LANES
    scores_NB = products_NB.double() * low.scale_M[block, None] * queries.scale_B
    exact_NB = (vectors_ND.double() @ queries_BD.double().T).float().double() / (queries.unit_B * unit)
    bounds_NB = low.lengths_M[block, None] * queries.of_lengths_B + low.residuals_M[block, None] * queries.of_residuals_B
    return (scores_NB - exact_NB).abs(), bounds_NB


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dim", [1, 3, 48])
def test_the_bounds_hold_and_are_not_idle(kind: FirstPass, dim: int) -> None:
    for seed in range(6):
        vectors_ND, queries_BD = normal(seed, 5_000, dim), normal(seed + 100, 60, dim)
        if seed % 2:
            vectors_ND *= torch.pow(10.0, 3 * normal(seed, 5_000, 1))
        errors_NB, bounds_NB = errors_and_bounds(vectors_ND, queries_BD, kind)
        assert bool((errors_NB <= bounds_NB + 2.0**-20).all())
        if seed == 0 and kind != "float32":
            assert float((errors_NB / bounds_NB).max()) > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_the_worst_that_rounding_can_do(kind: FirstPass) -> None:
    # every entry lies halfway between two steps, and all losses have the sign of the query
    entries = {"int8": 10.5, "bfloat16": 1 + 2.0**-8, "float32": 1 + 2.0**-23}
    vectors_ND = torch.full((3_000, 48), entries[kind])
    vectors_ND[:, 0] = 127.0
    queries_BD = torch.ones(2, 48)
    queries_BD[:, 0] = 0.0
    errors_NB, bounds_NB = errors_and_bounds(vectors_ND, queries_BD, kind)
    assert bool((errors_NB <= bounds_NB).all())
    if kind == "int8":
        assert float(errors_NB.max()) > 0.4 * float(bounds_NB.max())


@pytest.mark.parametrize(("kind", "share"), [("float32", 0.0), ("bfloat16", 0.01), ("int8", 0.02)])
def test_what_is_lost_of_a_vector(kind: FirstPass, share: float) -> None:
    low = LowPrecision(normal(0, 4_096, 64), kind, 16.0)
    lost = float((low.residuals_M / low.lengths_M).max())
    assert lost < share + 1e-5
    assert lost > share / 10


def test_the_copy_and_its_blocks() -> None:
    vectors_ND = torch.zeros(TILE_ROWS + 5, 2)
    vectors_ND[3], vectors_ND[3 + LANES], vectors_ND[TILE_ROWS + 3] = torch.tensor([[2.0, -1.0], [0.5, 0.0], [0.0, 0.25]])
    low = LowPrecision(vectors_ND, "int8", 4.0)
    assert low.low_ND[[3, 3 + LANES, TILE_ROWS + 3]].tolist() == [[127, -64], [32, 0], [0, 127]]
    assert len(low.scale_M) == 2 * LANES
    torch.testing.assert_close(low.scale_M[[3, LANES + 3]] * 127 * 4, torch.tensor([2.0, 0.25], dtype=torch.float64))
    torch.testing.assert_close(
        low.lengths_M[[3, LANES + 3]] * 4, torch.tensor([5**0.5, 0.25], dtype=torch.float64), rtol=1e-5, atol=0
    )
    assert low.lengths_M[4] == 0
    assert LowPrecision(vectors_ND, "float32", 4.0).low_ND is vectors_ND


def test_limits_are_products_that_may_reach_the_floor() -> None:
    vectors_ND, queries_BD = normal(1, 2_048, 16), normal(2, 8, 16)
    for kind in KINDS:
        low = LowPrecision(vectors_ND, kind, 16.0)
        queries = low.queries(queries_BD)
        products_NB = torch.empty(2_048, 8, dtype=low.out_dtype)
        multiply(low.low_ND, queries.low_DB, products_NB)
        exact_NB = vectors_ND.double() @ queries_BD.double().T / (queries.unit_B * 16.0)
        floor_B = torch.full((8,), 0.05, dtype=torch.float64)
        limits_MB = low.limits(low.limit_terms(queries, floor_B), slice(0, LANES), torch.empty(LANES, 8)).repeat(
            2_048 // LANES, 1
        )
        reach_NB = products_NB.double() >= limits_MB
        assert bool(reach_NB[exact_NB >= floor_B].all())
        assert reach_NB.sum() < 1.2 * (exact_NB >= floor_B).sum()
        none_B = torch.full((8,), -torch.inf, dtype=torch.float64)
        limits_MB = low.limits(low.limit_terms(queries, none_B), slice(0, LANES), torch.empty(LANES, 8))
        assert low.mask < float(limits_MB.min()) <= float(limits_MB.max()) < float(products_NB.min())


def test_lower_bounds_of_blocks() -> None:
    vectors_ND, query_1D = normal(3, 2_048, 16), normal(4, 1, 16)
    for kind in KINDS:
        low = LowPrecision(vectors_ND, kind, 16.0)
        query = low.queries(query_1D)
        products_N1 = torch.empty(2_048, 1, dtype=low.out_dtype)
        multiply(low.low_ND, query.low_DB, products_N1)
        best_M = products_N1.view(-1, LANES).amax(dim=0)
        lower_M = low.lower_bounds(best_M, query, slice(0, LANES))
        exact_M = (vectors_ND.double() @ query_1D[0].double()).view(-1, LANES).amax(dim=0) / (query.unit_B * 16.0)
        assert bool((lower_M <= exact_M).all())
        assert bool((lower_M >= exact_M - 0.05).all())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "int8"])
def test_upper_bounds_of_blocks_and_of_their_rows(kind: FirstPass) -> None:
    vectors_ND, queries_BD = normal(7, 2 * TILE_ROWS, 16), normal(8, 3, 16)
    vectors_ND[:TILE_ROWS] *= 0.1
    low = LowPrecision(vectors_ND, kind, 16.0)
    queries = low.queries(queries_BD, "medium")
    products_BMG = normal(9, 3, LANES, 5)
    scale = 1.0 if kind == "bfloat16" else 1 / 16
    for blocks in (slice(LANES, 2 * LANES), torch.arange(LANES).repeat(3, 1) + torch.tensor([0, LANES, 5]).unsqueeze(1)):
        errors_BM = low.lengths_M[blocks] * queries.of_lengths_B.unsqueeze(1)
        errors_BM = errors_BM + low.residuals_M[blocks] * queries.of_residuals_B.unsqueeze(1)
        expected_BMG = products_BMG.double() * scale + errors_BM.unsqueeze(2) + 2.0**-20
        found_BMG = low.upper_bounds(products_BMG, queries, blocks)
        torch.testing.assert_close(found_BMG.double(), expected_BMG, rtol=0, atol=2e-6)
    whole, cut = low.queries(queries_BD).of_lengths_B, queries.of_lengths_B
    assert bool((cut > whole + 0.03).all()) if kind == "float32" else torch.equal(cut, whole)


def test_the_unit() -> None:
    assert LowPrecision.unit_of(0.75, 8) == 1.0
    assert LowPrecision.unit_of(1.0, 8) == 2.0
    assert LowPrecision.unit_of(0.0, 8) is None
    assert LowPrecision.unit_of(1e-20, 8) is None
    assert LowPrecision.unit_of(1e20, 8) is None
    assert LowPrecision.unit_of(1.0, 100_000) is None


def test_some_of_the_queries() -> None:
    low = LowPrecision(normal(5, 100, 4), "int8", 8.0)
    queries_BD = normal(6, 10, 4)
    some = torch.tensor([7, 2])
    taken, again = low.queries(queries_BD).take(some), low.queries(queries_BD[some])
    for part, expected in zip(taken, again, strict=True):
        assert torch.equal(part, expected)
