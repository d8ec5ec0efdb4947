"""The kernel of the search: the same answers from every way to multiply, every size, and every floor that it is given."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from twotower.index import ExactIndex, native_search
from twotower.index.certified_search import CertifiedSearch
from twotower.index.float64_search import Float64Search
from twotower.index.low_precision import LowPrecision
from twotower.index.native_search import NativeSearch
from twotower.native.compiler import find_compiler
from twotower.types import Ragged

pytestmark = pytest.mark.skipif(not NativeSearch.can_search(1), reason="the kernel could not be compiled")

LARGE = 2**24
SOURCE = Path(native_search.__file__).parents[1] / "native" / "search.c"


def drawn(seed: int) -> tuple[Tensor, Tensor, int, Ragged | None, Tensor | None]:
    """Vectors, queries, k, excluded and allowed, of all sizes and some kinds."""
    generator = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=generator))

    num_vectors, dim, num_queries = whole(16, 6_000), whole(1, 70), (1, 2, 7, 8, 9, 30)[seed % 6]
    vectors_ND = torch.randn(num_vectors, dim, generator=generator)
    queries_BD = torch.randn(num_queries, dim, generator=generator)
    if seed % 4 == 1:
        vectors_ND *= torch.pow(10.0, 2 * torch.randn(num_vectors, 1, generator=generator))
    if seed % 4 == 2:
        vectors_ND, queries_BD = vectors_ND.round(), queries_BD.round()
    if seed % 4 == 3:
        vectors_ND = vectors_ND[torch.randint(0, num_vectors, (num_vectors,), generator=generator)]
        queries_BD[-1] = 0.0
    excluded = allowed = None
    if seed % 3 == 1:
        lengths = torch.randint(0, 50, (num_queries,), generator=generator)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        excluded = Ragged(torch.randint(0, num_vectors, (int(offsets[-1]),), generator=generator), offsets)
    if seed % 5 == 1:
        allowed = torch.rand(num_vectors, generator=generator) < 0.3
    return vectors_ND, queries_BD, whole(1, max(1, num_vectors // 16)), excluded, allowed


def native(vectors_ND: Tensor, tile_bytes: int = LARGE) -> NativeSearch:
    unit = LowPrecision.unit_of(float(vectors_ND.double().norm(dim=1).max()), vectors_ND.shape[1])
    assert unit is not None
    return NativeSearch(vectors_ND, unit, tile_bytes)


def shares_proved(seeds: range) -> list[float]:
    """How many queries of each world are proved; asserts that these are right."""
    shares = []
    for seed in seeds:
        vectors_ND, queries_BD, k, excluded, allowed = drawn(seed)
        expected = Float64Search(vectors_ND, LARGE).search(queries_BD, k, excluded, allowed)
        found, proved_B = native(vectors_ND).search(queries_BD, k, excluded, allowed)
        assert torch.equal(found.rows_BK[proved_B], expected.rows_BK[proved_B])
        assert torch.equal(found.scores_BK[proved_B], expected.scores_BK[proved_B])
        possible_B = (expected.rows_BK[:, -1] != -1) & (queries_BD != 0).any(dim=1)
        if bool(possible_B.any()):
            shares.append(float(proved_B[possible_B].float().mean()))
    return shares


def test_all_sizes_and_kinds() -> None:
    assert np.mean(shares_proved(range(120))) > 0.98


def abilities() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


@pytest.mark.parametrize(
    ("flags", "needs"),
    [
        ((), ()),
        (("-march=sandybridge",), ("avx",)),
        (("-march=haswell",), ("avx2", "fma", "bmi2", "movbe", "abm")),
        (("-march=skylake-avx512",), ("avx512bw", "avx512dq", "avx512vl", "avx512cd", "clwb")),
    ],
)
def test_every_way_to_multiply(
    flags: tuple[str, ...], needs: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # of this processor's kind at least; products of pairs of whole numbers, or in float32, in registers of all widths
    if not set(needs) <= abilities():
        pytest.skip(f"this processor lacks one of {', '.join(needs)}")
    compiler = find_compiler()
    assert compiler is not None
    made = tmp_path / "search.so"
    command = [*compiler, "-std=gnu11", "-O2", "-shared", "-fPIC", *flags, "-o", str(made), str(SOURCE), "-lm"]
    subprocess.run(command, check=True, timeout=300)
    library = ctypes.CDLL(str(made))
    monkeypatch.setattr(native_search, "native_library", lambda _: library)
    assert np.mean(shares_proved(range(30))) > 0.98
    vectors_ND = torch.randn(500, 1_100, generator=torch.Generator().manual_seed(0)).sign() * 3
    found, proved_B = native(vectors_ND).search(vectors_ND[:9], 5, None, None)
    expected = Float64Search(vectors_ND, LARGE).search(vectors_ND[:9], 5, None, None)
    assert bool(proved_B.all())
    assert torch.equal(found.rows_BK, expected.rows_BK)


def test_the_order_is_every_row_once_and_even() -> None:
    for num_vectors in (1, 2, 63, 64, 65, 127, 128, 129, 4_096, 4_097, 20_000):
        vectors_ND = np.random.default_rng(0).normal(size=(num_vectors, 3)).astype(np.float32)
        rows = native_search._in_search_order(vectors_ND)
        assert len(rows) % 128 == 0
        assert sorted(rows[rows >= 0]) == list(range(num_vectors))
    # 512 of 20,000 are spread over all, and a block's largest entries are close
    counts = np.histogram(rows[:512], bins=16, range=(0, 20_000))[0]
    assert counts.min() >= 31
    assert counts.max() <= 33
    largest = np.abs(vectors_ND[rows[4_096:8_192]]).max(axis=1).reshape(-1, 16)
    assert np.median(largest.max(axis=1) / largest.min(axis=1)) < 1.02


@pytest.mark.parametrize("num_queries", [1, 20])
def test_guesses_that_are_too_high_are_found_out(num_queries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # with a caution below nothing the rank is that of a far better vector
    generator = torch.Generator().manual_seed(1)
    vectors_ND, queries_BD = torch.randn(30_000, 16, generator=generator), torch.randn(num_queries, 16, generator=generator)
    expected = Float64Search(vectors_ND, LARGE).search(queries_BD, 40, None, None)
    search = native(vectors_ND)
    shares = []
    for caution in (-3.0, -1.5, -1.0, -0.5):
        floors_B = np.full(num_queries, -np.inf)
        part = search._pass(queries_BD.numpy(), 40, None, search._open_M, floors_B, caution)
        proved_B = part[2] == 1
        assert np.array_equal(part[0][proved_B], expected.rows_BK.numpy()[proved_B])
        shares.append(proved_B.mean())
        monkeypatch.setattr(native_search, "_CAUTIONS", (caution, 7.0))
        found, all_B = search.search(queries_BD, 40, None, None)
        assert bool(all_B.all())
        assert torch.equal(found.rows_BK, expected.rows_BK)
        assert torch.equal(found.scores_BK, expected.scores_BK)
    assert min(shares) < 0.3


def test_a_query_that_is_searched_again_keeps_its_excluded_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    vectors_ND, queries_BD = torch.randn(20_000, 16, generator=generator), torch.randn(12, 16, generator=generator)
    best_BK = Float64Search(vectors_ND, LARGE).search(queries_BD, 60, None, None).rows_BK
    offsets = torch.arange(13) * 30
    excluded = Ragged(best_BK[:, ::2].flatten().flip(0).to(torch.int32), offsets)
    for queries in range(12):  # rows of the query itself, in whatever order
        excluded.values[queries * 30 : queries * 30 + 30] = best_BK[queries, ::2].flip(0)
    monkeypatch.setattr(native_search, "_CAUTIONS", (-1.0, 7.0))
    found, proved_B = native(vectors_ND).search(queries_BD, 20, excluded, None)
    expected = Float64Search(vectors_ND, LARGE).search(queries_BD, 20, excluded, None)
    assert bool(proved_B.all())
    assert torch.equal(found.rows_BK, expected.rows_BK)


def test_room_that_is_too_small_proves_nothing_wrong() -> None:
    vectors_ND = torch.randn(50_000, 2, generator=torch.Generator().manual_seed(3))
    queries_BD = torch.randn(40, 2, generator=torch.Generator().manual_seed(4))
    expected = Float64Search(vectors_ND, LARGE).search(queries_BD, 1_000, None, None)
    for tile_bytes, least in ((2**14, 0.0), (2**17, 0.0), (2**20, 0.9)):
        found, proved_B = native(vectors_ND, tile_bytes).search(queries_BD, 1_000, None, None)
        assert torch.equal(found.rows_BK[proved_B], expected.rows_BK[proved_B])
        assert proved_B.float().mean() >= least


def test_without_the_kernel_torch_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors_ND = torch.randn(20_000, 8, generator=torch.Generator().manual_seed(5))
    with_it = ExactIndex.build(vectors_ND)
    monkeypatch.setenv("TWOTOWER_NATIVE", "0")
    without = ExactIndex.build(vectors_ND)
    assert isinstance(without._certified, CertifiedSearch)
    for queries_BD in (vectors_ND[:1], vectors_ND[:50]):
        one, other = with_it.search(queries_BD, 10), without.search(queries_BD, 10)
        assert torch.equal(one.rows_BK, other.rows_BK)
        assert torch.equal(one.scores_BK, other.scores_BK)


def test_the_kernel_is_taken_where_it_is_fast() -> None:
    vectors_ND = torch.randn(20_000, 8, generator=torch.Generator().manual_seed(6))
    if NativeSearch.is_fast(20_000):
        assert isinstance(ExactIndex.build(vectors_ND)._certified, NativeSearch)
    assert isinstance(ExactIndex.build(vectors_ND, first_pass="int8")._certified, NativeSearch)
    assert isinstance(ExactIndex.build(vectors_ND, first_pass="float32")._certified, CertifiedSearch)
    assert not NativeSearch.can_search(2**31)
