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

from twotower.serving import asking, browsing, page, status, writing
from twotower.serving.config import ServiceConfig
from twotower.serving.openapi import openapi_document
from twotower.serving.service import Service, json_response

__all__ = ["create_app"]

Handler: TypeAlias = Callable[[HttpRequest], Awaitable[Response]]


def create_app(config: ServiceConfig) -> Starlette:
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
    app.state.service = service
    return app


def _by_method(methods: Mapping[str, Handler]) -> Handler:
    """One endpoint for all methods of a path; the answer to HEAD is that to GET, without its body."""

    async def answer(request: HttpRequest) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return answer
