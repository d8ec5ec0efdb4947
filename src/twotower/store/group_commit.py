"""Many threads write, few flush: what waits while one commit is being flushed to the disk goes together into the next one.

The thread whose turn it is commits its own job and all that wait behind it, tells them how it went, and passes the turn on.
There is no thread beside the callers' own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twotower.errors import StoreError

__all__ = ["GroupCommit"]

J = TypeVar("J")


class GroupCommit(Generic[J]):
    """Takes jobs from any thread and commits them in the order in which they came.

    Args:
        commit: Commits jobs, all or none, and returns a number for each. Called by one thread at a time.
        afterwards: Called by the same thread when the jobs of its group have been told.
        name: What is written to, for an error.
        most: How many jobs go together at most.
    """

    def __init__(
        self, commit: Callable[[Sequence[J]], Sequence[int]], afterwards: Callable[[], None], *, name: str, most: int
    ) -> None:
        self._commit = commit
        self._afterwards = afterwards
        self._name = name
        self._most = most
        self._changed = threading.Condition()
        self._queue: deque[_Entry[J]] = deque()
        self._led = False  # whether a thread has the turn
        self._closed = False

    def submit(self, job: J) -> int:
        """Commit a job, together with others, and return its number when that is done.

        Raises:
            StoreError: If this is closed.
            Exception: What the commit of its group raised, in every thread of the group an exception of its own.
        """
        entry = _Entry(job)
        try:
            with self._changed:
                if self._closed:
                    raise StoreError(f"{self._name} can't be written: this store was closed; open it again")
                self._queue.append(entry)
                entry.leads = not self._led
                self._led = True
            if not entry.leads:
                entry.woken.acquire()
            if entry.leads:
                self._lead(entry)
        except BaseException:
            self._leave(entry)
            raise
        return entry.outcome()

    def close(self) -> None:
        """Refuse new jobs, and return when those that are here have been committed."""
        with self._changed:
            self._closed = True
            while self._led:
                self._changed.wait()

    def _lead(self, own: _Entry[J]) -> None:
        try:
            with self._changed:
                group = [self._queue.popleft() for _ in range(min(len(self._queue), self._most))]
            try:
                for entry, number in zip(group, self._commit([entry.job for entry in group]), strict=True):
                    entry.number = number
            except Exception as error:
                for entry in group:
                    entry.error = error
            except BaseException:  # Control-C in the thread that leads: the others did not ask for it
                for entry in group:
                    entry.error = StoreError(f"{self._name}: writing was interrupted; whether it was written is not known")
                raise
            finally:
                for entry in group:
                    entry.woken.release()
            self._afterwards()
        finally:
            own.leads = False
            self._pass_on()

    def _pass_on(self) -> None:
        with self._changed:
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].woken.release()
            else:
                self._led = False
                self._changed.notify_all()

    def _leave(self, entry: _Entry[J]) -> None:
        """After an interrupt (Control-C) while waiting: nobody waits for a thread that is gone."""
        with self._changed:
            waiting = entry in self._queue
            if waiting:
                self._queue.remove(entry)
        if waiting and entry.leads:
            self._pass_on()


class _Entry(Generic[J]):
    """A job, and how it went."""

    def __init__(self, job: J) -> None:
        self.job = job
        self.leads = False
        self.number: int | None = None
        self.error: BaseException | None = None
        self.woken = threading.Lock()
        self.woken.acquire()

    def outcome(self) -> int:
        if isinstance(self.error, StoreError):
            raise type(self.error)(*self.error.args) from self.error  # one for each thread: a traceback belongs to one
        if self.error is not None:
            raise self.error
        assert self.number is not None
        return self.number
