"""Where somebody is: a point on the sphere, and the cells of two grids that it lies in."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from twotower.config import Config
from twotower.errors import DataError
from twotower.preprocessing.cells import cell_numbers
from twotower.preprocessing.counts import row_counts
from twotower.preprocessing.floats import to_floats
from twotower.preprocessing.lookup import Lookup, value_totals
from twotower.preprocessing.missing import first_rows
from twotower.spec import FloatsColumn, RowsColumn

__all__ = ["FittedGeo", "GeoFeature"]

_CHUNK_ROWS = 1 << 20


class GeoFeature(Config):
    """A place, given by longitude and latitude in degrees, as numbers and as two rows.

    The numbers are a point on the unit sphere, so that 179 degrees east is beside 179 degrees west and a tower can take
    distances from it as a dot product (no distance between the two sides is computed here: the towers stay apart). What holds
    in one country and not in the next to it is learned by the cells, which are looked up like categories.

    Attributes:
        longitude: Column of degrees east, in ``[-180, 180]``.
        latitude: Column of degrees north, in ``[-90, 90]``.
        name: Name of the feature, and what the names of its columns start with.
        cells: Heights in degrees of the cells of the coarse and of the fine grid; see `twotower.preprocessing.cells`. 1 degree
            of latitude is 111 km.
        min_count: Cells of fewer interactions share row 0 with those that train never saw.
        out_of_range: A place that does not exist (a latitude of 123) is an ``error``, or ``missing``.
    """

    kind: Literal["geo"] = "geo"
    longitude: str = Field(min_length=1)
    latitude: str = Field(min_length=1)
    name: str = Field(min_length=1)
    cells: tuple[float, float] = (10.0, 1.0)
    min_count: int = Field(default=1, ge=1)
    out_of_range: Literal["error", "missing"] = "error"

    @model_validator(mode="after")
    def _two_of_each(self) -> GeoFeature:
        if not 90 >= self.cells[0] > self.cells[1] >= 0.01:
            raise ValueError(
                f"cells: must be the degrees of the coarse and of the fine grid, in this order, from 90 to .01; "
                f"came {list(self.cells)}"
            )
        if self.longitude == self.latitude:
            raise ValueError(f"longitude and latitude must be two columns; came {self.longitude!r} for both")
        return self

    @property
    def output_name(self) -> str:
        """What the names of the encoded columns start with."""
        return self.name

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Longitude and latitude."""
        return (self.longitude, self.latitude)

    def source(self, frame: pl.DataFrame) -> pl.Series:
        """What ``fit`` and ``encode`` take, read from a table that has the columns: a struct of the two."""
        return frame.select(pl.struct(self.longitude, self.latitude)).to_series()

    def fit(self, column: pl.Series, counts: NDArray[np.int64] | None = None) -> FittedGeo:
        """Collect the cells of the train rows.

        Args:
            column: A struct of the two columns of degrees, ``[n]``; a place without one of them is missing.
            counts: How many interactions each row stands for, ``[n]``; None: one each.

        Raises:
            DataError: If a column holds no numbers, if a place is out of range and that is an error, or if no cell is left.
        """
        weights = None if counts is None else row_counts(counts, len(column))
        found: tuple[list[pl.DataFrame], ...] = ([], [])
        for start in range(0, max(len(column), 1), _CHUNK_ROWS):
            try:
                longitude, latitude = _degrees(self, column.slice(start, _CHUNK_ROWS))
            except DataError:
                _degrees(self, column)  # the same fault again, for its row numbers
                raise
            part = None if weights is None else weights[start : start + _CHUNK_ROWS]
            for totals, height in zip(found, self.cells, strict=True):
                totals.append(value_totals(_cells(longitude, latitude, height), part, self.name))
        coarse, fine = (
            Lookup.fit(totals["value"], totals["count"].to_numpy(), min_count=self.min_count, column=self.name)
            for totals in map(pl.concat, found)
        )
        return FittedGeo(config=self, coarse=coarse, fine=fine)


class FittedGeo(Config):
    """A geo feature and the cells that it found.

    Attributes:
        coarse: Numbers of the coarse cells that train saw.
        fine: Numbers of the fine ones.

    Example:
        >>> feature = GeoFeature(longitude="lon", latitude="lat", name="place")
        >>> train = pl.DataFrame({"lon": [0.0, 90.0], "lat": [0.0, 0.0]})
        >>> later = pl.DataFrame({"lon": [0.4, 5.0, None], "lat": [0.3, 0.5, 0.0]})
        >>> encoded = feature.fit(feature.source(train)).encode(feature.source(later))
        >>> encoded["place_coarse"].tolist(), encoded["place_fine"].tolist()
        ([1, 1, 3], [1, 0, 3])
        >>> encoded["place"][2].tolist()
        [0.0, 0.0, 0.0, 1.0]
    """

    kind: Literal["geo"] = "geo"
    config: GeoFeature
    coarse: Lookup
    fine: Lookup

    @property
    def columns(self) -> tuple[FloatsColumn | RowsColumn, ...]:
        """``{name}``: four floats. ``{name}_coarse`` and ``{name}_fine``: rows; the last of each is for a missing place."""
        name = self.config.name
        return (
            FloatsColumn(name=name, width=4),
            RowsColumn(name=f"{name}_coarse", vocabulary_size=self.coarse.size + 1),
            RowsColumn(name=f"{name}_fine", vocabulary_size=self.fine.size + 1),
        )

    def encode(self, column: pl.Series) -> dict[str, Tensor]:
        """Floats float32 ``[n, 4]`` and rows int32 ``[n]``, twice.

        The floats are x (towards 0 degrees east on the equator), y (towards 90 degrees east) and z (north), then 1 where the
        place is missing and 0 elsewhere; x, y and z of a missing place are 0, which no place is: it lies in the middle of the
        earth, as near to one as to another.

        Raises:
            DataError: If a column holds no numbers, or if a place is out of range and that is an error.
        """
        longitude, latitude = _degrees(self.config, column)
        return {self.config.name: _points(longitude, latitude), **self._rows(longitude, latitude)}

    def encode_points(self, column: pl.Series) -> Tensor:
        """Of what `encode` gives, the floats."""
        return _points(*_degrees(self.config, column))

    def encode_cells(self, column: pl.Series) -> dict[str, Tensor]:
        """Of what `encode` gives, the rows; raises as it does."""
        return self._rows(*_degrees(self.config, column))

    def _rows(self, longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> dict[str, Tensor]:
        missing, name = np.isnan(longitude), self.config.name
        encoded = {}
        for suffix, lookup, height in zip(("coarse", "fine"), (self.coarse, self.fine), self.config.cells, strict=True):
            rows = lookup.rows(_cells(longitude, latitude, height), column=name)
            rows[missing] = lookup.size
            encoded[f"{name}_{suffix}"] = torch.from_numpy(rows)
        return encoded


def _degrees(config: GeoFeature, column: pl.Series) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude, both NaN where the place is missing."""
    fields = column.struct.unnest()
    longitude, latitude = (to_floats(fields[name], name) for name in config.source_columns)
    missing = np.isnan(longitude) | np.isnan(latitude)
    for name, degrees, most in ((config.longitude, longitude, 180), (config.latitude, latitude, 90)):
        outside = np.abs(degrees) > most
        if outside.any() and config.out_of_range == "error":
            row = int(np.argmax(outside))
            raise DataError(
                f"column {name!r} must hold degrees from {-most} to {most}; row {row} holds {degrees[row]:g} "
                f"({first_rows(outside)}); repair these, declare out_of_range = 'missing', or see whether longitude and "
                "latitude are exchanged"
            )
        missing |= outside
    longitude[missing] = np.nan
    latitude[missing] = np.nan
    return longitude, latitude


def _points(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> Tensor:
    missing = np.isnan(longitude)
    east, north = np.radians(longitude), np.radians(latitude)
    points = np.stack(
        [np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north), missing], axis=1, dtype=np.float32
    )
    points[missing, :3] = 0
    return torch.from_numpy(points)


def _cells(longitude: NDArray[np.float64], latitude: NDArray[np.float64], height: float) -> pl.Series:
    """The cell of each place, Int64; null where it is missing."""
    present = ~np.isnan(longitude)
    cells = np.zeros(len(longitude), dtype=np.int64)
    cells[present] = cell_numbers(longitude[present], latitude[present], height)
    return pl.Series(cells).set(pl.Series(~present), None)
