"""Jobs of many threads in few commits, in their order, each told how it went."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from twotower.errors import StoreBusyError, StoreError
from twotower.store.group_commit import GroupCommit


def nothing() -> None:
    pass


def commits_of(commit: Callable[[Sequence[int]], Sequence[int]], most: int = 100) -> GroupCommit[int]:
    return GroupCommit(commit, nothing, name="live.db", most=most)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_job_alone_is_committed_alone() -> None:
    groups: list[list[int]] = []

    def commit(jobs: Sequence[int]) -> list[int]:
        groups.append(list(jobs))
        return [10 * job for job in jobs]

    commits = commits_of(commit)
    assert [commits.submit(1), commits.submit(2)] == [10, 20]
    assert groups == [[1], [2]]


@pytest.mark.parametrize(("most", "expected"), [(100, [[0], [1, 2, 3, 4, 5]]), (2, [[0], [1, 2], [3, 4], [5]])])
def test_what_waits_goes_together_in_its_order(most: int, expected: list[list[int]]) -> None:
    groups: list[list[int]] = []
    go = threading.Event()

    def commit(jobs: Sequence[int]) -> list[int]:
        groups.append(list(jobs))
        assert go.wait(30)
        return [10 * job for job in jobs]

    commits = commits_of(commit, most)
    with ThreadPoolExecutor(6) as pool:
        futures = []
        for job in range(6):
            futures.append(pool.submit(commits.submit, job))
            until(lambda job=job: len(groups) == 1 and len(commits._queue) == job)  # type: ignore[misc]
        go.set()
        assert [future.result() for future in futures] == [0, 10, 20, 30, 40, 50]
    assert groups == expected


def test_an_error_is_told_to_all_of_its_group_and_to_no_other() -> None:
    go = threading.Event()

    def commit(jobs: Sequence[int]) -> list[int]:
        assert go.wait(30)
        if 1 in jobs:
            raise StoreBusyError("held")
        return list(jobs)

    commits = commits_of(commit)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(commits.submit, 0)]
        until(lambda: commits._led)
        until(lambda: not commits._queue)
        futures += [pool.submit(commits.submit, job) for job in (1, 2)]
        until(lambda: len(commits._queue) == 2)
        go.set()
        errors = [future.exception() for future in futures]
    assert errors[0] is None
    assert [type(error) for error in errors[1:]] == [StoreBusyError, StoreBusyError]
    assert errors[1] is not errors[2]
    assert commits.submit(5) == 5


def test_an_interrupt_stays_with_the_thread_that_it_came_to() -> None:
    go = threading.Event()

    def commit(jobs: Sequence[int]) -> list[int]:
        assert go.wait(30)
        if 1 in jobs:
            raise KeyboardInterrupt
        return list(jobs)

    commits = commits_of(commit)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(commits.submit, 0)]
        until(lambda: commits._led and not commits._queue)
        for job in (1, 2):
            futures.append(pool.submit(commits.submit, job))
            until(lambda job=job: len(commits._queue) == job)  # type: ignore[misc]
        go.set()
        assert isinstance(futures[1].exception(), KeyboardInterrupt)
        assert "whether it was written is not known" in str(futures[2].exception())
    assert commits.submit(5) == 5


def test_who_stops_waiting_is_not_waited_for() -> None:
    go = threading.Event()
    groups: list[list[int]] = []

    def commit(jobs: Sequence[int]) -> list[int]:
        groups.append(list(jobs))
        assert go.wait(30)
        return list(jobs)

    commits = commits_of(commit)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(commits.submit, 0)]
        until(lambda: len(groups) == 1)
        futures += [pool.submit(commits.submit, 1)]
        until(lambda: len(commits._queue) == 1)
        futures += [pool.submit(commits.submit, 2)]
        until(lambda: len(commits._queue) == 2)
        entry = commits._queue[0]
        commits._leave(entry)  # as after an interrupt
        go.set()
        assert futures[2].result(30) == 2
        entry.number = -1
        entry.woken.release()
        assert futures[1].result(30) == -1
    assert groups == [[0], [2]]


def test_what_comes_afterwards_has_no_part_in_the_outcome_of_others() -> None:
    done: list[str] = []
    commits = GroupCommit[int](lambda jobs: list(jobs), lambda: done.append("afterwards"), name="live.db", most=9)
    assert commits.submit(1) == 1
    assert done == ["afterwards"]


def test_closing_waits_and_then_refuses() -> None:
    go = threading.Event()

    def commit(jobs: Sequence[int]) -> list[int]:
        assert go.wait(30)
        return list(jobs)

    commits = commits_of(commit)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(commits.submit, 1)
        until(lambda: commits._led and not commits._queue)
        second = pool.submit(commits.submit, 2)
        until(lambda: len(commits._queue) == 1)
        closing = pool.submit(commits.close)
        time.sleep(0.05)
        assert not closing.done()
        go.set()
        closing.result(30)
        assert (first.result(30), second.result(30)) == (1, 2)
    with pytest.raises(StoreError, match=r"live\.db can't be written: this store was closed"):
        commits.submit(3)
    commits.close()


def test_many_threads_need_few_commits() -> None:
    groups: list[int] = []

    def commit(jobs: Sequence[int]) -> list[int]:
        time.sleep(0.005)
        groups.append(len(jobs))
        return list(jobs)

    commits = commits_of(commit)
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(commits.submit, range(320))) == list(range(320))
    assert sum(groups) == 320
    assert len(groups) < 100
