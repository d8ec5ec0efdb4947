"""What is asked of the model: recommendations, similar items, what pulls an item up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twotower.errors import ConfigError, TwotowerError, nearest
from twotower.recommender import Recommender, Request, Where
from twotower.recommender.events import kept
from twotower.serving.body import read_body
from twotower.serving.config import Limits
from twotower.serving.problems import Problem, problem_of
from twotower.serving.schemas import ExplainCall, Query, RecommendCall, SimilarCall
from twotower.serving.service import Service, json_response
from twotower.serving.versions import Version
from twotower.types import Events, Id, Ragged

__all__ = ["explain", "recommend", "similar"]

_EXPLAINED = 50
_WITHOUT_ALL = 1
"""The second of the histories that an explanation is made from: the whole one, none of it, and it without each item."""


async def recommend(service: Service, request: HttpRequest) -> Response:
    """``POST /v1/recommend``."""
    limits = service.config.limits
    call = await read_body(request, RecommendCall, limits)
    _require_choice(call.k, call.only, limits)
    _require_most(len(call.queries), limits.max_queries, "/queries")
    _require_most(len(call.exclude), limits.max_ids, "/exclude")
    for number, query in enumerate(call.queries):
        _require_query(query, f"/queries/{number}", limits)
    where: Where = call.where
    requests = [
        Request(query.user, query.features, query.history, call.k, call.exclude_seen, call.exclude, call.only, where)
        for query in call.queries
    ]
    answered = await service.batcher.answer(requests, limits.max_seconds)
    recommender, answers = answered.moment
    problems = {place: problem_of(answer) for place, answer in enumerate(answers) if isinstance(answer, TwotowerError)}
    if len(problems) == len(answers):
        first = problems[0]
        faults = [{"at": f"/queries/{place}", "detail": problem.detail} for place, problem in list(problems.items())[:20]]
        raise Problem(first.status, first.detail, errors=faults, kind=first.kind)
    results: list[dict[str, object]] = []
    for place, answer in enumerate(answers):
        if isinstance(answer, TwotowerError):
            results.append({"items": [], "assumed": {}, "problem": problems[place].as_json()})
        else:
            items = _items(recommender, answer.rows, answer.scores, call.columns)
            results.append({"items": items, "assumed": answer.assumed})
    return json_response({"version": answered.version.name, "results": results})


async def similar(service: Service, request: HttpRequest) -> Response:
    """``POST /v1/similar``."""
    limits = service.config.limits
    call = await read_body(request, SimilarCall, limits)
    _require_choice(call.k, call.only, limits)
    _require_most(len(call.items), limits.max_queries, "/items")

    def work(version: Version) -> dict[str, object]:
        recommender = version.live.latest()
        found = recommender.search_similar(call.items, k=call.k, only=call.only, where=call.where)
        results = []
        for rows_K, scores_K in zip(found.rows_BK.numpy(), found.scores_BK.numpy(), strict=True):
            there = int((rows_K >= 0).sum())
            results.append({"items": _items(recommender, rows_K[:there], scores_K[:there], call.columns), "assumed": {}})
        return {"version": version.name, "results": results}

    return json_response(await service.batcher.run(work, limits.max_seconds))


async def explain(service: Service, request: HttpRequest) -> Response:
    """``POST /v1/explain``: how much the score of an item falls without each entry of the history."""
    limits = service.config.limits
    call = await read_body(request, ExplainCall, limits)
    _require_query(call.query, "/query", limits)

    def work(version: Version) -> dict[str, object]:
        query = call.query
        if query.user is not None and query.history is None:
            recommender, whole = version.live.read(query.user)
        else:
            recommender = version.live.latest()
            whole = recommender.requests.reader.events([query.history or []], recommender.items)
        read = _items_of(whole).values
        latest = list(dict.fromkeys(reversed(read.tolist())))[:_EXPLAINED]
        left_out = torch.tensor([-1, -1, *latest])  # of the first two, no item
        every = whole.take(torch.zeros(len(left_out), dtype=torch.int64))
        row = torch.repeat_interleave(torch.arange(len(left_out)), len(read))
        asked = kept(every, (row != _WITHOUT_ALL) & (_items_of(every).values != left_out[row]))
        vector_1D = recommender.items.vectors(recommender.items.require([call.item], "item"))
        vectors_BD = recommender.requests.encode_events(query.user, query.features, asked)
        scores: list[float] = (vectors_BD.double() @ vector_1D[0].double()).tolist()
        ids = recommender.items.ids(np.array(latest, dtype=np.int64))
        pulls = sorted(
            ({"id": item, "pull": scores[0] - score} for item, score in zip(ids, scores[2:], strict=True)),
            key=lambda entry: -float(entry["pull"]),
        )
        pulled = recommender.items.rows([entry["id"] for entry in pulls]).numpy()  # type: ignore[misc]
        for entry, columns in zip(pulls, recommender.items.frame(pulled).to_dicts(), strict=True):
            columns.pop(recommender.catalogue.id_column)
            entry["columns"] = columns  # type: ignore[assignment]
        return {
            "version": version.name,
            "item": call.item,
            "score": scores[0],
            "without_history": scores[1],
            "history": pulls,
        }

    return json_response(await service.batcher.run(work, limits.max_seconds))


def _items_of(events: Events) -> Ragged:
    assert isinstance(events.items, Ragged)
    return events.items


def _items(
    recommender: Recommender, rows: NDArray[np.int64], scores: NDArray[np.float32], columns: Sequence[str]
) -> list[dict[str, object]]:
    ids = recommender.items.ids(rows)
    values = scores.tolist()
    if not columns:
        return [{"id": item, "score": score} for item, score in zip(ids, values, strict=True)]
    known = recommender.items.schema
    for name in columns:
        if name not in known:
            raise ConfigError(f"columns: no {name!r} in the catalogue{nearest(name, known)}")
    frame = recommender.items.frame(rows, list(dict.fromkeys(columns)))
    return [
        {"id": item, "score": score, "columns": row} for item, score, row in zip(ids, values, frame.to_dicts(), strict=True)
    ]


def _require_choice(k: int, only: Sequence[Id] | None, limits: Limits) -> None:
    if k > limits.max_k:
        raise Problem(422, f"/k: at most {limits.max_k} items per query (came: {k})")
    _require_most(len(only or ()), limits.max_ids, "/only")


def _require_query(query: Query, at: str, limits: Limits) -> None:
    if query.user is None and query.features is None and query.history is None:
        raise Problem(422, f"{at}: give a user, features or a history")
    _require_most(len(query.history or ()), limits.max_history, f"{at}/history")


def _require_most(came: int, most: int, at: str) -> None:
    if came > most:
        raise Problem(422, f"{at}: at most {most:,} entries (came: {came:,})")
