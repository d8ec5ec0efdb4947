"""What ``--history`` says of events: ids of items, or where the query reads more of an event, JSON objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from twotower.cli.ids import id_of
from twotower.errors import ConfigError
from twotower.recommender import Event, Recommender

__all__ = ["history_values"]


def history_values(parts: Sequence[str], recommender: Recommender) -> list[Event]:
    """The events of a history, as they were typed.

    Args:
        parts: One for each ``--history``: an id; or, where the query reads more of events than items, an object such as
            ``{"item": "x", "time": "2024-01-31T08:30:00Z", "rating": 4}``.
        recommender: Which is asked.

    Raises:
        ConfigError: If one is no id or no object, an object has no item, or a time is missing or none.
    """
    more = [name for name in recommender.requests.reader.readable if name != "item"]
    return [
        _event(part, recommender, more) if more and part.lstrip().startswith("{") else _plain(part, recommender, more)
        for part in parts
    ]


def _plain(part: str, recommender: Recommender, more: Sequence[str]) -> Event:
    if recommender.requests.reader.reads_times:
        example = json.dumps({"item": part, "time": 1_700_000_000})
        raise ConfigError(
            f"--history {part}: the query reads when the events of a history were; write each as an object, with its time as "
            f"2024-01-31T08:30:00Z or in Unix seconds: --history '{example}' (it reads: {', '.join(more)})"
        )
    return id_of(part, recommender.catalogue.ids, "--history")


def _event(part: str, recommender: Recommender, more: Sequence[str]) -> Event:
    try:
        found: dict[str, object] = json.loads(part)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--history {part}: not valid JSON: {error}") from None
    item = found.get("item")
    if isinstance(item, bool) or not isinstance(item, str | int):
        raise ConfigError(f"--history {part}: must have its item, an id, under 'item'; it may have {', '.join(more)} besides")
    time = found.get("time")
    if isinstance(time, str) and recommender.requests.reader.reads_times:
        found["time"] = _seconds(part, time)
    return {**found, "item": id_of(str(item), recommender.catalogue.ids, "--history")}


def _seconds(part: str, time: str) -> float:
    """A date as people write it, in UTC where it does not say otherwise, or a number."""
    try:
        return float(time)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        raise ConfigError(
            f"--history {part}: 'time' is {time!r}; write 2024-01-31, 2024-01-31T08:30:00Z or Unix seconds"
        ) from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
