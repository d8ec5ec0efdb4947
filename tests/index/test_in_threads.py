"""Parts of a batch in threads: the same results in the same order, and nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from twotower.index.in_threads import in_threads, shared_out


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_parts_are_as_many_as_threads_or_a_multiple(three_threads: None) -> None:
    numbers = torch.arange(100)
    assert [len(part) for part in shared_out(numbers, 1000, 10)] == [34, 34, 32]
    assert [len(part) for part in shared_out(numbers, 30, 10)] == [17, 17, 17, 17, 17, 15]
    assert [len(part) for part in shared_out(numbers, 1000, 34)] == [100]
    assert [len(part) for part in shared_out(numbers, 60, 34)] == [50, 50]
    assert torch.equal(torch.cat(shared_out(numbers, 30, 10)), numbers)
    assert shared_out(numbers[:0], 30, 10) == []


def test_each_part_has_a_thread_with_one_thread_of_torch(three_threads: None) -> None:
    meet = threading.Barrier(3, timeout=60)

    def work(part: int) -> tuple[int, int, int]:
        meet.wait()  # which they only do when all are at work at once
        return part, torch.get_num_threads(), threading.get_ident()

    found = in_threads(work, [7, 8, 9])
    assert [part for part, _, _ in found] == [7, 8, 9]
    assert {threads for _, threads, _ in found} == {1}
    assert len({ident for _, _, ident in found}) == 3
    assert torch.get_num_threads() == 3
    assert in_threads(lambda _: torch.get_num_threads(), [1, 2]) == [3, 3]
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [3]


def test_a_thread_that_is_done_takes_the_next_part(three_threads: None) -> None:
    others = threading.Semaphore(0)

    def work(part: int) -> int:
        if part == 0:
            for _ in range(5):
                assert others.acquire(timeout=60)
        else:
            others.release()
        return part

    assert in_threads(work, range(6)) == list(range(6))


def test_what_the_work_raises_is_raised(three_threads: None) -> None:
    def work(part: int) -> int:
        if part == 2:
            raise KeyError("two")
        return part

    with pytest.raises(KeyError, match="two"):
        in_threads(work, [1, 2, 3])
    assert torch.get_num_threads() == 3
