"""Ids that a log has to keep apart, and values that it has to refuse; what the checks of both logs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["NOT_INTEGERS", "NOT_TEXTS", "ODD_INTEGERS", "ODD_TEXTS", "refuses"]

ODD_TEXTS = (
    "",
    "7",
    "a",
    "A",
    "ä",
    "a\u0308",
    "a\0b",
    "a\0c",
    "\0",
    " a",
    "a ",
    "\ufeff",
    "😀",
    "'; --",
    "\n",
    "\x7f",
    "x" * 10_000,
)
ODD_INTEGERS = (0, 7, -1, 2**63 - 1, -(2**63), 2**53 + 1, 127, 128, -129)
NOT_TEXTS: tuple[Any, ...] = ("\ud800", "a\udfffb", 7, None, b"a", 1.5, True)
NOT_INTEGERS: tuple[Any, ...] = ("7", 2**63, -(2**63) - 1, True, None, 7.0)


def refuses(error: type[Exception], call: Callable[..., object], *arguments: Any, **named: Any) -> bool:
    """Whether a call raises an error of this type.

    Raises:
        Exception: If it is of another type.
    """
    try:
        call(*arguments, **named)
    except error:
        return True
    return False
