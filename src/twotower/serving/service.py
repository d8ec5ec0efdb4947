"""What all routes share, and what surrounds each of them: access, limits, problems, counts, the log."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import TypeAlias, TypeVar

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twotower.errors import StoreBusyError, StoreError, TwotowerError
from twotower.serving.access import Access
from twotower.serving.batcher import Batcher
from twotower.serving.config import ServiceConfig
from twotower.serving.metrics import Metrics
from twotower.serving.problems import Problem, problem_of
from twotower.serving.stores import open_store
from twotower.serving.token_file import read_token
from twotower.serving.versions import Versions

__all__ = ["Handler", "Service", "json_response"]

T = TypeVar("T")

Handler: TypeAlias = Callable[["Service", HttpRequest], Awaitable[Response]]
"""What answers a route."""

_log = logging.getLogger("twotower.serving")
_PROCESS, _COUNT = secrets.token_hex(4), count()
_WRITERS = 8  # they share a commit where they come together
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Service:
    """A service's state; `open` makes it, and loads the model.

    Attributes:
        config: As given.
        versions: What answers.
        batcher: In whose turn.
        access: Who may.
        metrics: How often, and how long it took.
    """

    def __init__(self, config: ServiceConfig, versions: Versions, access: Access) -> None:
        self.config, self.versions, self.access = config, versions, access
        self.metrics = Metrics()
        limits = config.limits
        self.batcher = Batcher(versions, max_waiting=limits.max_waiting, batch_queries=limits.batch_queries)
        self._writer = ThreadPoolExecutor(_WRITERS, thread_name_prefix="twotower-writer")
        self._writes = 0
        self._clients: Counter[str] = Counter()
        self.ready = True

    @classmethod
    def open(cls, config: ServiceConfig) -> Service:
        """Load the model and open the store.

        Raises:
            TwotowerError: If one of them can't be.
        """
        token = None if config.token_file is None else read_token(config.token_file)
        place = config.model / "live.sqlite" if config.store is None else config.store
        versions = Versions(config.model, partial(open_store, place), poll_seconds=config.poll_seconds)
        return cls(config, versions, Access(token, private=config.private))

    def close(self) -> None:
        """Answer what waits, and end."""
        self.ready = False
        self.batcher.close()
        self._writer.shutdown()
        self.versions.close()

    async def write(self, work: Callable[[], T]) -> T:
        """Do something that writes, beside the answering thread.

        Raises:
            Problem: 503, if too many writes wait.
        """
        if self._writes >= self.config.limits.max_waiting:
            raise Problem(503, f"{self._writes} writes wait already; try again", headers={"Retry-After": "1"})
        writing = asyncio.get_running_loop().run_in_executor(self._writer, work)
        self._writes += 1
        writing.add_done_callback(self._written)
        # a write that has begun is finished, and counts until then, whatever becomes of who asked
        return await asyncio.shield(writing)

    def _written(self, _: object) -> None:
        self._writes -= 1

    def endpoint(
        self, handler: Handler, *, write: bool = False, open_to_all: bool = False
    ) -> Callable[[HttpRequest], Awaitable[Response]]:
        """A handler with what surrounds it.

        Args:
            handler: Answers, or raises a `Problem` or an error of the library.
            write: Whether it changes something.
            open_to_all: Whether no token is ever asked for (health).
        """

        async def answer(request: HttpRequest) -> Response:
            start = time.perf_counter()
            request_id = _request_id(request.headers.get("x-request-id"))
            client = request.client.host if request.client else ""
            most = self.config.limits.max_per_client
            self._clients[client] += 1
            try:
                if most and self._clients[client] > most and not open_to_all:
                    raise Problem(429, f"a client may ask {most} things at a time", headers={"Retry-After": "1"})
                if not open_to_all:
                    self.access.require(request.headers.get("authorization"), write=write)
                response = await handler(self, request)
            except Exception as error:
                response = _problem(error, request_id).response(request_id)
            finally:
                self._clients[client] -= 1
                if not self._clients[client]:
                    del self._clients[client]
            return self.finished(request.scope["path"], response, request_id, start, request.method)

        return answer

    def finished(self, route: str, response: Response, request_id: str, start: float, method: str) -> Response:
        """Count and log an answer, and give it what every answer has."""
        seconds = time.perf_counter() - start
        self.metrics.observe(route, response.status_code, seconds)
        response.headers["X-Request-ID"] = request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        if _log.isEnabledFor(logging.INFO):
            facts = {"id": request_id, "method": method, "route": route, "status": response.status_code}
            _log.info("request", extra={"facts": facts | {"ms": round(seconds * 1e3, 2)}})
        return response

    async def unmatched(self, request: HttpRequest, error: Exception) -> Response:
        """The answer where no route, or no method of it, fits."""
        assert isinstance(error, HTTPException)
        status = error.status_code
        detail = "there is no such path; see /openapi.json" if status == 404 else str(error.detail)
        headers = dict(error.headers or {})
        if status == 405:
            detail = f"this path knows {headers.get('Allow', headers.get('allow', 'other methods'))}"
        problem = Problem(status if status in (404, 405) else 400, detail, headers=headers)
        request_id = _request_id(request.headers.get("x-request-id"))
        method = request.method if request.method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
        return self.finished("other", problem.response(request_id), request_id, time.perf_counter(), method)


def json_response(values: object, status: int = 200) -> Response:
    """An answer as JSON; numbers that JSON can't hold become null."""
    return Response(to_json(values, inf_nan_mode="null"), status, media_type="application/json")


def _problem(error: Exception, request_id: str) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, StoreBusyError):
        # it names the store, which is not for everybody
        _log.warning("store", extra={"facts": {"id": request_id, "error": str(error)}})
        return Problem(503, "live items and histories can't be had now; try again", headers={"Retry-After": "1"})
    if isinstance(error, TwotowerError) and not isinstance(error, StoreError):
        return problem_of(error)
    _log.error("fault", exc_info=error, extra={"facts": {"id": request_id}})
    return Problem(500, f"the service has a fault; its log tells more under {request_id}")


def _request_id(given: str | None) -> str:
    return given if given is not None and _REQUEST_ID.fullmatch(given) else f"{_PROCESS}{next(_COUNT) & 0xFFFFFFFF:08x}"
