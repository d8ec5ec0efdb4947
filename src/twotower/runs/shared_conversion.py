"""A log of many files that the ranks of a training convert together, before they train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from twotower.columnar import Converting, PartDone, PartJob
from twotower.distributed import Ranks

__all__ = ["SharedConversion", "follow_conversions"]


@dataclass(frozen=True)
class _Asked:
    """What rank 0 asks of all: whether a folder is seen, or a part for each."""

    folder: Path | None = None
    jobs: tuple[PartJob | None, ...] = ()

    def answer(self, rank: int, listener: Callable[[Converting], None] | None = None, why: str = "") -> bool | PartDone | None:
        if self.folder is not None:
            return self.folder.is_dir()
        job = self.jobs[rank] if rank < len(self.jobs) else None
        return None if job is None else job.run(listener, why)


class SharedConversion:
    """Rank 0's side: what it asks, the others do in `follow_conversions`.

    Args:
        ranks: All of them.
        listener: Is told how far this rank's part is.
    """

    def __init__(self, ranks: Ranks, listener: Callable[[Converting], None] | None = None) -> None:
        self._ranks = ranks
        self._listener = listener

    @property
    def size(self) -> int:
        """How many ranks there are."""
        return self._ranks.size

    def sees(self, folder: Path) -> bool:
        """Whether all ranks see a folder."""
        return all(self._ask(_Asked(folder=folder)))

    def run(self, jobs: Sequence[PartJob | None], why: str) -> list[PartDone | None]:
        """Each rank runs its job."""
        found = self._ask(_Asked(jobs=tuple(jobs)), why)
        return [each if isinstance(each, PartDone) else None for each in found][: len(jobs)]

    def _ask(self, asked: _Asked, why: str = "") -> list[bool | PartDone | None]:
        self._ranks.tell(asked)
        return self._ranks.collect(asked.answer(self._ranks.rank, self._listener, why))


def follow_conversions(ranks: Ranks) -> bool:
    """The other ranks' side: do what rank 0 asks, until it says how to go on.

    Returns:
        What rank 0 tells at last.
    """
    asked: _Asked | bool = ranks.tell(False)
    while isinstance(asked, _Asked):
        ranks.collect(asked.answer(ranks.rank))
        asked = ranks.tell(False)
    return asked
