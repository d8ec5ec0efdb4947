"""The choice of a first pass: measured, among those that are exact enough here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from twotower.index import quickest
from twotower.index.low_precision import FirstPass


@pytest.fixture(autouse=True)
def forget() -> None:
    quickest._quickest.cache_clear()


def offer(monkeypatch: pytest.MonkeyPatch, seconds: dict[FirstPass, float], exact_enough: set[FirstPass]) -> list[FirstPass]:
    """Make these the seconds and what is exact enough; which are timed is noted in the list."""
    timed: list[FirstPass] = []

    def can_multiply(kind: FirstPass, _dim: int, _device: torch.device) -> bool:
        return kind in exact_enough

    def took(kind: FirstPass, _dim: int, _device: torch.device) -> float:
        timed.append(kind)
        return seconds[kind]

    monkeypatch.setattr(quickest, "can_multiply", can_multiply)
    monkeypatch.setattr(quickest, "_seconds", took)
    return timed


@pytest.mark.parametrize("fast", ["float32", "bfloat16", "int8"])
def test_the_quickest_is_taken(fast: FirstPass, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, {"float32": 2.0, "bfloat16": 2.0, "int8": 2.0, fast: 1.0}, {"float32", "bfloat16", "int8"})
    assert quickest.quickest_first_pass(8) == fast


def test_one_that_is_not_exact_enough_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, {"float32": 3.0, "bfloat16": 2.0, "int8": 1.0}, {"float32", "bfloat16"})
    assert quickest.quickest_first_pass(8) == "bfloat16"


def test_where_none_is_exact_enough_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, {}, set())
    assert quickest.quickest_first_pass(8) is None


def test_it_is_measured_once_for_each_width(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = offer(monkeypatch, {"float32": 3.0}, {"float32"})
    quickest.quickest_first_pass(8)
    quickest.quickest_first_pass(8)
    assert timed == ["float32"]
    quickest.quickest_first_pass(9)
    assert timed == ["float32", "float32"]


def test_seconds_are_of_this_machine() -> None:
    assert 0 < quickest._seconds("float32", 8) < 10


def saturating(low_TD: Tensor, low_DB: Tensor, out_TB: Tensor) -> None:
    """Adds pairs in 16 bits, as processors without a sum of four products do."""
    products_TBD = low_TD[:, None].int() * low_DB.T[None].int()
    pairs_TBP = products_TBD.view(*products_TBD.shape[:2], -1, 2).sum(dim=3).clamp(-(2**14), 2**14)
    out_TB.copy_(pairs_TBP.sum(dim=2))


def one_bit_less(low_TD: Tensor, low_DB: Tensor, out_TB: Tensor) -> None:
    out_TB.copy_((low_TD.double() @ low_DB.double()) * (1 + 2.0**-6))


def of_fewer_bits(low_TD: Tensor, low_DB: Tensor, out_TB: Tensor) -> None:
    out_TB.copy_(low_TD.bfloat16().double() @ low_DB.bfloat16().double())


@pytest.mark.parametrize(
    ("kind", "broken"),
    [("int8", saturating), ("bfloat16", one_bit_less), ("float32", one_bit_less), ("float32", of_fewer_bits)],
)
def test_products_that_are_less_exact_than_their_bounds_are_noticed(
    kind: FirstPass, broken: Callable[[Tensor, Tensor, Tensor], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quickest, "multiply", broken)
    assert not quickest.can_multiply(kind, 8)


def test_float32_counts_only_as_long_as_nothing_less_is_asked_for() -> None:
    assert quickest.can_multiply("float32", 8)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert not quickest.can_multiply("float32", 8)
    finally:
        torch.set_float32_matmul_precision(before)
