"""``twotower recommend`` and ``twotower similar``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from twotower.cli.history_values import history_values
from twotower.cli.ids import id_of
from twotower.cli.output import print_json, print_lines, print_table
from twotower.cli.query_values import query_values
from twotower.errors import ConfigError
from twotower.recommender import Recommendations, Recommender
from twotower.recommender.events import item_of
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
    asked = None if user is None else id_of(user, recommender.users.table.ids, "--user")
    events = None if not history else history_values(history, recommender)
    past = None if events is None else [item_of(event) for event in events]
    given = _features(query, recommender)
    recommender.items.require(past or [], "--history")  # the library passes over unknown ones, a person may have misspelt
    answer = recommender.recommend(
        None if asked is None else [asked],
        features=[given] if query else None,
        histories=None if events is None else [events],
        k=k,
        exclude_seen=not include_seen,
        exclude=[id_of(item, items, "--exclude") for item in exclude],
        only=None if only is None else [id_of(item, items, "--only") for item in only],
    )
    missing = _missing(asked, given, answer, recommender)
    liked = past if past is not None else recommender.history(asked) if asked is not None else []
    rows = answer.frame.drop("query")
    if as_json:
        found = {
            "user": asked,
            "history": liked[-_SHOWN:],
            "items": rows.to_dicts(),
            "assumed": dict(answer.assumed),
            "missing": missing,
        }
        print_json(found)
        return
    if asked is None or asked not in recommender.users:
        described = ", ".join(f"{name} = {value}" for name, value in given.items())
        print_lines(f"for somebody never seen{f': {described}' if described else ''}", "")
    if liked:
        whose = "who has the given history" if past is not None else f"user {user}"
        shown = f", the latest {_SHOWN}, latest first" if len(liked) > _SHOWN else ""
        print_lines(f"{whose} chose ({len(liked):,} items{shown}):")
        print_lines(*(f"  {item}" for item in reversed(liked[-_SHOWN:])), "")
    _print("recommended, seen items included:" if include_seen else "recommended:", rows)
    _print_assumed(answer, missing, recommender)


def similar_command(run: Path, *, item: str, k: int, as_json: bool) -> None:
    """Print the items most like one item."""
    recommender = Recommender.load(run)
    asked = id_of(item, recommender.catalogue.ids, "--item")
    rows = recommender.similar_items([asked], k=k).frame.drop("query")
    if as_json:
        print_json({"item": asked, "items": rows.to_dicts()})
    else:
        _print(f"like {asked}, by the cosine of the vectors:", rows)


def _features(parts: Sequence[str], recommender: Recommender) -> dict[str, object]:
    """Parse the options by the types that the query's columns had in train."""
    table = recommender.users.table
    types = {name: dtype for name, dtype in table.frame.schema.items() if name != table.id_column}
    if recommender.defaults.time_column is not None:
        types[recommender.defaults.time_column] = pl.Datetime()  # kept as Unix seconds, but a person may write a date
    return query_values(parts, types, id_column=table.id_column)


def _print(title: str, rows: pl.DataFrame) -> None:
    columns = [name for name in rows.columns if name not in ("rank", "score")]
    table = [[str(row["rank"]), f"{row['score']:.3f}", *(_cell(row[name]) for name in columns)] for row in rows.to_dicts()]
    print_table(title, ["rank", "score", *columns], table, left=columns)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.7g}"  # a float32 has no more digits, and 24.0 years are 24
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _missing(asked: Id | None, given: Mapping[str, object], answer: Recommendations, recommender: Recommender) -> list[str]:
    """Columns that the query reads and nothing is known of: what their features make of a missing value is used."""
    if asked is not None and asked in recommender.users:
        return []
    table = recommender.users.table
    return [
        name
        for name in table.frame.columns
        if name != table.id_column and given.get(name) is None and name not in answer.assumed
    ]


def _print_assumed(answer: Recommendations, missing: Sequence[str], recommender: Recommender) -> None:
    end = {recommender.defaults.time_column: " (the end of train)"}
    lines = []
    if answer.assumed:
        lines.append("assumed: " + ", ".join(f"{name} = {value}{end.get(name, '')}" for name, value in answer.assumed.items()))
    if missing:
        lines.append(f"not given, so taken as missing: {', '.join(missing)}")
    if lines:
        print_lines("", *lines)
