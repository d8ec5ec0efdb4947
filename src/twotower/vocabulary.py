"""From external ids to contiguous rows, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from twotower.errors import DataError, UnknownIdError
from twotower.types import Id

__all__ = ["OUT_OF_VOCABULARY", "Vocabulary"]

OUT_OF_VOCABULARY = 0
"""The row of every id that a vocabulary does not know."""


class Vocabulary:
    """An ordered set of ids of one type; known ids have rows 1 to n, and row 0 is out of vocabulary.

    Args:
        ids: Distinct strings or integers, in the order of their rows.

    Raises:
        DataError: If an id occurs twice, is null, or if strings and integers are mixed.

    Example:
        >>> vocabulary = Vocabulary(["ann", "bob"])
        >>> vocabulary.rows(["bob", "eve"]).tolist()
        [2, 0]
        >>> vocabulary.size
        3
    """

    def __init__(self, ids: Iterable[Id]) -> None:
        self.ids: tuple[Id, ...] = tuple(ids)
        kinds = {type(value) for value in self.ids}
        if len(kinds) > 1 or not kinds <= {str, int}:
            names = sorted(kind.__name__ for kind in kinds)
            raise DataError(f"a vocabulary holds strings or integers, one type only; came {' and '.join(names)}")
        self._row_of = {value: row for row, value in enumerate(self.ids, start=1)}
        if len(self._row_of) != len(self.ids):
            seen: set[Id] = set()
            twice = next(value for value in self.ids if value in seen or seen.add(value))  # type: ignore[func-returns-value]
            raise DataError(f"a vocabulary holds every id once; {twice!r} came twice")

    @property
    def size(self) -> int:
        """Number of rows, the out-of-vocabulary row included."""
        return len(self.ids) + 1

    @property
    def id_type(self) -> type[str] | type[int] | None:
        """``str`` or ``int``; None when the vocabulary is empty."""
        return type(self.ids[0]) if self.ids else None

    def rows(self, ids: Iterable[Id | None]) -> NDArray[np.int32]:
        """Rows of the ids, shape ``[n]``; an unknown id, and None, has row 0."""
        get = self._row_of.get
        return np.fromiter((get(value, OUT_OF_VOCABULARY) for value in ids), dtype=np.int32)  # type: ignore[arg-type]

    def row(self, value: Id) -> int:
        """Row of one id that must be known.

        Raises:
            UnknownIdError: If it is not; says so when only the type differs (``7`` against ``"7"``).
        """
        row = self._row_of.get(value)
        if row is None:
            other: Id | None = str(value) if isinstance(value, int) else (int(value) if value.lstrip("-").isdigit() else None)
            hint = f"; the ids are of type {self.id_type.__name__}" if other in self._row_of and self.id_type else ""
            raise UnknownIdError(f"no id {value!r} among {len(self.ids):,}{hint}")
        return row

    def __contains__(self, value: object) -> bool:
        return value in self._row_of

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Id]:
        return iter(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.ids == other.ids

    def __hash__(self) -> int:
        return hash(self.ids)

    def to_list(self) -> list[Id]:
        """The ids in row order, ready for JSON."""
        return list(self.ids)

    @classmethod
    def from_counts(cls, ids: Sequence[Id], counts: Sequence[int] | NDArray[np.int64], *, min_count: int = 1) -> Vocabulary:
        """The ids seen at least ``min_count`` times, sorted, so that the rows do not depend on the order of the table."""
        return cls(sorted(value for value, count in zip(ids, counts, strict=True) if count >= min_count))
