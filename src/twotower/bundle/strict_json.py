"""JSON that comes back as it went: finite numbers, string keys, every key once."""

from __future__ import annotations

import json
import math
from typing import NoReturn, TypeAlias

from twotower.errors import BundleError, CorruptBundleError

__all__ = ["JSON", "dump_json", "parse_json"]

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | tuple[JSON, ...] | str | int | float | bool | None"
"""What JSON can hold; a tuple comes back as a list."""


def dump_json(obj: JSON, *, source: str = "the value") -> str:
    """Write JSON as text: two spaces of indentation, keys in their order, a newline at the end.

    Args:
        obj: What to write.
        source: What to call it in an error.

    Raises:
        BundleError: If a number is NaN or infinite (JSON has neither), a key is not a string, or a value is of a type that JSON
            does not have; the message says where it is.

    Example:
        >>> dump_json({"ks": [10, 100]}).splitlines()[1].strip()
        '"ks": ['
        >>> dump_json({"metrics": {"loss": float("nan")}}, source="card")
        Traceback (most recent call last):
        ...
        twotower.errors.BundleError: card: metrics.loss must be a finite number to be written as JSON (came: nan)
    """
    fault = _fault(obj, "", 0)
    if fault:
        raise BundleError(f"{source}: {fault}")
    return json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def parse_json(data: str | bytes, *, source: str) -> JSON:
    """Read JSON from text or UTF-8 bytes.

    Args:
        data: What to read.
        source: The file that it came from, for errors.

    Raises:
        CorruptBundleError: If it is not JSON, holds NaN or an infinity, or holds a key twice.
    """

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    def once(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} came twice")
        return found

    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        parsed: JSON = json.loads(text, parse_constant=refuse, parse_float=_finite, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise CorruptBundleError(f"{source} must be JSON, and is not: {error}; write it again or fetch it again") from error
    return parsed


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large for a number")
    return value


_DEEPEST = 100


def _fault(obj: object, where: str, depth: int) -> str | None:
    at = where or "it"
    if depth > _DEEPEST:
        return f"{at} is nested deeper than {_DEEPEST}; flatten it"
    if isinstance(obj, str):
        return None if _is_text(obj) else f"{at} must be text that UTF-8 can hold (came: {obj!r})"
    if obj is None or isinstance(obj, int):
        return None
    if isinstance(obj, float):
        return None if math.isfinite(obj) else f"{at} must be a finite number to be written as JSON (came: {obj!r})"
    if isinstance(obj, dict):
        for key, value in obj.items():
            if not isinstance(key, str) or not _is_text(key):
                return f"the keys of {at} must be text (came: {key!r})"
            fault = _fault(value, f"{where}.{key}" if where else key, depth + 1)
            if fault:
                return fault
        return None
    if isinstance(obj, list | tuple):
        faults = (_fault(value, f"{where}[{position}]", depth + 1) for position, value in enumerate(obj))
        return next((fault for fault in faults if fault), None)
    return f"{at} is of type {type(obj).__name__}, which JSON does not have; convert it to numbers, text, lists or dicts"


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
