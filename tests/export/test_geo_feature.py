"""Places in a graph beside places in preprocessing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.export.running import encoded_by

from twotower.export.geo_feature import encode_geo, paged_rows
from twotower.preprocessing import FittedGeo, GeoFeature
from twotower.preprocessing.cells import ring_sizes

RNG = np.random.default_rng(3)
TRAIN = pl.DataFrame({"lon": RNG.uniform(-180, 180, 300), "lat": RNG.uniform(-90, 90, 300)})
SPECIAL = [(-180.0, -90.0), (180.0, 90.0), (0.0, 0.0), (179.999999, -0.0), (-10.0, 80.0), (None, 3.0), (3.0, None)]


def fitted(cells: tuple[float, float], out_of_range: str = "error") -> FittedGeo:
    feature = GeoFeature(longitude="lon", latitude="lat", name="at", cells=cells, out_of_range=out_of_range, min_count=1)
    return feature.fit(feature.source(TRAIN))


def same(feature: FittedGeo, places: list[tuple[float | None, float | None]]) -> np.ndarray:
    frame = pl.DataFrame(places, schema={"lon": pl.Float64, "lat": pl.Float64}, orient="row")
    feeds = {name: frame[name].to_numpy(writable=True) for name in ("lon", "lat")}
    found, refused = encoded_by(lambda raw: encode_geo(raw, feature), feeds)
    kept = frame.filter(pl.Series(~refused))
    expected = feature.encode(feature.config.source(kept))
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(found["at"][~refused], expected["at"].numpy(), atol=1e-7)
    for name in ("at_coarse", "at_fine"):
        assert found[name][~refused].tolist() == expected[name].tolist()
    return refused


@pytest.mark.parametrize("cells", [(10.0, 1.0), (7.0, 0.3), (90.0, 60.0), (1.0, 0.01)])
def test_places_of_train_and_others(cells: tuple[float, float]) -> None:
    others = list(zip(RNG.uniform(-180, 180, 200), RNG.uniform(-90, 90, 200), strict=True))
    assert not same(fitted(cells), [*TRAIN.rows(), *others, *SPECIAL]).any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-180, 180), st.floats(-90, 90)), min_size=1, max_size=20))
def test_any_place(places: list[tuple[float | None, float | None]]) -> None:
    assert not same(fitted((10.0, 1.0)), places).any()


def test_a_place_that_does_not_exist() -> None:
    places: list[tuple[float | None, float | None]] = [(181.0, 0.0), (0.0, -90.5), (5.0, 5.0)]
    assert same(fitted((10.0, 1.0)), places).tolist() == [True, True, False]
    assert same(fitted((10.0, 1.0), "missing"), places).tolist() == [False, False, False]


def test_pages_hold_every_cell() -> None:
    total = int(ring_sizes(1.0)[0].sum())
    known = RNG.permutation(total)[:500]
    pages, entries = paged_rows(known, total)
    cells = np.arange(total)
    rows = np.zeros(total, dtype=np.int64)
    rows[known] = np.arange(1, 501)
    assert entries[pages[cells // 64] * 64 + cells % 64].tolist() == rows.tolist()
    assert len(entries) <= (500 + 1) * 64
