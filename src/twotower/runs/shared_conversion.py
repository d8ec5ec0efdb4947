"""A log of many files that several machines convert together, before they train."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from twotower.columnar import Converting, PartDone, PartJob
from twotower.distributed import Ranks

__all__ = ["SharedConversion", "follow_conversions"]

T = TypeVar("T")


_Answer: TypeAlias = PartDone | str | None


@dataclass(frozen=True)
class _Asked:
    """What rank 0 asks of all: on which machine they are and whether they see a folder, or a part of some."""

    folder: Path | None = None
    jobs: Mapping[int, PartJob] = field(default_factory=dict)

    def answer(self, rank: int, listener: Callable[[Converting], None] | None = None, why: str = "") -> _Answer:
        if self.folder is not None:
            return platform.node() if self.folder.is_dir() else None
        job = self.jobs.get(rank)
        return None if job is None else job.run(listener, why)


class SharedConversion:
    """Rank 0's side: what it asks, the others do in `follow_conversions`.

    One rank of every machine converts: a conversion takes all cores that there are.

    Args:
        ranks: All of them.
        listener: Is told how far this rank's part is.
    """

    def __init__(self, ranks: Ranks, listener: Callable[[Converting], None] | None = None) -> None:
        self._ranks = ranks
        self._listener = listener
        self._converters = [0]

    def ready(self, folder: Path) -> int:
        """How many machines there are; 1 where a rank does not see the folder."""
        found = self._ask(_Asked(folder=folder))
        self._converters = [found.index(name) for name in dict.fromkeys(found)] if None not in found else [0]
        return len(self._converters)

    def run(self, jobs: Sequence[PartJob | None], why: str) -> list[PartDone | None]:
        """The first rank of each machine runs its job."""
        ranks = self._converters[: len(jobs)]
        asked = {rank: job for rank, job in zip(ranks, jobs, strict=True) if job is not None}
        found = self._ask(_Asked(jobs=asked), why)
        return [each if isinstance(each := found[rank], PartDone) else None for rank in ranks]

    def _ask(self, asked: _Asked, why: str = "") -> list[_Answer]:
        self._ranks.tell(asked)
        return self._ranks.collect(asked.answer(self._ranks.rank, self._listener, why))


def follow_conversions(ranks: Ranks, told: type[T]) -> T | None:
    """The other ranks' side: do what rank 0 asks, until it says how to go on.

    Args:
        ranks: All of them.
        told: What rank 0 tells at last, if not None.
    """
    asked: Any = ranks.tell(None)
    while isinstance(asked, _Asked):
        ranks.collect(asked.answer(ranks.rank))
        asked = ranks.tell(None)
    assert asked is None or isinstance(asked, told)
    return asked
