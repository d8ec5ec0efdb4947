"""The items that can be recommended: a catalogue and its vectors, and what has changed since."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import final

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from twotower.data import IdTable
from twotower.errors import ConfigError, DataError, UnknownIdError, nearest, type_name
from twotower.index import ExactIndex, LayeredIndex, VectorIndex
from twotower.recommender.column_values import as_column, fits
from twotower.recommender.filters import Where, key_of, matching
from twotower.recommender.id_lookup import IdLookup, require_list
from twotower.types import Id

__all__ = ["Items", "item_frame"]

_MASK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class _Layer:
    """What differs from the catalogue.

    Attributes:
        rows_M: int64, rising: rows that were put, those of the catalogue among them.
        frame: Their columns, ``M`` rows.
        vectors_MD: float32.
        new: Row of each id that the catalogue lacks.
        new_ids: These ids, by row.
        removed_N: bool, of every row that there is.
    """

    rows_M: NDArray[np.int64]
    frame: pl.DataFrame
    vectors_MD: Tensor
    new: dict[Id, int]
    new_ids: tuple[Id, ...]
    removed_N: Tensor


class _Directions:
    """An index by cosine over the catalogue, made when it is first asked for."""

    def __init__(self, vectors_ND: Tensor) -> None:
        self._vectors_ND = vectors_ND

    @cached_property
    def index(self) -> VectorIndex:
        return ExactIndex.build(F.normalize(self._vectors_ND, dim=1))


@final
class Items:
    """Items by row: those of the catalogue, then those that were put since, in the order in which they came.

    A row is an item's for good: an item that is put again keeps its row, and one that was removed leaves it empty. So
    histories, which hold rows, stay true. An object of this class does not change; `changed` gives another, which shares what
    is the same.

    Args:
        catalogue: Items and their columns.
        vectors_ND: Their vectors, float32 ``[N, D]``.
        index: Over these vectors; None: an exact one.
        separators: For columns of text that hold several values, what stands between them.
    """

    def __init__(
        self,
        catalogue: IdTable,
        vectors_ND: Tensor,
        *,
        index: VectorIndex | None = None,
        separators: Mapping[str, str] | None = None,
    ) -> None:
        self.catalogue = catalogue
        self._vectors_ND = vectors_ND
        self._base_index = ExactIndex.build(vectors_ND) if index is None else index
        self._base_directions = _Directions(vectors_ND)
        self._separators = dict(separators or {})
        self._lookup = IdLookup(catalogue)
        self._layer: _Layer | None = None
        self._masks: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        """Rows, those of removed items among them."""
        return len(self.catalogue) if self._layer is None else len(self._layer.removed_N)

    @property
    def num_available(self) -> int:
        """Items that can be recommended."""
        return len(self) if self._layer is None else len(self) - int(self._layer.removed_N.sum())

    @property
    def available(self) -> Tensor:
        """Which rows are of items that can be recommended, bool ``[len(self)]``."""
        return torch.ones(len(self), dtype=torch.bool) if self._layer is None else ~self._layer.removed_N

    @property
    def kind(self) -> str:
        """What the ids are, in a word: text or integers."""
        return self._lookup.kind

    @property
    def schema(self) -> pl.Schema:
        """Columns of the catalogue, the id among them."""
        return self.catalogue.frame.schema

    @cached_property
    def index(self) -> VectorIndex:
        """Over all rows, by dot product."""
        return self._layered(self._base_index, normalised=False)

    @cached_property
    def directions(self) -> VectorIndex:
        """Over all rows, by cosine."""
        return self._layered(self._base_directions.index, normalised=True)

    def rows(self, ids: Iterable[Id | None]) -> Tensor:
        """Row of each id, int64 ``[n]``, removed items' too; -1 for None, for an unknown id and for one of the other type.

        Raises:
            DataError: If an entry is no id at all.
        """
        ids = list(ids)
        rows = self._lookup.rows(ids)
        if self._layer is not None and self._layer.new:
            new = self._layer.new
            wanted = str if self.kind == "text" else int
            for place, row in enumerate(rows.tolist()):
                value = ids[place]
                if row < 0 and type(value) is wanted and value in new:
                    rows[place] = new[value]
        return rows

    def require(self, ids: Sequence[Id], name: str, *, removed: bool = False) -> Tensor:
        """Rows of ids that must all be there, int64 ``[n]``.

        Args:
            ids: A list of ids.
            name: What the caller calls them, for messages.
            removed: Whether removed items will do.

        Raises:
            DataError: If a single id came in place of a list.
            UnknownIdError: If one is unknown; names it and the nearest that is.
        """
        require_list(ids, name)
        rows = self.rows(ids)
        if bool((rows < 0).any()):
            raise UnknownIdError(f"{name}: {self._lookup.describe_unknown(ids[int((rows < 0).nonzero()[0])])}")
        if not removed and self._layer is not None and bool(self._layer.removed_N[rows].any()):
            gone = ids[int(self._layer.removed_N[rows].nonzero()[0])]
            raise UnknownIdError(f"{name}: the item {gone!r} was removed")
        return rows

    def ids(self, rows: NDArray[np.int64]) -> list[Id]:
        """The ids of rows."""
        known = self._lookup.ids
        if self._layer is None or not self._layer.new:
            return [known[row] for row in rows.tolist()]
        size = len(known)
        return [known[row] if row < size else self._layer.new_ids[row - size] for row in rows.tolist()]

    def frame(self, rows: NDArray[np.int64], columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Columns of the catalogue at rows; None: all."""
        columns = self.catalogue.frame.columns if columns is None else list(columns)
        places = pl.Series(rows, dtype=pl.Int64)
        if self._layer is None:
            return self.catalogue.frame.select(pl.col(columns).gather(places))
        found = np.searchsorted(self._layer.rows_M, rows)
        found[found == len(self._layer.rows_M)] = 0
        put = (self._layer.rows_M[found] == rows) if len(self._layer.rows_M) else np.zeros(len(rows), dtype=bool)
        base = self.catalogue.frame.select(pl.col(columns).gather(places.set(pl.Series(put), None)))
        if not put.any():
            return base
        changed = self._layer.frame.select(pl.col(columns).gather(pl.Series(found).set(pl.Series(~put), None)))
        mask = pl.Series(put)
        return pl.DataFrame([changed[name].zip_with(mask, base[name]) for name in columns])

    def vectors(self, rows_n: Tensor) -> Tensor:
        """The vectors of rows, float32 ``[n, D]``."""
        if self._layer is None:
            return self._vectors_ND[rows_n]
        return self._joined(rows_n, self._places(rows_n))

    def read(self, rows_n: Tensor) -> Tensor:
        """The vectors of rows as a history holds them, float32 ``[n, D]``; rows are those that `remembered` keeps.

        They are those of `vectors`, but that an item of the catalogue that was removed is read as it was trained with: what it
        was put with in between is in no process that starts after the removal.
        """
        if self._layer is None:
            return self._vectors_ND[rows_n]
        return self._joined(rows_n, torch.where(self._layer.removed_N[rows_n], -1, self._places(rows_n)))

    def remembered(self, rows_n: Tensor) -> Tensor:
        """Which rows a history may hold, bool ``[n]``: those of items (-1 is none), but for items that the catalogue lacks
        and that were removed again, of which a process that starts later knows nothing.
        """
        known = rows_n >= 0
        if self._layer is None:
            return known
        return known & ~((rows_n >= len(self.catalogue)) & self._layer.removed_N[rows_n.clamp(min=0)])

    def _places(self, rows_n: Tensor) -> Tensor:
        """Where in the layer rows are, int64 ``[n]``; -1 for those that are not."""
        assert self._layer is not None
        put_M = torch.from_numpy(self._layer.rows_M)
        if not len(put_M):
            return torch.full_like(rows_n, -1)
        at = torch.searchsorted(put_M, rows_n).clamp_(max=len(put_M) - 1)
        return torch.where(put_M[at] == rows_n, at, -1)

    def _joined(self, rows_n: Tensor, places_n: Tensor) -> Tensor:
        """Vectors of the layer at places, of the catalogue at the rows whose place is -1."""
        assert self._layer is not None
        put = places_n >= 0
        joined = self._vectors_ND[torch.where(put, 0, rows_n)]
        joined[put] = self._layer.vectors_MD[places_n[put]]
        return joined

    def allowed(self, where: Where) -> Tensor | None:
        """Which rows meet conditions, bool ``[len(self)]``; None where there are none. The latest answers are kept.

        Raises:
            ConfigError: If a column does not exist, or a condition is none.
            DataError: If a value is not of the column's type.
        """
        key = key_of(where)
        if not where:
            return None
        with self._lock:
            known = self._masks.get(key)
            if known is not None:
                self._masks.move_to_end(key)
                return known
        mask_N = self._mask(where)
        with self._lock:
            self._masks[key] = mask_N
            while len(self._masks) > max(1, _MASK_BYTES // max(len(self), 1)):
                self._masks.popitem(last=False)
        return mask_N

    def changed(
        self, put: Mapping[Id, Mapping[str, object]], removed: Collection[Id], encode: Callable[[pl.DataFrame], Tensor]
    ) -> Items:
        """These items after some were put and others removed.

        Args:
            put: Columns of the catalogue by id; what is left out is missing.
            removed: Ids; those that are not there are passed over.
            encode: From columns of the catalogue to vectors.

        Raises:
            ConfigError: If the catalogue has no such column.
            DataError: If an id or a value is not of its column's type, or a column that may not be missing is.
        """
        before = self._layer or _Layer(
            np.empty(0, np.int64),
            self.catalogue.frame.head(0),
            torch.empty(0, self._vectors_ND.shape[1]),
            {},
            (),
            torch.zeros(len(self.catalogue), dtype=torch.bool),
        )
        if not isinstance(put, Mapping):
            raise DataError(f"put must be a mapping of ids to columns; came {put!r}")
        require_list(removed, "removed")
        frame = item_frame(list(put.items()), self.catalogue)
        vectors_PD = encode(frame).to(torch.float32) if put else before.vectors_MD[:0]
        new = dict(before.new)
        rows_P = self.rows(put).numpy()
        size = len(before.removed_N)
        for place, item in enumerate(put):
            if rows_P[place] < 0:
                rows_P[place] = new[item] = size
                size += 1
        removed_N = torch.zeros(size, dtype=torch.bool)
        removed_N[: len(before.removed_N)] = before.removed_N
        removed_N[torch.from_numpy(rows_P)] = False
        gone = self.rows(removed)
        removed_N[gone[gone >= 0]] = True
        kept = ~np.isin(before.rows_M, rows_P)
        rows_M = np.concatenate([before.rows_M[kept], rows_P])
        order = np.argsort(rows_M, kind="stable")
        after = copy.copy(self)
        for name in ("index", "directions"):
            after.__dict__.pop(name, None)
        after._layer = _Layer(
            rows_M[order],
            pl.concat([before.frame.filter(pl.Series(kept)), frame])[order],
            torch.cat([before.vectors_MD[torch.from_numpy(kept)], vectors_PD])[torch.from_numpy(order)],
            new,
            tuple(new),
            removed_N,
        )
        after._masks, after._lock = OrderedDict(), Lock()
        return after

    def _layered(self, base: VectorIndex, *, normalised: bool) -> VectorIndex:
        layer = self._layer
        if layer is None:
            return base
        there = ~layer.removed_N[torch.from_numpy(layer.rows_M)]
        vectors_MD = layer.vectors_MD[there]
        return LayeredIndex(
            base,
            torch.from_numpy(layer.rows_M)[there],
            F.normalize(vectors_MD, dim=1) if normalised else vectors_MD,
            layer.removed_N.nonzero()[:, 0],
        )

    def _mask(self, where: Where) -> Tensor:
        base = matching(self.catalogue.frame, where, separators=self._separators).to_numpy()
        mask_N = np.zeros(len(self), dtype=bool)
        mask_N[: len(base)] = base
        if self._layer is not None and len(self._layer.rows_M):
            mask_N[self._layer.rows_M] = matching(self._layer.frame, where, separators=self._separators).to_numpy()
        return torch.from_numpy(mask_N)


def item_frame(items: Sequence[tuple[Id, Mapping[str, object]]], catalogue: IdTable) -> pl.DataFrame:
    """Items as rows of a catalogue, each value in its column's type; columns that an item does not give are missing.

    Raises:
        ConfigError: If the catalogue has no such column.
        DataError: If an id or a value is not of its column's type.
    """
    schema, own = catalogue.frame.schema, catalogue.id_column
    for item, features in items:
        _require_item(item, features, schema, own)
    columns = []
    for name, dtype in schema.items():
        values = [item if name == own else features.get(name) for item, features in items]
        wrong = next((place for place, value in enumerate(values) if not fits(value, dtype)), None)
        if wrong is not None:
            raise DataError(
                f"items: column {name!r} must hold {type_name(dtype)}; came {values[wrong]!r} for the item {items[wrong][0]!r}"
            )
        try:
            columns.append(as_column(name, values, dtype))
        except (TypeError, OverflowError, ValueError, pl.exceptions.PolarsError) as error:
            raise DataError(f"items: column {name!r} must hold {type_name(dtype)}: {error}") from None
    return pl.DataFrame(columns)


def _require_item(item: object, features: object, schema: pl.Schema, own: str) -> None:
    wanted = str if schema[own] == pl.String else int
    if type(item) is not wanted or not fits(item, schema[own]):
        kind = "text" if wanted is str else "integers of 64 bits"
        raise DataError(f"item ids are {kind}; came {item!r}")
    if not isinstance(features, Mapping):
        raise DataError(f"item {item!r}: features must be a mapping of columns to values; came {features!r}")
    for name in features:
        if name == own:
            raise ConfigError(f"item {item!r}: {own!r} is the id, which is given apart from the features")
        if name not in schema:
            raise ConfigError(f"item {item!r}: no column {name!r} in the catalogue{nearest(str(name), set(schema) - {own})}")
