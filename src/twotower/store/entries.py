"""What may be written to a log: ids of its kind, features that JSON can hold, times that are numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from twotower.bundle import JSON, dump_json
from twotower.errors import BundleError, DataError
from twotower.store.contract import IdKind, Interaction
from twotower.types import Id

__all__ = ["ItemEntry", "check_ids", "checked_interactions", "checked_items", "checked_removals"]

_LEAST, _MOST = -(2**63), 2**63 - 1


class ItemEntry(NamedTuple):
    """A change of an item that may be written: its id, and its features as JSON (None: removed)."""

    item: Id
    features: str | None


def check_ids(ids: Sequence[object], kind: IdKind, what: str) -> None:
    """Refuse ids that a log of this kind can't hold.

    Args:
        ids: To be checked.
        kind: ``text``: any that UTF-8 can hold, the empty one and zero characters included. ``integer``: of 64 bits; no bool.
        what: What they are of, for the message.

    Raises:
        DataError: Naming the first one, and its position.

    Example:
        >>> check_ids(["a", 7], "text", "item")
        Traceback (most recent call last):
        ...
        twotower.errors.DataError: item 1: the id must be text (came: 7, of type int); convert it first
    """
    for position, value in enumerate(ids):
        fault = _id_fault(value, kind)
        if fault:
            raise DataError(f"{what} {position}: the id must be {fault}")


def checked_items(items: Sequence[tuple[Id, Mapping[str, JSON]]], kind: IdKind) -> list[ItemEntry]:
    """Items to put, as they are written.

    Raises:
        DataError: As :func:`check_ids`; if features are not a mapping, or JSON can't hold them.

    Example:
        >>> checked_items([("a", {"price": 2.5, "tags": ("x", "y")})], "text")[0].features
        '{"price":2.5,"tags":["x","y"]}'
    """
    check_ids([item for item, _ in items], kind, "item")
    return [ItemEntry(item, _features_text(item, features)) for item, features in items]


def checked_removals(ids: Sequence[Id], kind: IdKind) -> list[ItemEntry]:
    """Items to remove, as they are written.

    Raises:
        DataError: As :func:`check_ids`.
    """
    check_ids(ids, kind, "item")
    return [ItemEntry(item, None) for item in ids]


def checked_interactions(interactions: Sequence[Interaction], user_kind: IdKind, item_kind: IdKind) -> list[Interaction]:
    """Interactions as they are written: times as floats.

    Raises:
        DataError: As :func:`check_ids`; if a time is no finite number.

    Example:
        >>> checked_interactions([Interaction("ann", 7, 3)], "text", "integer")
        [Interaction(user='ann', item=7, time=3.0)]
    """
    checked = []
    for position, (user, item, time) in enumerate(interactions):
        for what, value, kind in (("user", user, user_kind), ("item", item, item_kind)):
            fault = _id_fault(value, kind)
            if fault:
                raise DataError(f"interaction {position}: the {what}'s id must be {fault}")
        checked.append(Interaction(user, item, None if time is None else _seconds(time, position)))
    return checked


def _id_fault(value: object, kind: IdKind) -> str | None:
    if kind == "text":
        if not isinstance(value, str):
            return f"text (came: {value!r}, of type {type(value).__name__}); convert it first"
        return None if value.isascii() or _is_utf8(value) else f"text that UTF-8 can hold (came: {value!r})"
    if not isinstance(value, int) or isinstance(value, bool):
        return f"an integer (came: {value!r}, of type {type(value).__name__}); convert it first"
    return None if _LEAST <= value <= _MOST else f"an integer of 64 bits (came: {value})"


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _seconds(time: object, position: int) -> float:
    if isinstance(time, int | float) and not isinstance(time, bool):
        try:
            seconds = float(time)
        except OverflowError:
            seconds = math.inf
        if math.isfinite(seconds):
            return seconds + 0.0  # SQLite has no negative zero
    raise DataError(
        f"interaction {position}: the time must be Unix seconds, a finite number, or None (came: {time!r}, "
        f"of type {type(time).__name__})"
    )


def _features_text(item: Id, features: object) -> str:
    if not isinstance(features, Mapping):
        raise DataError(f"item {item!r}: the features must be a mapping of names to values (came: {type(features).__name__})")
    plain = dict(features)
    try:
        dump_json(plain, source=f"item {item!r}")  # says what JSON can't hold, and where
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    except BundleError as error:
        raise DataError(str(error)) from error
    except ValueError as error:  # an integer of thousands of digits
        raise DataError(f"item {item!r}: the features can't be written as JSON: {error}") from error
