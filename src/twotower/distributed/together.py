"""Work that all ranks do, or none of them: what goes wrong on one is raised on every one, so that nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from twotower.distributed.ranks import Ranks
from twotower.errors import CheckpointError, TwotowerError

__all__ = ["say_faults", "together", "told_by_first", "words_of"]

T = TypeVar("T")


def together(ranks: Ranks, work: Callable[[], T]) -> list[T]:
    """Do work on every rank; all go on only after all have done theirs.

    Args:
        ranks: All of them; each calls this.
        work: This rank's part. What it gives is sent around: small things.

    Returns:
        What every rank's work gave, by rank.

    Raises:
        CheckpointError: On all ranks, with the same message, if the work of one raised an error.

    Example:
        >>> from twotower.distributed import ALONE
        >>> together(ALONE, lambda: 7)
        [7]
    """
    value: T | None = None
    fault: str | None = None
    try:
        value = work()
    except Exception as error:  # told to all, who raise it
        fault = words_of(error)
    answers = ranks.collect((fault, value))
    faults = {rank: each for rank, (each, _) in enumerate(answers) if each is not None}
    if faults:
        raise CheckpointError(say_faults(faults, ranks.size))
    return [each for _, each in answers]  # type: ignore[misc]


def told_by_first(ranks: Ranks, work: Callable[[], T]) -> T:
    """Do work on rank 0, and give what it gives to all.

    Raises:
        CheckpointError: On all ranks, with the same message, if it raised an error.
    """
    answer: tuple[str | None, T | None] | None = None
    if ranks.first:
        try:
            answer = None, work()
        except Exception as error:  # told to all, who raise it
            answer = words_of(error), None
    fault, value = ranks.tell(answer)
    if fault is not None:
        raise CheckpointError(say_faults({0: fault}, ranks.size))
    return value  # type: ignore[return-value]


def words_of(error: BaseException) -> str:
    """An error as one line of text: a file's with its path and reason, another one's with its kind.

    Example:
        >>> words_of(OSError(28, "No space left on device", "/data/step"))
        '/data/step: No space left on device'
        >>> words_of(KeyError("table"))
        "KeyError: 'table'"
    """
    if isinstance(error, TwotowerError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def say_faults(faults: Mapping[int, str], size: int) -> str:
    """What went wrong on which ranks, as one line; what several say alike is said once.

    Example:
        >>> say_faults({0: "disk full", 2: "disk full", 3: "no such file"}, 4)
        'rank 0, 2: disk full; rank 3: no such file'
        >>> say_faults({0: "disk full"}, 1)
        'disk full'
    """
    who: dict[str, list[str]] = {}
    for rank, fault in sorted(faults.items()):
        who.setdefault(fault, []).append(str(rank))
    if size == 1:
        return "; ".join(who)
    return "; ".join(f"rank {', '.join(named)}: {fault}" for fault, named in who.items())
