"""The service as an ASGI application: every route, explicitly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from twotower.serving import asking, browsing, page, status, writing
from twotower.serving.config import ServiceConfig
from twotower.serving.openapi import openapi_document
from twotower.serving.service import Service, json_response

__all__ = ["Application", "create_app"]

Handler: TypeAlias = Callable[[HttpRequest], Awaitable[Response]]


def create_app(config: ServiceConfig) -> Application:
    """An application that loads its model when it starts (ASGI lifespan), and serves it.

    Raises:
        TwotowerError: If the model can't be loaded or the store can't be opened; at the start.
    """
    service = Service.open(config)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    async def document(service: Service, request: HttpRequest) -> Response:
        return json_response(openapi)

    openapi = openapi_document(config)
    end = service.endpoint
    routes: dict[str, dict[str, Handler]] = {
        "/v1/recommend": {"POST": end(asking.recommend)},
        "/v1/similar": {"POST": end(asking.similar)},
        "/v1/items": {"PUT": end(writing.put_items, write=True), "DELETE": end(writing.delete_items, write=True)},
        "/v1/interactions": {"POST": end(writing.append_interactions, write=True)},
        "/v1/model": {"GET": end(status.model)},
        "/v1/model:activate": {"POST": end(writing.activate_version, write=True)},
        "/healthz": {"GET": end(status.alive, open_to_all=True)},
        "/readyz": {"GET": end(status.ready, open_to_all=True)},
        "/metrics": {"GET": end(status.figures, open_to_all=True)},
        "/openapi.json": {"GET": end(document, open_to_all=True)},
    }
    if config.page:
        routes["/v1/explain"] = {"POST": end(asking.explain)}
        routes["/v1/items"]["GET"] = end(browsing.search_items)
        routes["/v1/users"] = {"GET": end(browsing.users)}
        routes["/v1/history"] = {"GET": end(browsing.history)}
        routes |= {path: {"GET": end(page.asset, open_to_all=True)} for path in page.PATHS}
    found = [Route(path, _by_method(methods), methods=list(methods)) for path, methods in routes.items()]
    app = Starlette(routes=found, lifespan=lifespan, exception_handlers={HTTPException: service.unmatched})
    return Application(app, routes, service)


class Application:
    """An ASGI application that knows its paths; what is none of them, and the start and the end, are Starlette's.

    An endpoint of ours answers whatever happens, and its path is one of a few: what a framework puts around every request, to
    find its route and to catch what it raises, took two fifths of the time.

    Attributes:
        service: What it serves.
    """

    def __init__(self, app: Starlette, routes: Mapping[str, Mapping[str, Handler]], service: Service) -> None:
        self._app = app
        self._handlers = {(path, method): handler for path, methods in routes.items() for method, handler in methods.items()}
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get((scope["path"], scope["method"])) if scope["type"] == "http" else None
        if handler is None:
            await self._app(scope, receive, send)
            return
        response = await handler(HttpRequest(scope, receive, send))
        await response(scope, receive, send)


def _by_method(methods: Mapping[str, Handler]) -> Handler:
    """One endpoint for all methods of a path; the answer to HEAD is that to GET, without its body."""

    async def answer(request: HttpRequest) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return answer
