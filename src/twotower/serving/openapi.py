"""The service's OpenAPI document, made from the bodies that it checks requests against."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from twotower import __version__
from twotower.serving import schemas
from twotower.serving.config import ServiceConfig

__all__ = ["openapi_document"]

_REFS = "#/components/schemas/{model}"


def openapi_document(config: ServiceConfig) -> dict[str, Any]:
    """OpenAPI 3.1, of the routes that the service has with this configuration."""
    read: dict[str, Any] = {"security": [{"token": []}] if config.private else []}
    # where there is no token to have, none is asked for: whoever writes is told that nobody may
    write: dict[str, Any] = {"security": [{"token": []}] if config.token_file is not None else []}
    paths: dict[str, dict[str, Any]] = {
        "/v1/recommend": {"post": _call("Recommend items", schemas.RecommendCall, schemas.RecommendReply, 404, 409) | read},
        "/v1/similar": {"post": _call("Similar items", schemas.SimilarCall, schemas.SimilarReply, 404) | read},
        "/v1/items": {
            "put": _call("Add or replace items", schemas.ItemsCall, schemas.WriteReply, 403) | write,
            "delete": _asked("Remove items", schemas.WriteReply, 403, 404, 422, parameters=[_ID]) | write,
        },
        "/v1/interactions": {
            "post": _call("Append to histories", schemas.InteractionsCall, schemas.WriteReply, 403, 404) | write
        },
        "/v1/model": {"get": _asked("What answers", schemas.ModelReply) | read},
        "/v1/model:activate": {
            "post": _call("Choose a version", schemas.ActivateCall, schemas.ActivateReply, 403, 404, 409) | write
        },
        "/healthz": {"get": _asked("Does the process live", schemas.HealthReply) | {"security": []}},
        "/readyz": {"get": _asked("Can it answer", schemas.ReadyReply) | {"security": []}},
        "/metrics": {"get": _plain("Figures for Prometheus") | {"security": []}},
    }
    if config.page:
        longest = _limit(config.limits.max_history)
        paths["/v1/explain"] = {"post": _call("What pulls an item up", schemas.ExplainCall, schemas.ExplainReply, 404) | read}
        paths["/v1/items"]["get"] = _asked("Search items", schemas.SearchReply, 422, parameters=[_WORDS, _LIMIT, _IDS]) | read
        paths["/v1/users"] = {"get": _asked("Search users", schemas.UsersReply, 422, parameters=[_START, _LIMIT]) | read}
        paths["/v1/history"] = {"get": _asked("What a user met", schemas.HistoryReply, 422, parameters=[_USER, longest]) | read}
    models = [value for name in schemas.__all__ if isinstance(value := getattr(schemas, name), type)]
    assert all(issubclass(model, BaseModel) for model in models)
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFS)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "twotower",
            "version": __version__,
            "description": "Recommendations of a two-tower model. Problems are RFC 9457 documents.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


_BUSY = (429, 500, 503)
_MEANINGS = {
    400: "The request can't be read.",
    401: "The token is missing or wrong.",
    403: "The service takes no writes.",
    404: "An id, or the version, is unknown.",
    408: "The body did not arrive in time.",
    409: "The version is broken, or the service has none to choose.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The request asks for something that can't be; the problem says what.",
    429: "This client asks for too much at a time; see Retry-After.",
    500: "The service has a fault.",
    503: "The service has too much to do; see Retry-After.",
}


def _parameter(name: str, meaning: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": meaning, "schema": schema} | more


_ID = _parameter(
    "id",
    "An item's id; as often as there are items.",
    {"type": "array", "items": {"type": "string"}, "minItems": 1},
    required=True,
    explode=True,
    style="form",
)
_IDS = _ID | {"description": "In place of words: items by id; unknown ones are passed over.", "required": False}


def _limit(most: int) -> dict[str, Any]:
    return _parameter("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": most, "default": min(20, most)})


_LIMIT = _limit(100)
_WORDS = _parameter("words", "That the item's text must have.", {"type": "string", "maxLength": 200})
_START = _parameter("start", "Of the user's id.", {"type": "string", "maxLength": 200})
_USER = _parameter("user", "The user's id.", {"type": "string", "minLength": 1, "maxLength": 200}, required=True)


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFS.format(model=model.__name__)}


def _problem(status: int) -> dict[str, Any]:
    reply: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {"application/problem+json": {"schema": _reference(schemas.ProblemReply)}},
    }
    if status in (429, 503):
        reply["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}}
    return reply


def _asked(
    summary: str, reply: type[BaseModel], *statuses: int, parameters: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    answers: dict[str, Any] = {
        "200": {"description": (reply.__doc__ or "").strip(), "content": {"application/json": {"schema": _reference(reply)}}}
    }
    answers |= {str(status): _problem(status) for status in sorted({401, 403, *statuses, *_BUSY})}
    return {"summary": summary, "parameters": parameters or [], "responses": answers}


def _call(summary: str, body: type[BaseModel], reply: type[BaseModel], *statuses: int) -> dict[str, Any]:
    found = _asked(summary, reply, 400, 408, 413, 415, 422, *statuses)
    found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _reference(body)}}}
    return found


def _plain(summary: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "responses": {
            "200": {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}},
            "500": _problem(500),
        },
    }
