"""What the page needs to offer something to choose: items by their words, users by the start of their ids, histories."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import polars as pl
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twotower.recommender import Items
from twotower.serving.problems import Problem
from twotower.serving.service import Service, json_response
from twotower.serving.versions import Version
from twotower.serving.writing import integer_id, item_id
from twotower.types import Id

__all__ = ["history", "search_items", "users"]

_MOST = 100
_LONGEST = 200
_texts: WeakKeyDictionary[Items, pl.Series] = WeakKeyDictionary()


async def search_items(service: Service, request: HttpRequest) -> Response:
    """``GET /v1/items?words=...&limit=...``: items whose text has all of the words; without words, the first ones.
    ``GET /v1/items?id=...&id=...``: the items of these ids, as far as there are such.
    """
    if "id" in request.query_params:
        return await _items_of_ids(service, request)
    words, limit = _asked(request, "words")

    def work(version: Version) -> dict[str, object]:
        items = version.live.latest().items
        found = pl.repeat(True, len(items), eager=True)
        for word in words.lower().split():  # as the items' text is lowered: casefold has ss for ß
            found &= _text(items).str.contains(word, literal=True)
        rows = (found & pl.Series(items.available.numpy())).arg_true().head(limit).to_numpy().astype(np.int64)
        return {"version": version.name, "items": _named(items, rows)}

    return json_response(await service.batcher.run(work, service.config.limits.max_seconds))


async def _items_of_ids(service: Service, request: HttpRequest) -> Response:
    asked = request.query_params.getlist("id")
    unknown = sorted(set(request.query_params) - {"id"})
    if unknown or len(asked) > _MOST:
        raise Problem(422, f"name at most {_MOST} items by id, and nothing else (came: {len(asked)} ids, {unknown})"[:200])
    ids = [item_id(service, text) for text in asked]

    def work(version: Version) -> dict[str, object]:
        items = version.live.latest().items
        rows = items.rows(ids).numpy()
        return {"version": version.name, "items": _named(items, rows[rows >= 0])}

    return json_response(await service.batcher.run(work, service.config.limits.max_seconds))


async def users(service: Service, request: HttpRequest) -> Response:
    """``GET /v1/users?start=...&limit=...``: known users whose ids start so."""
    start, limit = _asked(request, "start")

    def work(version: Version) -> dict[str, object]:
        ids = version.live.latest().users.table.ids
        starts = ids.cast(pl.String).str.starts_with(start)
        return {"version": version.name, "users": ids.filter(starts).head(limit).to_list()}

    return json_response(await service.batcher.run(work, service.config.limits.max_seconds))


async def history(service: Service, request: HttpRequest) -> Response:
    """``GET /v1/history?user=...&limit=...``: what a user met, the most recent first."""
    text, limit = _asked(request, "user", most=service.config.limits.max_history)
    if not text:
        raise Problem(422, "name the user: /v1/history?user=ID")
    kind = service.versions.active.live.recommender.users.lookup.kind
    user: Id = text if kind == "text" else integer_id(text)

    def work(version: Version) -> dict[str, object]:
        recommender = version.live.latest()
        items = version.live.history(user)
        latest = recommender.items.rows(items[: -limit - 1 : -1]).numpy()
        return {
            "version": version.name,
            "items": _named(recommender.items, latest[latest >= 0]),
            "known": user in recommender.users or bool(items),
            "total": len(items),
        }

    return json_response(await service.batcher.run(work, service.config.limits.max_seconds))


def _asked(request: HttpRequest, name: str, *, most: int = _MOST) -> tuple[str, int]:
    """What is asked for, and how many at most."""
    unknown = sorted(set(request.query_params) - {name, "limit"})
    if unknown:
        raise Problem(422, f"this path knows {name} and limit (came: {unknown[0][:80]!r})")
    limit = request.query_params.get("limit", str(min(20, most)))
    if not limit.isdecimal() or len(limit) > 9 or not 1 <= int(limit) <= most:
        raise Problem(422, f"limit: a number from 1 to {most}")
    text = request.query_params.get(name, "")
    if len(text) > _LONGEST:
        raise Problem(422, f"{name}: at most {_LONGEST} characters")
    return text, int(limit)


def _named(items: Items, rows: np.ndarray) -> list[dict[str, object]]:
    own = items.catalogue.id_column
    return [{"id": columns.pop(own), "columns": columns} for columns in items.frame(rows).to_dicts()]


def _text(items: Items) -> pl.Series:
    """All text of each item, in lower case."""
    known = _texts.get(items)
    if known is None:
        frame = items.frame(np.arange(len(items)))
        names = [name for name, dtype in frame.schema.items() if dtype == pl.String or name == items.catalogue.id_column]
        joined = pl.concat_str([pl.col(name).cast(pl.String) for name in names], separator=" ", ignore_nulls=True)
        known = frame.select(joined.str.to_lowercase()).to_series()
        _texts[items] = known
    return known
