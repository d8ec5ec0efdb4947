"""Places as points and cells."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from twotower.config import parse_config
from twotower.errors import ConfigError, DataError
from twotower.preprocessing import FittedGeo, GeoFeature, geo
from twotower.spec import FloatsColumn, RowsColumn

ROME, OSTIA, OSLO, SUVA = (12.5, 41.9), (12.3, 41.7), (10.7, 59.9), (178.4, -18.1)
GEO = GeoFeature(longitude="lon", latitude="lat", name="place")


def places(rows: Sequence[tuple[float | None, float | None]]) -> pl.Series:
    frame = pl.DataFrame(
        {"lon": [row[0] for row in rows], "lat": [row[1] for row in rows]}, schema={"lon": float, "lat": float}
    )
    return GEO.source(frame)


def fit(feature: GeoFeature, rows: Sequence[tuple[float | None, float | None]], counts: list[int] | None = None) -> FittedGeo:
    return feature.fit(places(rows), None if counts is None else np.array(counts))


def test_the_numbers_are_the_point_on_the_sphere() -> None:
    encoded = fit(GEO, [ROME]).encode(places([ROME, OSLO, SUVA, (0, 0), (90, 0), (0, 90)]))["place"].numpy()
    for row, (longitude, latitude) in zip(encoded, [ROME, OSLO, SUVA], strict=False):
        east, north = math.radians(longitude), math.radians(latitude)
        point = [math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north), 0]
        np.testing.assert_allclose(row, point, atol=1e-6)
    np.testing.assert_allclose(encoded[3:], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(np.square(encoded[:, :3]).sum(axis=1), 1, atol=1e-6)


def test_neighbours_across_the_date_line_are_near() -> None:
    east, west = fit(GEO, [ROME]).encode(places([(179.9, 0.0), (-179.9, 0.0)]))["place"]
    assert float((east - west).norm()) < 0.01


def test_missing_is_a_value_of_its_own_and_no_place() -> None:
    nan = float("nan")
    fitted = fit(GEO, [ROME, (0.0, 0.0), (None, None)])
    encoded = fitted.encode(places([(None, None), (None, 41.9), (12.5, None), (nan, 41.9), (0.0, 0.0), ROME]))
    assert encoded["place"][:4].tolist() == [[0, 0, 0, 1]] * 4
    assert encoded["place"][4].tolist() == [1, 0, 0, 0]
    coarse, fine = fitted.columns[1:]
    assert encoded["place_coarse"].tolist() == [3, 3, 3, 3, 1, 2]
    assert encoded["place_fine"].tolist() == [3, 3, 3, 3, 1, 2]
    assert (coarse, fine) == (
        RowsColumn(name="place_coarse", vocabulary_size=4),
        RowsColumn(name="place_fine", vocabulary_size=4),
    )
    assert fitted.columns[0] == FloatsColumn(name="place", width=4)


def test_cells_of_two_heights() -> None:
    fitted = fit(GEO, [ROME, OSLO])
    encoded = fitted.encode(places([ROME, OSTIA, OSLO, SUVA]))
    assert encoded["place_coarse"].tolist() == [1, 1, 2, 0]
    assert encoded["place_fine"].tolist() == [1, 1, 2, 0]
    finer = fit(GEO.model_copy(update={"cells": (60.0, 0.1)}), [ROME, OSLO]).encode(places([ROME, OSTIA, OSLO, SUVA]))
    assert finer["place_coarse"].tolist() == [1, 1, 1, 0]
    assert finer["place_fine"].tolist() == [1, 0, 2, 0]


def test_rare_cells_share_row_zero() -> None:
    rare = GEO.model_copy(update={"min_count": 2})
    assert fit(rare, [ROME, OSTIA, OSLO]).encode(places([ROME, OSLO]))["place_fine"].tolist() == [1, 0]
    assert fit(rare, [ROME, OSLO], [1, 2]).encode(places([ROME, OSLO]))["place_fine"].tolist() == [0, 1]
    assert fit(GEO, [ROME, OSLO], [1, 0]).encode(places([ROME, OSLO]))["place_fine"].tolist() == [1, 0]
    with pytest.raises(DataError, match="'place' must have a value that occurs at least 2 times"):
        fit(rare, [ROME, OSLO])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((181.0, 5.0), r"'lon' must hold degrees from -180 to 180; row 1 holds 181 \(1 of 2 rows, first: 1\)"),
        ((5.0, -91.5), r"'lat' must hold degrees from -90 to 90; row 1 holds -91.5"),
    ],
)
def test_out_of_range_is_an_error_or_missing(row: tuple[float, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit(GEO, [ROME, row])
    with pytest.raises(DataError, match=message):
        fit(GEO, [ROME]).encode(places([OSLO, row]))
    lenient = GEO.model_copy(update={"out_of_range": "missing"})
    fitted = fit(lenient, [ROME, row])
    assert fitted == fit(lenient, [ROME, (None, None)])
    assert fitted.encode(places([row]))["place"].tolist() == [[0, 0, 0, 1]]


def test_a_place_without_its_partner_is_missing_and_never_out_of_range_twice() -> None:
    assert fit(GEO, [ROME]).encode(places([(None, 5.0)]))["place"].tolist() == [[0, 0, 0, 1]]
    with pytest.raises(DataError, match="longitude and latitude are exchanged"):
        fit(GEO, [(41.9, 120.5)])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cells": [1.0, 10.0]}, "cells: must be the degrees of the coarse and of the fine grid"),
        ({"cells": [10.0, 0.0]}, "cells: must be the degrees"),
        ({"cells": [100.0, 1.0]}, "cells: must be the degrees"),
        ({"latitude": "lon"}, "longitude and latitude must be two columns"),
    ],
)
def test_faults_of_the_config(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(GeoFeature, {"longitude": "lon", "latitude": "lat", "name": "place", **keys})


def test_places_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, counts = [ROME, OSLO, (None, 3.0), OSTIA, OSLO, SUVA, ROME], [1, 2, 1, 1, 0, 5, 3]
    feature = GEO.model_copy(update={"min_count": 2})
    whole, weighted = fit(feature, rows), fit(feature, rows, counts)
    monkeypatch.setattr(geo, "_CHUNK_ROWS", 2)
    assert fit(feature, rows) == whole != weighted == fit(feature, rows, counts)
    with pytest.raises(DataError, match="row 7 holds 95"):
        fit(feature, [*rows, (1.0, 95.0)])


def test_text_is_no_degree() -> None:
    with pytest.raises(DataError, match=r"column 'lon' must hold numbers; it holds String \('north'\)"):
        GEO.fit(pl.DataFrame({"lon": ["north"], "lat": [1.0]}).to_struct())
