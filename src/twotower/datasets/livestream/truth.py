"""What is true of a planted log: opened from beside it, it makes the oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Self, final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from torch import Tensor

from twotower.datasets.livestream.hashes import Integers
from twotower.datasets.livestream.oracle import OracleScorer
from twotower.datasets.livestream.truth_file import Truth, read_truth
from twotower.datasets.livestream.viewers import unscrambled
from twotower.datasets.livestream.watches import World
from twotower.errors import DataError
from twotower.types import Ragged

__all__ = ["LivestreamTruth"]

_AT_ONCE = 2**16
_ID = r"^[a-z0-9]+:(\d{1,10})$"


@final
class LivestreamTruth:
    """The planted world of a log.

    Attributes:
        facts: What is written beside the log.
    """

    def __init__(self, facts: Truth) -> None:
        self.facts = facts
        self.world = World(facts.rows, facts.seed)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the truth of a log, given the log or the folder of its truth.

        Raises:
            DatasetError: If there is none, it is damaged or of another version, or the log beside it is of another size.
        """
        return cls(read_truth(Path(path)))

    def scorer(
        self,
        viewers: pl.Series,
        rows: NDArray[np.int64],
        warm: NDArray[np.bool_],
        seen: Callable[[Tensor], Ragged],
        items: pl.Series,
    ) -> OracleScorer:
        """The oracle of some judged rows; it has the methods of `twotower.evaluation.Scorer`.

        Args:
            viewers: The viewer's id of each judged row, ``[n]``.
            rows: int64 ``[n]``, each judged row's number in the log, from 0.
            warm: bool ``[n]``, whether the viewer has rows in train.
            seen: Given judged rows (places in ``viewers``), the catalogue rows that each one's viewer has watched before.
            items: The catalogue's ids, ``[N]``; one that the world has not is never watched.

        Raises:
            DataError: If lengths differ, a row is not of the log, or a viewer is not who watches in that row: the judged
                rows must be those of this log, in its order.
        """
        if not len(viewers) == len(rows) == len(warm):
            raise DataError(
                f"there must be a viewer, a row and whether it is warm for every judged row; came {len(viewers)} viewers, "
                f"{len(rows)} rows, {len(warm)} warm"
            )
        rows = np.asarray(rows, dtype=np.int64)
        outside = (rows < 0) | (rows >= self.facts.rows)
        if outside.any():
            raise DataError(
                f"row numbers must be those of the log, in [0, {self.facts.rows:,}); came {rows[outside][0]:,}: is this the "
                "truth of another log?"
            )
        numbers = _numbers(viewers)
        for start in range(0, len(rows), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            wrong = self.world.viewers.watching(rows[some]) != numbers[some]
            if wrong.any():
                at = start + int(np.flatnonzero(wrong)[0])
                raise DataError(
                    f"row {rows[at]:,} of the log is not of viewer {viewers[at]!r}: this is the truth of another log, or rows "
                    "were left out or put in another order"
                )
        return OracleScorer(
            self.world, viewers=numbers, log_rows=rows, warm=np.asarray(warm, dtype=np.bool_), seen=seen, items=_numbers(items)
        )


def _numbers(ids: pl.Series) -> Integers:
    """The number behind each id of the log; -1 where an id is not of its form."""
    shown = ids.cast(pl.String).str.extract(_ID).cast(pl.Int64, strict=False).fill_null(-1).to_numpy()
    return np.where((shown >= 0) & (shown < 2**31), unscrambled(np.maximum(shown, 0)), -1)
