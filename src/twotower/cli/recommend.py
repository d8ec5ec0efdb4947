"""``twotower recommend`` and ``twotower similar``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from twotower.cli.output import print_json, print_lines, print_table
from twotower.errors import ConfigError
from twotower.recommender import Recommendations, Recommender
from twotower.types import Id

__all__ = ["recommend_command", "similar_command"]

_SHOWN = 10


def recommend_command(
    run: Path,
    *,
    user: str | None,
    query: Sequence[str],
    history: Sequence[str] | None,
    k: int,
    include_seen: bool,
    exclude: Sequence[str],
    only: Sequence[str] | None,
    as_json: bool,
) -> None:
    """Answer one request and print what the user liked beside what is recommended."""
    if user is None and not query and not history:
        raise ConfigError("say for whom: --user ID, --query column=value, or --history ITEM")
    recommender = Recommender.load(run)
    items = recommender.catalogue.ids
    asked = None if user is None else _id(user, recommender.users.table.ids, "--user")
    past = None if not history else [_id(item, items, "--history") for item in history]
    recommender.items.require(past or [], "--history")  # the library passes over unknown ones, a person may have misspelt
    answer = recommender.recommend(
        None if asked is None else [asked],
        features=[_features(query, recommender)] if query else None,
        histories=None if past is None else [past],
        k=k,
        exclude_seen=not include_seen,
        exclude=[_id(item, items, "--exclude") for item in exclude],
        only=None if only is None else [_id(item, items, "--only") for item in only],
    )
    liked = past if past is not None else recommender.history(asked) if asked is not None else []
    rows = answer.frame.drop("query")
    if as_json:
        print_json({"user": asked, "history": liked[-_SHOWN:], "items": rows.to_dicts(), "assumed": dict(answer.assumed)})
        return
    if liked:
        whose = "who has the given history" if past is not None else f"user {user}"
        shown = f", the latest {_SHOWN}, latest first" if len(liked) > _SHOWN else ""
        print_lines(f"{whose} chose ({len(liked):,} items{shown}):")
        print_lines(*(f"  {item}" for item in reversed(liked[-_SHOWN:])), "")
    _print("recommended, seen items included:" if include_seen else "recommended:", rows)
    _print_assumed(answer, recommender)


def similar_command(run: Path, *, item: str, k: int, as_json: bool) -> None:
    """Print the items most like one item."""
    recommender = Recommender.load(run)
    asked = _id(item, recommender.catalogue.ids, "--item")
    rows = recommender.similar_items([asked], k=k).frame.drop("query")
    if as_json:
        print_json({"item": asked, "items": rows.to_dicts()})
    else:
        _print(f"like {asked}, by the cosine of the vectors:", rows)


def _id(text: str, ids: pl.Series, option: str) -> Id:
    if ids.dtype == pl.String:
        return text
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{option} {text}: the ids are integers") from None


def _features(parts: Sequence[str], recommender: Recommender) -> dict[str, object]:
    """Parse ``column=value`` by the types that the query's columns had in train; of JSON only times, which are text."""
    types = {**recommender.users.table.frame.schema}
    if recommender.defaults.time_column is not None:
        types[recommender.defaults.time_column] = pl.Datetime()  # kept as Unix seconds, but a person may write a date
    values: dict[str, object] = {}
    for part in parts:
        if part.lstrip().startswith("{"):
            given = _json_object(part)
            times = {n for n, v in given.items() if isinstance(v, str) and n in types and types[n].is_temporal()}
            values |= {n: _value(n, str(v), types[n]) if n in times else v for n, v in given.items()}
            continue
        for pair in part.split(","):
            name, equals, raw = (piece.strip() for piece in pair.partition("="))
            if not equals or not name:
                raise ConfigError(f"--query {pair}: write column=value, or a JSON object when a value holds a comma")
            values[name] = _value(name, raw, types.get(name))
    return values


def _json_object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--query {text}: not valid JSON: {error}") from None
    return dict(found)


def _value(name: str, raw: str, dtype: pl.DataType | None) -> object:
    try:
        if dtype is not None and dtype.is_integer():
            return int(raw)
        if dtype is not None and dtype.is_float():
            return float(raw)
        if dtype is not None and dtype.is_temporal():
            return _time(raw)
    except ValueError:
        if dtype is not None and dtype.is_temporal():
            raise ConfigError(
                f"--query {name}={raw}: {name!r} is a time; write 2024-01-31, 2024-01-31T08:30:00Z or Unix seconds"
            ) from None
        raise ConfigError(f"--query {name}={raw}: {name!r} is a number in train ({dtype}); came {raw!r}") from None
    if dtype == pl.Boolean:
        if raw not in ("true", "false"):
            raise ConfigError(f"--query {name}={raw}: {name!r} is true or false; came {raw!r}")
        return raw == "true"
    return raw


def _time(raw: str) -> float | datetime:
    """Unix seconds, or ISO 8601, which is UTC without an offset."""
    try:
        return float(raw)
    except ValueError:
        return datetime.fromisoformat(raw)


def _print(title: str, rows: pl.DataFrame) -> None:
    columns = [name for name in rows.columns if name not in ("rank", "score")]
    table = [[str(row["rank"]), f"{row['score']:.3f}", *(_cell(row[name]) for name in columns)] for row in rows.to_dicts()]
    print_table(title, ["rank", "score", *columns], table, left=columns)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _print_assumed(answer: Recommendations, recommender: Recommender) -> None:
    if answer.assumed:
        end = {recommender.defaults.time_column: " (the end of train)"}
        print_lines(
            "", "assumed: " + ", ".join(f"{name} = {value}{end.get(name, '')}" for name, value in answer.assumed.items())
        )
