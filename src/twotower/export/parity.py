"""Whether an exported tower gives what the bundle gives: real rows, and variants of them, encoded by both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from twotower.errors import ExportError
from twotower.export.feeds import Feeds
from twotower.export.session import Session
from twotower.export.signature import TowerSignature
from twotower.export.variants import never_seen, variants
from twotower.recommender import Recommender
from twotower.types import Id

__all__ = ["Parity", "check_candidates", "check_queries"]

_AT_ONCE = 128
_MOST_PADDED = 2**18
_OF_THE_LARGEST = 1e-5
"""Of a vector's largest number: float32 has seven digits, and the sums of large numbers differ by more than those of small."""
_VARIED = 50


@dataclass(frozen=True)
class Parity:
    """What a comparison of one tower found.

    Attributes:
        rows: How many were encoded by both.
        largest_error: By how much a number of a vector differed at most.
    """

    rows: int
    largest_error: float


@dataclass(frozen=True)
class _Rows:
    """Rows of one kind, as the sidecar is fed with them, and their vectors by the bundle."""

    about: str
    frame: pl.DataFrame
    histories: list[list[Id]]
    expected_BD: NDArray[np.float32]


def check_queries(folder: Path, tower: TowerSignature, recommender: Recommender, *, rows: int, limit: float) -> Parity:
    """Compare the query tower for known users as they are stored, and for unknown ones of whom less or something else is known.

    Args:
        folder: The export.
        tower: What its signature says of the tower.
        recommender: Of the bundle.
        rows: Known users, spread over all; at most all.
        limit: Of the error; or a hundred-thousandth of a vector's largest number, where that is more.

    Raises:
        ExportError: If a number differs by more than the limit.
    """
    return _check(folder, tower, _queries(tower, recommender, rows), limit=limit, name="query")


def check_candidates(folder: Path, tower: TowerSignature, recommender: Recommender, *, rows: int, limit: float) -> Parity:
    """Compare the candidate tower for items of the catalogue, and for variants of them; arguments as of `check_queries`."""
    return _check(folder, tower, _candidates(tower, recommender, rows), limit=limit, name="candidate")


def _check(folder: Path, tower: TowerSignature, given: Iterator[_Rows], *, limit: float, name: str) -> Parity:
    session, feeds = Session(folder / tower.file), Feeds(folder, tower)
    checked, largest = 0, 0.0
    for rows in given:
        found_BD = session.run(feeds.of(rows.frame, rows.histories))
        if found_BD.shape != rows.expected_BD.shape:
            raise ExportError(f"{tower.file} gives vectors of shape {found_BD.shape}, the bundle {rows.expected_BD.shape}")
        errors_B = np.abs(found_BD - rows.expected_BD).max(axis=1, initial=0.0)
        errors_B = np.where(np.isnan(errors_B), np.inf, errors_B)
        allowed_B = np.maximum(limit, _OF_THE_LARGEST * np.abs(rows.expected_BD).max(axis=1, initial=0.0))
        if (errors_B > allowed_B).any():
            row = int(np.argmax(errors_B - allowed_B))
            raise ExportError(
                f"the {name} tower of the export differs from the bundle's by {errors_B[row]:.3g}, and may by "
                f"{allowed_B[row]:g}, for {rows.about}, such as {rows.frame.row(row, named=True)}; nothing was written. Inner "
                "layers whose numbers are too large for float32 do this, and so would a bug of ours"
            )
        checked += len(errors_B)
        largest = max(largest, float(errors_B.max(initial=0.0)))
    return Parity(checked, largest)


def _queries(tower: TowerSignature, recommender: Recommender, rows: int) -> Iterator[_Rows]:
    ids = recommender.users.table.ids.gather(_spread(len(recommender.users.table), rows))
    for part in _parts(recommender.users.histories(ids.to_list()).lengths.numpy()):
        users = ids[part].to_list()
        expected_BD = recommender.encode_queries(users).numpy()
        yield _Rows("known users", recommender.users.frame_of(users), _histories(recommender, users), expected_BD)
    users = ids.head(_VARIED).to_list()
    id_column = recommender.users.table.id_column
    frame, histories = recommender.users.frame_of(users), _histories(recommender, users)
    nobody = pl.Series(id_column, [never_seen(recommender.users.table.ids)] * len(users), dtype=frame[id_column].dtype)
    nothing = never_seen(recommender.catalogue.ids)
    pasts: list[tuple[str, list[list[Id]]]] = [
        ("a history", histories),
        ("no history", [[] for _ in histories]),
        ("items in the history that the catalogue lacks", [[nothing, *history, nothing] for history in histories]),
    ]
    frame = frame.with_columns(nobody)
    asked: list[tuple[str, pl.DataFrame, list[list[Id]]]] = [
        (f"known features and {about}", frame, past) for about, past in pasts
    ]
    asked += [(f"{variant.about}, with a history", variant.frame, histories) for variant in variants(tower, frame)]
    for about, changed, past in asked:
        features = changed.drop(id_column)
        expected_BD = recommender.encode_queries(
            changed[id_column].to_list(), features=features if features.width else None, histories=past
        ).numpy()
        yield _Rows(f"unknown users, {about}", changed, past, expected_BD)


def _candidates(tower: TowerSignature, recommender: Recommender, rows: int) -> Iterator[_Rows]:
    places = _spread(len(recommender.catalogue), rows)
    frame, vectors_BD = recommender.catalogue.frame[places], recommender.item_vectors_ND[torch.from_numpy(places)].numpy()
    for part in _parts(np.zeros(len(frame), dtype=np.int64)):
        yield _Rows("items of the catalogue", frame[part], [], vectors_BD[part])
    for variant in variants(tower, frame.head(_VARIED)):
        yield _Rows(f"items {variant.about}", variant.frame, [], _encoded(recommender, variant.frame))


def _encoded(recommender: Recommender, frame: pl.DataFrame) -> NDArray[np.float32]:
    with torch.inference_mode():
        vectors: NDArray[np.float32] = recommender.model.encode_candidates(recommender.preprocessor.encode_items(frame)).numpy()
    return vectors


def _histories(recommender: Recommender, users: Sequence[Id]) -> list[list[Id]]:
    stored = recommender.users.histories(users)
    items = recommender.catalogue.ids.gather(stored.values.numpy()).to_list()
    return [items[start:stop] for start, stop in zip(stored.offsets[:-1].tolist(), stored.offsets[1:].tolist(), strict=True)]


def _spread(size: int, rows: int) -> NDArray[np.int64]:
    """Row numbers from the first to the last, evenly."""
    return np.unique(np.linspace(0, size - 1, min(size, rows)).astype(np.int64))


def _parts(lengths: NDArray[np.int64]) -> Iterator[slice]:
    """One row alone, and then many at once, but not so many that padding their histories takes much memory."""
    start, size = 0, 1
    while start < len(lengths):
        stop = min(start + size, len(lengths))
        while stop - start > 1 and (stop - start) * int(lengths[start:stop].max()) > _MOST_PADDED:
            stop = start + (stop - start) // 2
        yield slice(start, stop)
        start, size = stop, _AT_ONCE
