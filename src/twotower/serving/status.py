"""What the service says of itself: the model, whether it lives, whether it can answer, its figures."""

from __future__ import annotations

import os
import resource
from weakref import WeakKeyDictionary

import polars as pl
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twotower.errors import type_name
from twotower.recommender import Recommender
from twotower.serving.service import Service, json_response

__all__ = ["alive", "figures", "model", "ready"]

_FEW = 60
_described: WeakKeyDictionary[object, tuple[list[dict[str, object]], list[dict[str, object]]]] = WeakKeyDictionary()


async def model(service: Service, request: HttpRequest) -> Response:
    """``GET /v1/model``."""
    version = service.versions.active
    recommender = version.live.latest()
    features, columns = _columns(recommender)
    metrics = recommender.card.get("result", {})
    return json_response(
        {
            "version": version.name,
            "versions": service.versions.names,
            "items": recommender.items.num_available,
            "users": len(recommender.users.table),
            "item_ids": recommender.items.kind,
            "user_ids": recommender.users.lookup.kind,
            "item_column": recommender.catalogue.id_column,
            "user_column": recommender.users.table.id_column,
            "features": features,
            "events": list(recommender.requests.reader.readable),
            "columns": columns,
            "index": type(recommender.index).__name__,
            "embedding_dim": recommender.model.embedding_dim,
            "limits": service.config.limits.model_dump(mode="json"),
            "metrics": metrics.get("metrics", {}) if isinstance(metrics, dict) else {},
            "writable": service.access.writable,
            "private": service.config.private,
        }
    )


async def alive(service: Service, request: HttpRequest) -> Response:
    """``GET /healthz``: the process answers."""
    return json_response({"status": "alive"})


async def ready(service: Service, request: HttpRequest) -> Response:
    """``GET /readyz``: it can answer from a model."""
    return json_response({"status": "ready", "version": service.versions.active.name})


async def figures(service: Service, request: HttpRequest) -> Response:
    """``GET /metrics``."""
    versions, batcher = service.versions, service.batcher
    recommender = versions.active.live.recommender
    text = service.metrics.text(
        {
            "twotower_waiting_calls": ("gauge", "Calls that wait for an answer.", batcher.waiting),
            "twotower_batches_total": ("counter", "Batches that were answered.", batcher.batches),
            "twotower_queries_total": ("counter", "Queries that were answered.", batcher.queries),
            "twotower_items": ("gauge", "Items that can be recommended.", recommender.items.num_available),
            "twotower_users": ("gauge", "Users that the model knows.", len(recommender.users.table)),
            "twotower_swaps_total": ("counter", "Versions that took another's place.", versions.swaps),
            "twotower_refused_versions_total": ("counter", "Versions that were refused.", versions.refused),
            "process_resident_memory_bytes": ("gauge", "Resident memory.", _resident_bytes()),
        }
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _columns(recommender: Recommender) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Features that a query may give, and columns of the catalogue, with the values of those that have few."""
    known = _described.get(recommender.users)
    if known is None:
        people, own = recommender.users.table.frame, recommender.catalogue.id_column
        catalogue = recommender.catalogue.frame
        features = [_column(people[name]) for name in recommender.requests.readable]
        known = features, [_column(catalogue[name]) for name in catalogue.columns if name != own]
        _described[recommender.users] = known
    return known


def _column(column: pl.Series) -> dict[str, object]:
    dtype = column.dtype
    values: list[object] = []
    flat = column.explode(empty_as_null=True, keep_nulls=True) if isinstance(dtype, pl.List) else column
    if flat.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Boolean) and len(flat):
        distinct = flat.drop_nulls().unique()
        if len(distinct) <= _FEW:
            values = distinct.cast(pl.String).sort().to_list() if flat.dtype != pl.Boolean else [False, True]
    return {"name": column.name, "type": type_name(dtype), "values": values}


def _resident_bytes() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - not a file of the disk
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
