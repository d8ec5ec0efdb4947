"""What may be asked of a log: how much, after what, and for ids of which kind."""

from __future__ import annotations

__all__ = ["check_after", "check_count", "check_kind"]

_MOST = 2**63 - 1


def check_after(after: int) -> None:
    """Refuse what is no sequence.

    Raises:
        ValueError: If it is not an integer from 0 to 2^63 - 1.
    """
    if not _is_integer(after) or not 0 <= after <= _MOST:
        raise ValueError(f"after must be the sequence of a record, or 0 (came: {after!r})")


def check_count(count: int | None, name: str) -> None:
    """Refuse what is no number of records to read.

    Raises:
        ValueError: If it is neither None nor an integer from 1 to 2^63 - 1.
    """
    if count is not None and (not _is_integer(count) or not 1 <= count <= _MOST):
        raise ValueError(f"{name} must be at least 1, or None for all (came: {count!r})")


def check_kind(kind: str, name: str) -> None:
    """Refuse what is no kind of ids.

    Raises:
        ValueError: If it is neither ``text`` nor ``integer``.
    """
    if kind not in ("text", "integer"):
        raise ValueError(f"{name} must be 'text' or 'integer' (came: {kind!r})")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
