"""What changes while the service runs: items, histories, the version."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twotower.serving.body import read_body
from twotower.serving.problems import Problem
from twotower.serving.schemas import ActivateCall, InteractionsCall, ItemsCall
from twotower.serving.service import Service, json_response
from twotower.store import Interaction
from twotower.types import Id

__all__ = ["activate_version", "append_interactions", "delete_items", "put_items"]


async def put_items(service: Service, request: HttpRequest) -> Response:
    """``PUT /v1/items``."""
    call = await read_body(request, ItemsCall, service.config.limits)
    _require_most(service, len(call.items), "/items")
    items: dict[Id, dict[str, Any]] = {item.id: item.features for item in call.items}
    if len(items) != len(call.items):
        raise Problem(422, "/items: an id came twice; send each item once")

    def work() -> str:
        version = service.versions.active
        version.live.put_items(items)
        return version.name

    return json_response({"version": await service.write(work), "accepted": len(items)})


async def delete_items(service: Service, request: HttpRequest) -> Response:
    """``DELETE /v1/items?id=...``."""
    asked = request.query_params.getlist("id")
    unknown = sorted(set(request.query_params) - {"id"})
    if unknown or not asked:
        raise Problem(
            422, "name the items: /v1/items?id=ID, as often as there are items" + (f" (came: {unknown})" if unknown else "")
        )
    _require_most(service, len(asked), "id")
    ids = [item_id(service, text) for text in asked]

    def work() -> str:
        version = service.versions.active
        version.live.remove_items(list(dict.fromkeys(ids)))
        return version.name

    return json_response({"version": await service.write(work), "accepted": len(set(ids))})


async def append_interactions(service: Service, request: HttpRequest) -> Response:
    """``POST /v1/interactions``."""
    call = await read_body(request, InteractionsCall, service.config.limits)
    _require_most(service, len(call.interactions), "/interactions")
    entries = [Interaction(entry.user, entry.item, entry.time) for entry in call.interactions]

    def work() -> str:
        version = service.versions.active
        version.live.append(entries)
        return version.name

    return json_response({"version": await service.write(work), "accepted": len(entries)})


async def activate_version(service: Service, request: HttpRequest) -> Response:
    """``POST /v1/model:activate``."""
    call = await read_body(request, ActivateCall, service.config.limits)
    if call.version not in service.versions.names:
        raise Problem(404, f"no version {call.version[:80]!r}; GET /v1/model names them", kind="unknown-version")
    version, previous = await service.write(lambda: service.versions.activate(call.version))
    return json_response({"version": version, "previous": previous})


def item_id(service: Service, text: str) -> Id:
    """An item's id as a query string has it.

    Raises:
        Problem: 422, if the ids are integers and this is none.
    """
    if service.versions.active.live.recommender.items.kind == "text":
        return text
    return integer_id(text)


def integer_id(text: str) -> int:
    """An integer of 64 bits.

    Raises:
        Problem: 422, if it is none.
    """
    if text.removeprefix("-").isdecimal() and len(text) <= 20 and -(2**63) <= int(text) < 2**63:
        return int(text)
    raise Problem(422, "id: the ids are integers of 64 bits")


def _require_most(service: Service, came: int, at: str) -> None:
    most = service.config.limits.max_ids
    if came > most:
        raise Problem(422, f"{at}: at most {most:,} entries (came: {came:,})")
