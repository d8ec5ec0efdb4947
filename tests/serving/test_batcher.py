"""Calls that come together are answered together; too many are refused, and none is forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from twotower.recommender import Moment, Request
from twotower.serving.batcher import Batcher
from twotower.serving.problems import Problem


class Model:
    """Answers every request with its user, once it is let."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.let.set()
        self.began = threading.Event()
        self.batches: list[list[Any]] = []
        self.fault: Exception | None = None

    def answer(self, requests: Sequence[Request]) -> Moment:
        self.began.set()
        self.let.wait()
        self.batches.append([request.user for request in requests])
        if self.fault is not None:
            raise self.fault
        names: Any = [request.user for request in requests]
        return Moment("recommender", names)  # type: ignore[arg-type]


def batcher(model: Model, *, max_waiting: int = 8, batch_queries: int = 4) -> Batcher:
    versions = SimpleNamespace(active=SimpleNamespace(name="v", live=model))
    return Batcher(versions, max_waiting=max_waiting, batch_queries=batch_queries)  # type: ignore[arg-type]


async def users(found: Batcher, *names: str, seconds: float = 20) -> list[Any]:
    answered = await found.answer([Request(user=name) for name in names], seconds)
    return list(answered.moment.answers)


async def busy(model: Model, found: Batcher) -> asyncio.Task[list[Any]]:
    """The thread is at work, and stays there."""
    model.let.clear()
    model.began.clear()
    task = asyncio.create_task(users(found, "first"))
    await asyncio.to_thread(model.began.wait)
    return task


def test_what_waits_is_answered_together() -> None:
    model = Model()
    found = batcher(model)

    async def main() -> None:
        assert await users(found, "alone") == ["alone"]
        first = await busy(model, found)
        rest = [
            asyncio.create_task(users(found, *names)) for names in (["a"], ["b", "c"], ["d"], ["e", "f", "g", "h", "i"], ["j"])
        ]
        await asyncio.sleep(0)
        model.let.set()
        assert await first == ["first"]
        assert await asyncio.gather(*rest) == [["a"], ["b", "c"], ["d"], ["e", "f", "g", "h", "i"], ["j"]]

    asyncio.run(main())
    found.close()
    # four together, then a call that is larger than a batch, alone
    assert model.batches == [["alone"], ["first"], ["a", "b", "c", "d"], ["e", "f", "g", "h", "i"], ["j"]]
    assert (found.batches, found.queries) == (5, 12)


def test_one_more_than_may_wait_is_refused() -> None:
    model = Model()
    found = batcher(model, max_waiting=3)

    async def main() -> None:
        first = await busy(model, found)
        waiting = [asyncio.create_task(users(found, name)) for name in "abc"]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await users(found, "d")
        assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
        model.let.set()
        assert await asyncio.gather(first, *waiting) == [["first"], ["a"], ["b"], ["c"]]

    asyncio.run(main())
    found.close()


def test_an_answer_that_takes_too_long_is_not_waited_for_and_not_computed() -> None:
    model = Model()
    found = batcher(model)

    async def main() -> None:
        first = await busy(model, found)
        with pytest.raises(Problem) as refused:
            await users(found, "late", seconds=0.05)
        assert refused.value.status == 503
        gone = asyncio.create_task(users(found, "gone"))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        model.let.set()
        assert await first == ["first"]
        assert await users(found, "next") == ["next"]

    asyncio.run(main())
    found.close()
    assert model.batches == [["first"], ["next"]]


def test_other_work_has_its_turn() -> None:
    model = Model()
    found = batcher(model)
    order = []

    def counted(version: Any) -> int:
        order.append(version.name)
        return len(model.batches)

    async def main() -> None:
        first = await busy(model, found)
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(users(found, "a")),
            asyncio.create_task(found.run(counted, 20)),
            asyncio.create_task(users(found, "b")),
        ]
        await asyncio.sleep(0)
        model.let.set()
        await first
        assert await asyncio.gather(*tasks) == [["a"], 2, ["b"]]

    asyncio.run(main())
    found.close()
    assert order == ["v"]


def test_a_fault_is_told_to_all_who_asked_and_ends_nothing() -> None:
    model = Model()
    found = batcher(model)

    async def main() -> None:
        model.fault = ZeroDivisionError("a bug")
        with pytest.raises(ZeroDivisionError):
            await users(found, "a")
        with pytest.raises(KeyError):
            await found.run(lambda version: {"a": version}["nothing"], 20)
        model.fault = None
        assert await users(found, "b") == ["b"]

    asyncio.run(main())
    found.close()


def test_closing_answers_what_waits() -> None:
    model = Model()
    found = batcher(model)

    async def main() -> None:
        first = await busy(model, found)
        second = asyncio.create_task(users(found, "a"))
        await asyncio.sleep(0)
        closing = threading.Thread(target=found.close)
        closing.start()
        model.let.set()
        assert list(await asyncio.gather(first, second)) == [["first"], ["a"]]
        closing.join()
        with pytest.raises(Problem, match="wait already"):
            await users(found, "b")

    asyncio.run(main())
