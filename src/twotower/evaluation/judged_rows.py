"""The judged rows, and where every ranker put each row's item: what curves, groups and paired tests are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.bundle import atomic_file
from twotower.errors import BundleError
from twotower.evaluation.rank import PositiveRanks
from twotower.metrics import Ranks, hit_rate, ndcg, reciprocal_rank

__all__ = ["JudgedRows"]

_FACTS = {
    "row": pl.Int64,
    "user_row": pl.Int64,
    "item_row": pl.Int64,
    "warm": pl.Boolean,
    "history_length": pl.Int64,
    "item_count": pl.Int64,
}
_PLACES = ("above", "tied", "above_removed", "tied_removed")


@dataclass(frozen=True, eq=False)
class JudgedRows:
    """Test rows with what is known of them, and the exact rank of each row's item by every ranker.

    Recall, NDCG and MRR at any k follow from it, within any group of rows, and so does every paired comparison: rankers that
    were judged on the same rows stand row beside row.

    Attributes:
        rows: int64 ``[n]``, row numbers of the interactions.
        user_rows: int64 ``[n]``.
        item_rows: int64 ``[n]``, catalogue rows; -1 for an item that the catalogue lacks.
        warm: bool ``[n]``, whether the row's user has rows that were trained on.
        history_lengths: int64 ``[n]``, distinct items that the user had seen, as far as a ranker could know it at that row.
        item_counts: int64 ``[n]``, how many of the rows that were trained on have the row's item.
        rankers: The ranks by name; the model, if there is one, first.
    """

    rows: NDArray[np.int64]
    user_rows: NDArray[np.int64]
    item_rows: NDArray[np.int64]
    warm: NDArray[np.bool_]
    history_lengths: NDArray[np.int64]
    item_counts: NDArray[np.int64]
    rankers: Mapping[str, PositiveRanks]

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def values(self, ranker: str, metric: str, *, removed: bool) -> NDArray[np.float64]:
        """A metric of each row, float64 ``[n]``; a row whose item the catalogue lacks has 0.

        Args:
            ranker: A name of ``rankers``.
            metric: ``recall@K`` (the hit rate of the row), ``ndcg@K`` or ``mrr``.
            removed: Whether seen items are removed, or compete.

        Raises:
            ValueError: If there is no such metric.
            KeyError: If there is no such ranker.
        """
        found = self.rankers[ranker].seen_removed if removed else self.rankers[ranker].seen_included
        name, _, k = metric.partition("@")
        if metric == "mrr":
            values = reciprocal_rank(found)
        elif name in ("recall", "ndcg") and k.isdigit() and int(k) > 0:
            values = (hit_rate if name == "recall" else ndcg)(found, int(k))
        else:
            raise ValueError(f"metric must be recall@K, ndcg@K or mrr; came {metric!r}")
        return np.where(self.item_rows >= 0, values, 0.0)

    def same_rows(self, other: JudgedRows) -> bool:
        """Whether both are of the same rows of the same users, in the same order, so that rankers may be paired."""
        return np.array_equal(self.rows, other.rows) and np.array_equal(self.user_rows, other.user_rows)

    def with_rankers(self, rankers: Mapping[str, PositiveRanks]) -> JudgedRows:
        """The same rows with more rankers, or with others under the same names.

        Raises:
            ValueError: If a ranker judged another number of rows.
        """
        for name, ranks in rankers.items():
            if len(ranks.seen_included.above) != len(self):
                raise ValueError(f"{name}: ranks of {len(ranks.seen_included.above)} rows came for {len(self)}")
        return replace(self, rankers={**self.rankers, **rankers})

    def to_frame(self) -> pl.DataFrame:
        """One row per judged row; four columns of ranks per ranker, as ``model/above``."""
        facts = (self.rows, self.user_rows, self.item_rows, self.warm, self.history_lengths, self.item_counts)
        columns = [pl.Series(name, values, dtype=dtype) for (name, dtype), values in zip(_FACTS.items(), facts, strict=True)]
        for name, ranks in self.rankers.items():
            places = (*_of(ranks.seen_included), *_of(ranks.seen_removed))
            columns += [pl.Series(f"{name}/{place}", values) for place, values in zip(_PLACES, places, strict=True)]
        return pl.DataFrame(columns)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> JudgedRows:
        """What `to_frame` gave.

        Raises:
            ValueError: If columns are missing or of other types.
        """
        wrong = [name for name, dtype in _FACTS.items() if name not in frame.columns or frame.schema[name] != dtype]
        names = list(dict.fromkeys(column.rpartition("/")[0] for column in frame.columns if "/" in column))
        places = [f"{name}/{place}" for name in names for place in _PLACES]
        wrong += [place for place in places if place not in frame.columns or frame.schema[place] != pl.Int64]
        if wrong or frame.null_count().sum_horizontal().sum() > 0:
            raise ValueError(
                f"judged rows need whole columns without nulls; missing or of another type: {', '.join(wrong[:4])}"
            )

        def ranks(name: str) -> PositiveRanks:
            above, tied, above_removed, tied_removed = (frame[f"{name}/{place}"].to_numpy(writable=True) for place in _PLACES)
            return PositiveRanks(Ranks(above, tied), Ranks(above_removed, tied_removed))

        facts = [frame[name].to_numpy(writable=True) for name in _FACTS]
        return cls(facts[0], facts[1], facts[2], facts[3], facts[4], facts[5], {name: ranks(name) for name in names})

    def write(self, path: Path) -> None:
        """Write a Parquet file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            self.to_frame().write_parquet(temporary)

    @classmethod
    def read(cls, path: Path) -> JudgedRows:
        """Read what `write` wrote.

        Raises:
            BundleError: If the file is missing, damaged, or holds something else.
        """
        if not path.is_file():
            raise BundleError(f"{path}: the ranks of the judged rows are missing; judge the run again: twotower evaluate RUN")
        try:
            return cls.from_frame(pl.read_parquet(path))
        except (pl.exceptions.PolarsError, ValueError, OSError) as error:
            raise BundleError(
                f"{path}: not the ranks of judged rows, or damaged ({error}); judge the run again: twotower evaluate RUN"
            ) from None


def _of(ranks: Ranks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return ranks.above, ranks.tied
