"""Hooks of schemathesis: half of the requests that the document allows ask for what the served world has, and succeed."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import schemathesis  # type: ignore[import-not-found,unused-ignore]

__all__ = ["before_call"]


@schemathesis.hook  # type: ignore[untyped-decorator,unused-ignore]
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Put known ids and columns into a request that is valid already; whatever else it asks for stays."""
    if case.meta is None or case.meta.generation.mode.value != "positive" or crc32(repr(case.body).encode()) % 2:
        return
    body = case.body
    if case.operation.path == "/v1/items" and case.method == "DELETE":
        case.query = {"id": [_item(value) for value in case.query.get("id", [])]}
    if case.operation.path == "/v1/history":
        case.query = case.query | {"user": _user(case.query.get("user"))}
    if not isinstance(body, dict):
        return
    for query in [*(body.get("queries") or []), *([body["query"]] if "query" in body else [])]:
        if query.get("user") is not None:
            query["user"] = _user(query["user"])
        if query.get("features") is not None:
            query["features"] = {"age": 30, "city": "Rome"} if len(query["features"]) else {}
        if query.get("history") is not None:
            query["history"] = [_item(value) for value in query["history"]]
    for name in ("only", "exclude"):
        if body.get(name):
            body[name] = [_item(value) for value in body[name]]
    if body.get("where"):
        body["where"] = {"year": {"min": 1980}, "query": {"not": ["q1", "q2"]}}
    if body.get("columns"):
        body["columns"] = ["year", "query"]
    if "item" in body:
        body["item"] = _item(body["item"])
    for number, entry in enumerate(body.get("items") or []):
        if isinstance(entry, dict):
            entry["id"], entry["features"] = f"{entry['id']} {number}", {"year": 1990}
        else:
            body["items"][number] = _item(entry)
    for entry in body.get("interactions") or []:
        entry["user"], entry["item"] = _user(entry["user"]), _item(entry["item"])


def _user(value: object) -> str:
    return f"user-{crc32(repr(value).encode()) % 25:02}"


def _item(value: object) -> str:
    return f"Item {crc32(repr(value).encode()) % 30:02}"
