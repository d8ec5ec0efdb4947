"""Which row of an earlier fit stands for the same id, word, cell or bucket as each row of a later one."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twotower.errors import ConfigError
from twotower.preprocessing.buckets import FittedBuckets
from twotower.preprocessing.category import FittedCategory
from twotower.preprocessing.features import FittedFeature
from twotower.preprocessing.geo import FittedGeo
from twotower.preprocessing.history import FittedHistory
from twotower.preprocessing.id import FittedId
from twotower.preprocessing.lookup import Lookup
from twotower.preprocessing.multi_category import FittedMultiCategory
from twotower.preprocessing.separated import word_rows
from twotower.preprocessing.text import FittedText
from twotower.preprocessing.timestamp import FittedTimestamp
from twotower.vocabulary import OUT_OF_VOCABULARY

__all__ = ["NO_ROW", "matched_rows"]

NO_ROW = -1
"""What an earlier fit did not know."""


def matched_rows(later: FittedFeature | FittedHistory, earlier: FittedFeature | FittedHistory) -> dict[str, NDArray[np.int64]]:
    """Match two fits of a feature by what their rows stand for, whatever numbers the rows have.

    Row 0 of a vocabulary stands for unknown values in both. An id that the earlier fit kept in a row of its tail is matched
    with that row; one that it counted among the unknown ones is new. A bucket is matched with the one that holds its middle.

    Args:
        later: Fitted on the later rows.
        earlier: The same feature, fitted on the earlier ones.

    Returns:
        For every column of rows of ``later``: the row of ``earlier`` for each of its rows, int64 ``[vocabulary_size]``,
        `NO_ROW` where there is none. Columns of floats are not there.

    Raises:
        ConfigError: If the two are of different kinds, or their rows can't mean the same: other hash buckets, other cells.
        DataError: If one holds text and the other integers.

    Example:
        >>> from twotower.preprocessing.id import IdFeature
        >>> feature = IdFeature(column="user")
        >>> monday, tuesday = feature.fit(pl.Series(["bob", "eve"])), feature.fit(pl.Series(["eve", "ann", "bob"]))
        >>> matched_rows(tuesday, monday)["user"].tolist()
        [0, -1, 1, 2]
    """
    if later.kind != earlier.kind:
        raise ConfigError(f"its kind is {later.kind!r}, and was {earlier.kind!r}")
    match later:
        case FittedId():
            assert isinstance(earlier, FittedId)
            return {later.config.output_name: _ids(later, earlier)}
        case FittedCategory():
            assert isinstance(earlier, FittedCategory)
            rows = _looked_up(later.lookup, earlier.lookup, later.config.column)
            if later.config.missing == "own_row":
                rows = np.append(rows, earlier.lookup.size if earlier.config.missing == "own_row" else NO_ROW)
            return {later.config.output_name: rows}
        case FittedMultiCategory():
            assert isinstance(earlier, FittedMultiCategory)
            return {later.config.output_name: _looked_up(later.lookup, earlier.lookup, later.config.column)}
        case FittedHistory():
            assert isinstance(earlier, FittedHistory)
            if later.lookup is None or earlier.lookup is None:
                if later.lookup is not earlier.lookup:
                    raise ConfigError(f"its items are {later.config.items!r}, and were {earlier.config.items!r}")
                return {}  # the candidate's vectors: no row of a table
            return {later.config.name: _looked_up(later.lookup, earlier.lookup, "item ids")}
        case FittedText():
            assert isinstance(earlier, FittedText)
            words = word_rows(pl.Series(later.tokens, dtype=pl.String), earlier.tokens)
            return {later.config.output_name: _known(words)}
        case FittedGeo():
            assert isinstance(earlier, FittedGeo)
            return _cells(later, earlier)
        case FittedBuckets():
            assert isinstance(earlier, FittedBuckets)
            return {later.config.output_name: _buckets(later, earlier)}
        case FittedTimestamp():
            assert isinstance(earlier, FittedTimestamp)
            return _times(later, earlier)
    return {}


def _known(rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """Rows of all values but the unknown one, which comes first and is known; what was unknown before is new."""
    known = np.where(rows == OUT_OF_VOCABULARY, NO_ROW, rows)
    return np.concatenate([[OUT_OF_VOCABULARY], known]).astype(np.int64)


def _looked_up(later: Lookup, earlier: Lookup, column: str) -> NDArray[np.int64]:
    return _known(earlier.rows(later.ids, column=column))


def _ids(later: FittedId, earlier: FittedId) -> NDArray[np.int64]:
    size = later.columns[0].vocabulary_size
    hashed = later.config.hash_buckets, earlier.config.hash_buckets
    if hashed[0] != hashed[1]:
        raise ConfigError(f"hash_buckets is {hashed[0]}, and was {hashed[1]}: its rows stand for other ids")
    if later.lookup is None:
        return np.arange(size, dtype=np.int64)
    assert earlier.lookup is not None
    rows = _known(earlier.encode(later.lookup.ids.alias(later.config.column))[earlier.config.output_name].numpy())
    tails = later.config.tail_buckets or 0
    same = tails == (earlier.config.tail_buckets or 0)
    tail = np.arange(earlier.lookup.size, earlier.lookup.size + tails) if same else np.full(tails, NO_ROW)
    return np.concatenate([rows, tail]).astype(np.int64)


def _cells(later: FittedGeo, earlier: FittedGeo) -> dict[str, NDArray[np.int64]]:
    if later.config.cells != earlier.config.cells:
        raise ConfigError(f"cells is {list(later.config.cells)}, and was {list(earlier.config.cells)}: other cells")
    name = later.config.name
    found = {"coarse": (later.coarse, earlier.coarse), "fine": (later.fine, earlier.fine)}
    return {f"{name}_{grid}": np.append(_looked_up(new, old, name), old.size) for grid, (new, old) in found.items()}


def _buckets(later: FittedBuckets, earlier: FittedBuckets) -> NDArray[np.int64]:
    edges = np.asarray(later.edges)
    rows = np.searchsorted(np.asarray(earlier.edges), _middles(edges), side="right").astype(np.int64)
    if later.config.missing == "own_row":
        rows = np.append(rows, len(earlier.edges) + 1 if earlier.config.missing == "own_row" else NO_ROW)
    return rows


def _times(later: FittedTimestamp, earlier: FittedTimestamp) -> dict[str, NDArray[np.int64]]:
    edges = later.config.num_edges
    if edges is None:
        return {}
    name = f"{later.config.output_name}.bucket"
    if earlier.config.num_edges is None:
        return {name: np.full(edges + 1, NO_ROW, dtype=np.int64)}
    # clipped as times are: the last bucket stands for the end of train, in both
    middles = np.clip(_middles(np.linspace(later.minimum, later.maximum, edges)), earlier.minimum, earlier.maximum)
    rows = np.searchsorted(np.linspace(earlier.minimum, earlier.maximum, earlier.config.num_edges), middles, side="right")
    rows[0] = 0  # below the first edge lies no time of either
    return {name: rows.astype(np.int64)}


def _middles(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """A value in each bucket: below the first edge, between two, and the last edge itself."""
    return np.concatenate([[np.nextafter(edges[0], -math.inf)], (edges[:-1] + edges[1:]) / 2, edges[-1:]])
