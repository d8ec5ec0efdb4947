"""Two passes against all products in float64: the same rows and the same scores, whatever the vectors are."""

from __future__ import annotations

from typing import Literal, TypeAlias

import pytest
import torch
from torch import Tensor

from twotower.index.certified_search import SMALLEST_TILE_BYTES, CertifiedSearch
from twotower.index.float64_search import Float64Search
from twotower.index.low_precision import FIRST_PASSES, FirstPass, LowPrecision
from twotower.index.native_search import NativeSearch
from twotower.index.quickest import can_multiply
from twotower.types import Ragged

Kind: TypeAlias = FirstPass | Literal["native"]
OWN_KINDS: list[FirstPass] = [kind for kind in FIRST_PASSES if can_multiply(kind, 24)]
KINDS: list[Kind] = [*OWN_KINDS, *(["native"] if NativeSearch.can_search(1) else [])]  # type: ignore[list-item]
LARGE = 2**24


def world(name: str, num_vectors: int, num_queries: int, dim: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    vectors_ND, queries_BD = normal(num_vectors, dim), normal(num_queries, dim)
    if name == "normalised":
        vectors_ND, queries_BD = torch.nn.functional.normalize(vectors_ND), torch.nn.functional.normalize(queries_BD)
    elif name == "clustered, in order":
        centres = torch.arange(num_vectors) * 20 // num_vectors
        vectors_ND = normal(20, dim)[centres] + 0.1 * vectors_ND
        queries_BD = normal(20, dim)[torch.arange(num_queries) % 20] + 0.1 * queries_BD
    elif name == "copies":
        vectors_ND = vectors_ND[torch.randint(0, 40 + num_vectors // 20, (num_vectors,), generator=generator)]
    elif name == "whole numbers":
        vectors_ND, queries_BD = (vectors_ND * 2).round(), (queries_BD * 2).round()
    elif name == "lengths apart":
        vectors_ND = vectors_ND * torch.pow(10.0, normal(num_vectors, 1) * 4).clamp(1e-12, 1e12)
        queries_BD = queries_BD * torch.pow(10.0, normal(num_queries, 1) * 4).clamp(1e-12, 1e12)
    elif name == "some zero":
        vectors_ND[torch.rand(num_vectors, generator=generator) < 0.5] = 0.0
        queries_BD[::5] = 0.0
    elif name == "all negative":
        vectors_ND, queries_BD = -vectors_ND.abs(), queries_BD.abs()
    elif name == "one direction":
        vectors_ND[:, 0] += 30
        queries_BD[:, 0] += 30
    else:
        assert name == "normal"
    return vectors_ND, queries_BD


WORLDS = [
    "normal", "normalised", "clustered, in order", "copies", "whole numbers", "lengths apart", "some zero", "all negative",
    "one direction",
]  # fmt: skip


def searching(vectors_ND: Tensor, kind: Kind, tile_bytes: int = LARGE) -> CertifiedSearch | NativeSearch:
    unit = LowPrecision.unit_of(float(vectors_ND.double().norm(dim=1).max()), vectors_ND.shape[1])
    assert unit is not None
    if kind == "native":
        return NativeSearch(vectors_ND, unit, tile_bytes)
    return CertifiedSearch(vectors_ND, kind, unit, tile_bytes)


def share_proved(
    vectors_ND: Tensor,
    queries_BD: Tensor,
    k: int,
    kind: Kind,
    excluded: Ragged | None = None,
    allowed: Tensor | None = None,
    tile_bytes: int = LARGE,
) -> float:
    """How many queries are proved; asserts that these have the same rows and scores, to the bit, as in float64."""
    expected = Float64Search(vectors_ND, LARGE).search(queries_BD, k, excluded, allowed)
    found, proved_B = searching(vectors_ND, kind, tile_bytes).search(queries_BD, k, excluded, allowed)
    assert torch.equal(found.rows_BK[proved_B], expected.rows_BK[proved_B])
    assert torch.equal(found.scores_BK[proved_B], expected.scores_BK[proved_B])
    return float(proved_B.float().mean())


def some_rows(num_queries: int, num_vectors: int, each: int, seed: int) -> Ragged:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, each + 1, (num_queries,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return Ragged(torch.randint(0, num_vectors, (int(offsets[-1]),), generator=generator), offsets)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("num_queries", [1, 3, 4, 70])
def test_what_is_proved_is_what_float64_finds(name: str, kind: Kind, num_queries: int) -> None:
    for seed in range(4):
        num_vectors, dim, k = ((9_000, 24, 10), (20_481, 3, 7), (6_143, 17, 1), (12_000, 1, 5))[seed]
        share_proved(*world(name, num_vectors, num_queries, dim, seed), k, kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_queries", [1, 3, 4, 70, 600])
@pytest.mark.parametrize("name", ["normal", "normalised", "all negative", "clustered, in order"])
def test_nearly_all_is_proved(name: str, kind: Kind, num_queries: int) -> None:
    vectors_ND, queries_BD = world(name, 30_000, num_queries, 32, 1)
    assert share_proved(vectors_ND, queries_BD, 20, kind) >= 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_queries", [1, 50])
def test_excluded_and_not_allowed_rows(kind: Kind, num_queries: int) -> None:
    vectors_ND, queries_BD = world("normal", 40_000, num_queries, 16, 2)
    for seed in range(3):
        excluded = some_rows(num_queries, 40_000, 60, seed)
        allowed = torch.rand(40_000, generator=torch.Generator().manual_seed(seed)) < (0.9, 0.5, 0.2)[seed]
        assert share_proved(vectors_ND, queries_BD, 10, kind, excluded) >= 0.9
        assert share_proved(vectors_ND, queries_BD, 10, kind, None, allowed) >= 0.9
        assert share_proved(vectors_ND, queries_BD, 10, kind, excluded, allowed) >= 0.9


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_queries", [1, 30])
def test_the_best_are_excluded(kind: Kind, num_queries: int) -> None:
    vectors_ND, queries_BD = world("normal", 40_000, num_queries, 16, 3)
    best_BK = Float64Search(vectors_ND, LARGE).search(queries_BD, 100, None, None).rows_BK
    excluded = Ragged(best_BK.flatten(), torch.arange(num_queries + 1) * 100)
    assert share_proved(vectors_ND, queries_BD, 10, kind, excluded) >= 0.9


@pytest.mark.parametrize("kind", KINDS[::3])
@pytest.mark.parametrize("num_queries", [1, 9])
def test_where_fewer_than_k_may_be_returned_nothing_is_proved(num_queries: int, kind: Kind) -> None:
    vectors_ND, queries_BD = world("normal", 20_000, num_queries, 8, 4)
    all_but_nine = Ragged(torch.arange(9, 20_000).repeat(num_queries), torch.arange(num_queries + 1) * 19_991)
    allowed = torch.zeros(20_000, dtype=torch.bool)
    assert share_proved(vectors_ND, queries_BD, 10, kind, all_but_nine) == 0
    assert share_proved(vectors_ND, queries_BD, 10, kind, None, allowed) == 0
    allowed[5:14] = True
    assert share_proved(vectors_ND, queries_BD, 10, kind, None, allowed) == 0


@pytest.mark.parametrize("kind", KINDS[::3])
@pytest.mark.parametrize("k", [20_000, 19_000, 30_000])
@pytest.mark.parametrize("num_queries", [1, 9])
def test_k_near_all_is_left_to_the_other_search(k: int, num_queries: int, kind: Kind) -> None:
    assert share_proved(*world("normal", 20_000, num_queries, 4, 5), k, kind) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_queries", [1, 3, 4, 40])
def test_when_all_are_tied_it_gives_up(kind: Kind, num_queries: int) -> None:
    assert share_proved(torch.ones(60_000, 4), torch.ones(num_queries, 4), 10, kind) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_that_gives_up_does_not_take_the_others_along(kind: Kind) -> None:
    vectors_ND, queries_BD = world("normal", 60_000, 40, 8, 6)
    vectors_ND[:, 0] = 1.0
    queries_BD[::4] = torch.eye(8)[0]
    assert share_proved(vectors_ND, queries_BD, 10, kind) == 0.75


@pytest.mark.parametrize("kind", KINDS)
def test_many_copies_of_the_best_are_ties_by_row(kind: Kind) -> None:
    vectors_ND, queries_BD = world("normal", 30_000, 30, 16, 7)
    best_B = Float64Search(vectors_ND, LARGE).search(queries_BD, 1, None, None).rows_BK[:, 0]
    places = torch.randperm(30_000, generator=torch.Generator().manual_seed(0))[: 30 * 25]
    vectors_ND[places] = vectors_ND[best_B].repeat(25, 1)
    for queries in (queries_BD, queries_BD[:1]):
        assert share_proved(vectors_ND, queries, 12, kind) >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_a_hair_apart_are_told_apart(kind: Kind) -> None:
    # far below what few bits resolve, and partly below what float32 does
    generator = torch.Generator().manual_seed(0)
    vectors_ND = torch.randn(20_000, 12, generator=generator)
    vectors_ND[::100] = 3.0 + 1e-6 * torch.randn(200, 12, generator=generator)
    for num_queries in (1, 20):
        queries_BD = 1 + 0.1 * torch.randn(num_queries, 12, generator=generator)
        assert share_proved(vectors_ND, queries_BD, 30, kind) >= 0.9


@pytest.mark.parametrize("scale", [1e-14, 1e14])
@pytest.mark.parametrize("kind", KINDS)
def test_long_and_short_vectors(kind: Kind, scale: float) -> None:
    vectors_ND, queries_BD = world("normal", 20_000, 20, 16, 8)
    for of_queries in (1e-14, 1.0, 1e14):
        assert share_proved(vectors_ND * scale, queries_BD * of_queries, 10, kind) >= 0.9
    assert share_proved(vectors_ND * scale, queries_BD * 1e-25, 10, kind) == 0


@pytest.mark.parametrize("kind", KINDS[-2:])
@pytest.mark.parametrize("num_queries", [1, 200])
def test_tiles_and_blocks_of_queries_change_nothing(num_queries: int, kind: Kind) -> None:
    vectors_ND, queries_BD = world("normal", 700_000, num_queries, 4, 9)
    allowed = torch.arange(700_000) % 3 > 0
    for tile_bytes in (SMALLEST_TILE_BYTES, LARGE):
        assert share_proved(vectors_ND, queries_BD, 20, kind, None, allowed, tile_bytes) >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_threads_change_nothing(kind: Kind) -> None:
    vectors_ND, queries_BD = world("normal", 30_000, 500, 16, 10)
    excluded = some_rows(500, 30_000, 40, 0)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert share_proved(vectors_ND, queries_BD, 10, kind, excluded) >= 0.95
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("kind", [kind for kind in OWN_KINDS if kind != "float32"])
def test_a_floor_that_is_none_is_found_out(kind: FirstPass, monkeypatch: pytest.MonkeyPatch) -> None:
    # above the k-th best by nearly the error that is allowed for: k are found, but others than the best
    vectors_ND, queries_BD = world("normal", 30_000, 80, 16, 11)
    least_B = Float64Search(vectors_ND, LARGE).search(queries_BD, 40, None, None).scores_BK[:, -1].double()
    search = searching(vectors_ND, kind)
    assert isinstance(search, CertifiedSearch)
    low = search._low.queries(queries_BD)
    error_B = low.of_lengths_B * search._low.lengths_M.median() + low.of_residuals_B * search._low.residuals_M.median()
    for share in (-1.0, 0.7, 0.8, 0.9, 1.0, 3.0):
        too_high_B = least_B / (low.unit_B * search._unit) + share * error_B
        monkeypatch.setattr(CertifiedSearch, "_guessed_floor", lambda *_, floor_B=too_high_B: floor_B.clone())
        assert share_proved(vectors_ND, queries_BD, 40, kind) >= (0.95 if share < 0.8 else 0.0)


def test_products_in_float32_prove_nothing_while_less_is_asked_for() -> None:
    vectors_ND, queries_BD = world("normal", 20_000, 20, 16, 12)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert share_proved(vectors_ND, queries_BD, 10, "float32") == 0
    finally:
        torch.set_float32_matmul_precision(before)
    assert share_proved(vectors_ND, queries_BD, 10, "float32") >= 0.9
