"""Calls that wait together are answered together, by one thread, and never more of them than the service takes on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import Any, TypeVar

from twotower.recommender import Moment, Request
from twotower.serving.problems import Problem
from twotower.serving.versions import Version, Versions

__all__ = ["Answered", "Batcher"]

T = TypeVar("T")


@dataclass(frozen=True)
class Answered:
    """A call's answers.

    Attributes:
        version: Which made all of them.
        moment: The answers, and the recommender whose rows they are.
    """

    version: Version
    moment: Moment


@dataclass(eq=False)
class _Call:
    """Queries, or some other work of the model (of no queries)."""

    requests: Sequence[Request]
    work: Callable[[Version], object] | None
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    deadline: float
    given_up: bool = field(default=False)


class Batcher:
    """Answers calls in the order of their arrival.

    While one batch is answered, the next one gathers: at a low rate every call is answered alone and at once, at a high one the
    model is asked for many queries at a time, which costs little more than for one. Nothing waits for others to come.

    Args:
        versions: What answers; a batch is answered by the version that is active when it begins.
        max_waiting: Calls that may wait; one more is refused.
        batch_queries: Queries that are answered together; a call with more is a batch of its own.
    """

    def __init__(self, versions: Versions, *, max_waiting: int, batch_queries: int) -> None:
        self._versions, self._max_waiting, self._batch_queries = versions, max_waiting, batch_queries
        self._waiting: deque[_Call] = deque()
        self._condition = Condition()
        self._closed = False
        self._thread = Thread(target=self._work, name="twotower-batcher", daemon=True)
        self._thread.start()
        self.batches = self.queries = 0

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return len(self._waiting)

    async def answer(self, requests: Sequence[Request], seconds: float) -> Answered:
        """Answer a call's queries.

        Args:
            requests: At least one.
            seconds: How long an answer may take.

        Raises:
            Problem: 503, if too many calls wait already, or the time is over.
        """
        answered: Answered = await self._enqueue(requests, None, seconds)
        return answered

    async def run(self, work: Callable[[Version], T], seconds: float) -> T:
        """Do something else with the active version, in its turn; raises as `answer` does, and what the work does."""
        done: T = await self._enqueue((), work, seconds)
        return done

    async def _enqueue(self, requests: Sequence[Request], work: Callable[[Version], object] | None, seconds: float) -> Any:
        loop = asyncio.get_running_loop()
        call = _Call(requests, work, loop.create_future(), loop, time.monotonic() + seconds)
        with self._condition:
            if self._closed or len(self._waiting) >= self._max_waiting:
                raise Problem(503, f"{len(self._waiting)} calls wait already; try again", headers={"Retry-After": "1"})
            self._waiting.append(call)
            self._condition.notify()
        timer = loop.call_at(loop.time() + seconds, self._expire, call)
        try:
            return await call.future
        finally:
            timer.cancel()
            call.given_up = True  # a client that has gone needs no answer

    def close(self) -> None:
        """Answer what waits, and end."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _expire(self, call: _Call) -> None:
        call.given_up = True
        if not call.future.done():
            call.future.set_exception(Problem(503, "the answer took too long; try again", headers={"Retry-After": "1"}))

    def _work(self) -> None:
        while True:
            with self._condition:
                while not self._waiting and not self._closed:
                    self._condition.wait()
                if not self._waiting:
                    return
                batch = self._next()
            if batch:
                self._answer(batch)

    def _next(self) -> list[_Call]:
        batch: list[_Call] = []
        queries = 0
        while self._waiting:
            call = self._waiting[0]
            if batch and (call.work is not None or queries + len(call.requests) > self._batch_queries):
                break
            self._waiting.popleft()
            if not call.given_up and time.monotonic() < call.deadline:
                batch.append(call)
                queries += len(call.requests)
                if call.work is not None:
                    break
        return batch

    def _answer(self, batch: list[_Call]) -> None:
        requests = [request for call in batch for request in call.requests]
        self.batches += 1
        self.queries += len(requests)
        try:
            version = self._versions.active
            if batch[0].work is not None:
                _tell(batch, [batch[0].work(version)])
                return
            moment = version.live.answer(requests)
        except BaseException as error:  # the thread must outlive it; who asked is told
            _tell(batch, [error] * len(batch))
            return
        outcomes = []
        start = 0
        for call in batch:
            stop = start + len(call.requests)
            outcomes.append(Answered(version, Moment(moment.recommender, moment.answers[start:stop])))
            start = stop
        _tell(batch, outcomes)


def _tell(batch: Sequence[_Call], outcomes: Sequence[object]) -> None:
    """Give each call its outcome; a loop is woken once for all of its calls, because to wake it costs as much as an answer."""

    def tell(places: Sequence[int]) -> None:
        for place in places:
            future, outcome = batch[place].future, outcomes[place]
            if future.done():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    of_loop: dict[asyncio.AbstractEventLoop, list[int]] = {}
    for place, call in enumerate(batch):
        of_loop.setdefault(call.loop, []).append(place)
    for loop, places in of_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever asked
            loop.call_soon_threadsafe(tell, places)
