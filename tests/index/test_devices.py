"""Exact search of vectors on a device of their own: the answers of the CPU to the bit, and a host that hardly waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from emulated_device import DEVICE, Emulation, emulated
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from twotower.index import ExactIndex, SearchResult, VectorIndex, VectorIndexContract, device_search, exact
from twotower.index.allowed_rows import allowed_rows, count_allowed, take_vectors
from twotower.index.certified_search import SMALLEST_TILE_BYTES
from twotower.index.device_search import DeviceSearch
from twotower.index.float64_search import Float64Search
from twotower.index.low_precision import FirstPass, LowPrecision, multiply
from twotower.index.product_precision import product_precision
from twotower.index.quickest import can_multiply, quickest_first_pass
from twotower.types import Ragged

KINDS: list[FirstPass] = [kind for kind in ("float32", "bfloat16") if can_multiply(kind, 24)]
LARGE = 2**24


@pytest.fixture
def emulation() -> Iterator[Emulation]:
    with emulated() as found:
        yield found


class There:
    """An index on the device, asked from the host."""

    def __init__(self, index: ExactIndex) -> None:
        self.index = index
        self.num_vectors, self.embedding_dim = index.num_vectors, index.embedding_dim

    def search(
        self, queries_BD: Tensor, k: int, *, excluded: Ragged | None = None, allowed: Tensor | None = None
    ) -> SearchResult:
        found = self.index.search(queries_BD.to(DEVICE), k, excluded=excluded, allowed=allowed)
        assert found.rows_BK.device == found.scores_BK.device == DEVICE
        return SearchResult(found.rows_BK.cpu(), found.scores_BK.cpu())


class OnDevice(VectorIndexContract):
    exact = True
    kind: FirstPass = "float32"

    @pytest.fixture(autouse=True)
    def there(self) -> Iterator[None]:
        with emulated():
            yield

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        first_pass: Any = self.kind
        if vectors_ND.ndim == 2 and not bool((vectors_ND.double().norm(dim=1) > 2.0**-50).any()):
            first_pass = "auto"  # there are no bounds for vectors that are all zero, or none
        index = ExactIndex.build(vectors_ND.to(DEVICE), first_pass=first_pass)
        assert first_pass == "auto" or isinstance(index._certified, DeviceSearch)
        return There(index)


class TestInFloat32(OnDevice):
    pass


class TestInBfloat16(OnDevice):
    kind = "bfloat16"


class TestInFloat64(OnDevice):
    def build(self, vectors_ND: Tensor) -> VectorIndex:
        return There(ExactIndex.build(vectors_ND.to(DEVICE)))


del OnDevice  # itself no test


class TestOnTheCPU(VectorIndexContract):
    """The device's way through on the CPU."""

    exact = True

    @pytest.fixture(autouse=True)
    def forced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exact, "_certified", lambda *args: DeviceSearch(*args))

    def build(self, vectors_ND: Tensor) -> VectorIndex:
        norms_N = vectors_ND.double().norm(dim=1) if vectors_ND.ndim == 2 else torch.zeros(0)
        return ExactIndex.build(vectors_ND, first_pass="bfloat16" if bool((norms_N > 2.0**-50).any()) else "auto")


def world(seed: int, num_vectors: int, num_queries: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_vectors, dim, generator=generator), torch.randn(num_queries, dim, generator=generator)


def some_rows(num_queries: int, num_vectors: int, each: int) -> Ragged:
    generator = torch.Generator().manual_seed(each)
    lengths = torch.randint(0, each + 1, (num_queries,), generator=generator)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return Ragged(torch.randint(0, num_vectors, (int(offsets[-1]),), generator=generator), offsets)


def share_proved(
    vectors_ND: Tensor,
    queries_BD: Tensor,
    k: int,
    kind: FirstPass,
    excluded: Ragged | None = None,
    allowed: Tensor | None = None,
    tile_bytes: int = LARGE,
) -> float:
    """How many queries are proved on the CPU and, the same ones, on the device; asserts that these are as in float64."""
    expected = Float64Search(vectors_ND, LARGE).search(queries_BD, k, excluded, allowed)
    unit = LowPrecision.unit_of(float(vectors_ND.double().norm(dim=1).max()), vectors_ND.shape[1])
    assert unit is not None
    shares = []
    with emulated():
        for device in (torch.device("cpu"), DEVICE):
            left_out = None if excluded is None else excluded.to(device)
            mask = None if allowed is None else allowed.to(device)
            search = DeviceSearch(vectors_ND.to(device), kind, unit, tile_bytes)
            found, proved_B = search.search(queries_BD.to(device), k, left_out, mask)
            assert proved_B.device.type == "cpu"
            assert torch.equal(found.rows_BK.cpu()[proved_B], expected.rows_BK[proved_B])
            assert torch.equal(found.scores_BK.cpu()[proved_B], expected.scores_BK[proved_B])
            shares.append(float(proved_B.float().mean()))
    assert shares[0] == shares[1]
    return shares[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_queries", [1, 3, 70])
def test_everything_is_proved_of_normal_vectors(kind: FirstPass, num_queries: int) -> None:
    for seed, (num_vectors, dim, k) in enumerate([(9_000, 24, 10), (20_481, 3, 7), (6_143, 17, 1), (12_000, 1, 300)]):
        vectors_ND, queries_BD = world(seed, num_vectors, num_queries, dim)
        excluded, allowed = some_rows(num_queries, num_vectors, 60), torch.arange(num_vectors) % 3 > 0
        for left_out, mask in ((None, None), (excluded, None), (None, allowed), (excluded, allowed)):
            assert share_proved(vectors_ND, queries_BD, k, kind, left_out, mask) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_the_vectors_and_of_the_queries_change_nothing(kind: FirstPass) -> None:
    vectors_ND, queries_BD = world(1, 150_000, 150, 4)
    vectors_ND *= torch.pow(10.0, torch.randn(len(vectors_ND), 1, generator=torch.Generator().manual_seed(0)))
    excluded, allowed = some_rows(150, 150_000, 40), torch.arange(150_000) % 7 > 0
    for tile_bytes in (SMALLEST_TILE_BYTES, LARGE, 2**28):
        assert share_proved(vectors_ND, queries_BD, 20, kind, excluded, allowed, tile_bytes) >= 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_ties_beyond_what_is_scored_are_left_to_float64(kind: FirstPass) -> None:
    assert share_proved(torch.ones(9_000, 4), torch.ones(5, 4), 10, kind) == 0
    vectors_ND, queries_BD = world(2, 9_000, 40, 8)
    vectors_ND[:, 0] = 1.0
    queries_BD[::4] = torch.eye(8)[0]
    assert share_proved(vectors_ND, queries_BD, 10, kind) == 0.75


@pytest.mark.parametrize("kind", KINDS)
def test_ties_and_zeros_among_what_is_scored_are_decided_by_row(kind: FirstPass) -> None:
    vectors_ND, queries_BD = world(3, 9_000, 30, 16)
    best_B = Float64Search(vectors_ND, LARGE).search(queries_BD, 1, None, None).rows_BK[:, 0]
    places = torch.randperm(9_000, generator=torch.Generator().manual_seed(0))[: 30 * 25]
    vectors_ND[places] = vectors_ND[best_B].repeat(25, 1)
    queries_BD[7] = 0.0
    assert share_proved(vectors_ND, queries_BD, 12, kind) == pytest.approx(29 / 30)


@pytest.mark.parametrize("kind", KINDS)
def test_ties_that_only_all_parts_together_have_too_many_of(kind: FirstPass) -> None:
    vectors_ND, queries_BD = world(12, 40_000, 64, 8)
    vectors_ND[100::250] = torch.full((8,), 5.0)
    assert share_proved(vectors_ND, queries_BD.abs(), 10, kind, tile_bytes=SMALLEST_TILE_BYTES) == 0
    assert share_proved(vectors_ND, queries_BD.abs(), 100, kind, tile_bytes=SMALLEST_TILE_BYTES) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_passed_over_is_below_what_is_said(kind: FirstPass, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors_ND, queries_BD = world(13, 40_000, 64, 8)
    vectors_ND[:16_384] *= 1e-3  # parts whose vectors, and errors, are of another length
    best = []

    def noted(self: DeviceSearch, queries_BD: Tensor, found: Any, k: int) -> SearchResult:
        best.append(found)
        return chosen(self, queries_BD, found, k)

    chosen = DeviceSearch._best
    monkeypatch.setattr(DeviceSearch, "_best", noted)
    search = DeviceSearch(vectors_ND, kind, 16.0, SMALLEST_TILE_BYTES)
    search.search(queries_BD, 10, None, None)
    (found,) = best
    units_B1 = 16.0 * queries_BD.double().norm(dim=1, keepdim=True)
    exact_BN = (queries_BD.double() @ vectors_ND.double().T) / units_B1
    assert bool((found.uppers_BC >= exact_BN.gather(1, found.rows_BC)).all())
    exact_BN.scatter_(1, found.rows_BC, -torch.inf)
    assert bool((exact_BN.amax(dim=1) < found.lost_B).all())


def test_what_few_bits_can_not_tell_apart_float32_does() -> None:
    vectors_ND, queries_BD = world(4, 20_000, 20, 12)
    vectors_ND[::4] = 3.0 + 1e-3 * vectors_ND[::4]  # thousands that are one in bfloat16
    queries_BD = 1 + 0.1 * queries_BD
    for kind in KINDS:
        assert share_proved(vectors_ND, queries_BD, 30, kind) == 1


@pytest.mark.parametrize("scale", [1e-14, 1e14])
@pytest.mark.parametrize("kind", KINDS)
def test_long_and_short_vectors(kind: FirstPass, scale: float) -> None:
    vectors_ND, queries_BD = world(8, 20_000, 20, 16)
    for of_queries in (1e-14, 1.0, 1e14):
        assert share_proved(vectors_ND * scale, queries_BD * of_queries, 10, kind) == 1
    assert share_proved(vectors_ND * scale, queries_BD * 1e-25, 10, kind) == 0


def test_more_than_there_is_room_for_is_left_to_float64() -> None:
    vectors_ND, queries_BD = world(5, 40_000, 3, 4)
    assert share_proved(vectors_ND, queries_BD, 39_990, "float32", tile_bytes=SMALLEST_TILE_BYTES) == 0
    assert share_proved(vectors_ND, queries_BD, 39_990, "float32", tile_bytes=LARGE) == 1


def of_fewer_bits(bits: int) -> Callable[[Tensor, Tensor, Tensor], None]:
    """Products of numbers cut to so many bits, as TF32 (11) takes them."""

    def cut(values: Tensor) -> Tensor:
        return (values.view(torch.int32) & ~((1 << (24 - bits)) - 1)).view(torch.float32)

    def less(low_TD: Tensor, low_DB: Tensor, out_TB: Tensor) -> None:
        multiply(cut(low_TD), cut(low_DB), out_TB)

    return less


def by_parts(low_TD: Tensor, low_DB: Tensor, out_TB: Tensor) -> None:
    """Two sums, each rounded before they are added."""
    half = low_TD.shape[1] // 2
    out_TB.copy_(low_TD[:, :half] @ low_DB[:half]).add_(low_TD[:, half:] @ low_DB[half:])


@pytest.mark.parametrize(("kind", "broken"), [("float32", of_fewer_bits(11)), ("bfloat16", by_parts)])
def test_products_that_are_off_by_more_than_was_said_prove_nothing(
    kind: FirstPass, broken: Callable[[Tensor, Tensor, Tensor], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors_ND, queries_BD = world(6, 9_000, 20, 64)
    unit = LowPrecision.unit_of(float(vectors_ND.norm(dim=1).max()), 64)
    assert unit is not None
    search = DeviceSearch(vectors_ND, kind, unit, LARGE)
    search._passes = search._passes[:1]
    assert bool(search.search(queries_BD, 10, None, None)[1].all())
    monkeypatch.setattr(device_search, "multiply", broken)
    assert not search.search(queries_BD, 10, None, None)[1].any()


def test_products_that_are_off_in_one_part_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors_ND, queries_BD = world(14, 40_000, 64, 32)
    parts = iter([of_fewer_bits(11), multiply, multiply])
    monkeypatch.setattr(device_search, "multiply", lambda *args: next(parts)(*args))
    assert not DeviceSearch(vectors_ND, "float32", 16.0, SMALLEST_TILE_BYTES).search(queries_BD, 10, None, None)[1].any()
    assert next(parts, None) is None


@pytest.mark.parametrize(("precision", "bits"), [("high", 11), ("medium", 8)])
def test_products_in_fewer_bits_are_within_their_bounds_where_they_are_asked_for(
    precision: str, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_search, "multiply", of_fewer_bits(bits))
    vectors_ND, queries_BD = world(7, 30_000, 20, 32)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        assert share_proved(vectors_ND, queries_BD, 10, "float32") >= 0.9
    finally:
        torch.set_float32_matmul_precision(before)
    assert share_proved(vectors_ND, queries_BD, 10, "float32") == 0


def test_both_ways_to_ask_for_fewer_bits_are_seen() -> None:
    gpu, here = torch.device("cuda"), torch.device("cpu")
    before = torch.get_float32_matmul_precision()
    try:
        for precision in ("highest", "high", "medium"):
            torch.set_float32_matmul_precision(precision)
            assert [product_precision(each) for each in (gpu, here, DEVICE)] == [precision] * 3
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.fp32_precision = "tf32"  # from now on torch refuses to answer the older question
        assert [product_precision(each) for each in (gpu, here, DEVICE)] == ["high", "highest", "medium"]
    finally:
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.set_float32_matmul_precision(before)
    assert product_precision(gpu) == "highest"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_queries", [1, 200])
def test_a_search_waits_for_two_answers(kind: FirstPass, num_queries: int, emulation: Emulation) -> None:
    # whether the queries can be searched for, and whether all is proved
    vectors_ND, queries_BD = world(9, 40_000, num_queries, 16)
    index = ExactIndex.build(vectors_ND.to(DEVICE), first_pass=kind, tile_bytes=SMALLEST_TILE_BYTES)
    queries_BD = queries_BD.to(DEVICE)
    excluded, allowed = some_rows(num_queries, 40_000, 30), torch.arange(40_000) % 5 > 0
    for left_out, mask in ((None, None), (excluded, allowed)):
        assert emulation.waits_of(lambda: index.search(queries_BD, 10, excluded=left_out, allowed=mask)).total() == 2  # noqa: B023


def test_the_index_chooses_there_too(emulation: Emulation) -> None:
    vectors_ND, queries_BD = world(10, 20_000, 9, 8)
    queries_BD[3], queries_BD[5] = 0.0, torch.eye(8)[0]
    vectors_ND[:, 0] = 1.0
    index = ExactIndex.build(vectors_ND.to(DEVICE))
    assert index.first_pass in KINDS
    assert index.first_pass == quickest_first_pass(8, DEVICE)
    assert ExactIndex.build(vectors_ND[:900].to(DEVICE)).first_pass == "none"
    expected = ExactIndex.build(vectors_ND, first_pass="none").search(queries_BD, 20)
    found = index.search(queries_BD, 20)  # some proved in two passes, some searched in float64
    assert torch.equal(found.rows_BK.cpu(), expected.rows_BK)
    assert torch.equal(found.scores_BK.cpu(), expected.scores_BK)
    with pytest.raises(ValueError, match=r"a first pass in int8 needs vectors on a CPU,.*\(came: on emulated"):
        ExactIndex.build(vectors_ND.to(DEVICE), first_pass="int8")


def test_a_search_keeps_to_tile_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0

    class Noting(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(out):
                if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in given:
                    largest = max(largest, leaf.untyped_storage().nbytes())
            return out

    for kind in KINDS:
        for num_queries, num_vectors, k in ((1, 200_000, 10), (300, 200_000, 10), (100, 100_000, 300)):
            vectors_ND, queries_BD = world(11, num_vectors, num_queries, 16)
            search = DeviceSearch(vectors_ND, kind, 16.0, SMALLEST_TILE_BYTES)
            given = {vectors_ND.untyped_storage().data_ptr(), *(p.low_ND.untyped_storage().data_ptr() for p in search._passes)}
            with Noting():  # type: ignore[no-untyped-call]
                search.search(queries_BD, k, None, torch.ones(num_vectors, dtype=torch.bool))
            assert SMALLEST_TILE_BYTES / 20 < largest <= SMALLEST_TILE_BYTES
            largest = 0


def test_masks_on_the_device(emulation: Emulation) -> None:
    mask = torch.tensor([False, True, True, False, True])
    assert count_allowed(mask.to(DEVICE)) == 3
    assert allowed_rows(mask.to(DEVICE)).cpu().tolist() == [1, 2, 4]
    vectors_ND = torch.arange(8.0).view(4, 2).to(DEVICE)
    assert take_vectors(vectors_ND, torch.tensor([2, 0]).to(DEVICE)).cpu().tolist() == [[4.0, 5.0], [0.0, 1.0]]
