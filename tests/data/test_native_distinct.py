"""Distinct items by marks against a sort."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from twotower.data import native_distinct
from twotower.data.native_distinct import Distinct
from twotower.native import native_status


@pytest.mark.parametrize("native", ["1", "0"])
@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
def test_as_a_sort_finds_them(size: int, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_NATIVE", native)
    generator, distinct = torch.Generator().manual_seed(size), Distinct(size)
    for count in (1, 2, 50, 700, 3):  # one after the other: nothing is left of the last
        items = torch.randint(0, size, (count,), generator=generator)
        rows, columns, counts = distinct(items)
        expected = torch.unique(items, return_inverse=True, return_counts=True)
        assert torch.equal(rows, expected[0])
        assert torch.equal(columns, expected[1])
        assert torch.equal(counts, expected[2].float())
        assert (rows.dtype, columns.dtype, counts.dtype) == (torch.int64, torch.int64, torch.float32)


@pytest.mark.parametrize("native", ["1", "0"])
def test_few_items_of_a_large_catalogue(native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_NATIVE", native)
    distinct = Distinct(2**40)  # no room for marks of so many
    rows, columns, counts = distinct(torch.tensor([2**39, 5, 5]))
    assert (rows.tolist(), columns.tolist(), counts.tolist()) == ([5, 2**39], [1, 0, 0], [2.0, 1.0])


@pytest.mark.parametrize("native", ["1", "0"])
@pytest.mark.parametrize("wrong", [-1, 10])
def test_an_item_that_is_not_in_the_catalogue(wrong: int, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOTOWER_NATIVE", native)
    distinct = Distinct(10)
    with pytest.raises(IndexError, match=rf"in \[0, 10\); came {min(wrong, 3)} to {max(wrong, 3)}"):
        distinct(torch.tensor([3, wrong]))
    assert distinct(torch.tensor([4, 4]))[0].tolist() == [4], "and the next batch is found all the same"


@pytest.mark.skipif(not native_status("distinct").available, reason="there is no C compiler")
def test_a_call_while_another_one_is_in_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel: Any = native_distinct._library()
    distinct = Distinct(100)
    rooms: list[tuple[int, int]] = []
    within: list[list[int]] = []

    class Interrupted:
        """As if another thread came in while the kernel works."""

        distinct_words = kernel.distinct_words

        @staticmethod
        def distinct(items: int, count: int, size: int, marks: int, places: int, *others: Any) -> Any:
            rooms.append((marks, places))
            if len(rooms) == 1:
                within.append(distinct(torch.tensor([8, 9, 8]))[0].tolist())
            return kernel.distinct(items, count, size, marks, places, *others)

    monkeypatch.setattr(native_distinct, "_library", Interrupted)
    assert distinct(torch.tensor([5, 3, 5]))[0].tolist() == [3, 5]
    assert within == [[8, 9]]
    assert not set(rooms[0]) & set(rooms[1]), "each has its own marks"
    assert distinct(torch.tensor([1, 1]))[0].tolist() == [1]
    assert rooms[2] in rooms[:2], "and no others are made than are in use at one time"
