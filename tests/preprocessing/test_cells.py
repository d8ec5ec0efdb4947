"""The grid, against the words that describe it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.preprocessing.cells import cell_numbers


def oracle(longitude: float, latitude: float, height: float) -> int:
    """Walk north ring by ring."""
    number, south = 0, -90.0
    while True:
        north = min(south + height, 90.0)
        size = max(round(360 * math.cos(math.radians((south + north) / 2)) / height), 1)
        if latitude < north or north >= 90:
            return number + int((longitude + 180) / (360 / size)) % size
        number, south = number + size, south + height


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-179_999, 180_000), st.integers(-90_000, 90_000)), min_size=1, max_size=20),
    st.sampled_from([90.0, 45.0, 10.0, 7.0, 1.0, 0.5]),
)
def test_cells_are_counted_along_the_rings(places: list[tuple[int, int]], height: float) -> None:
    # a tenth of a thousandth of a degree away from every border, where a float may fall on either side
    longitude, latitude = [x / 1000 + 1e-4 if x < 180_000 else -180 for x, _ in places], [y / 1000 for _, y in places]
    expected = [oracle(x, y, height) for x, y in zip(longitude, latitude, strict=True)]
    assert cell_numbers(np.array(longitude), np.array(latitude), height).tolist() == expected


def test_cells_of_a_height_are_nearly_equal_in_area() -> None:
    rng = np.random.default_rng(0)
    east, north = rng.uniform(-180, 180, 400_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 400_000)))  # uniform on the sphere
    counts = np.bincount(cell_numbers(east, north, 10.0))
    assert len(counts) == sum(max(round(36 * math.cos(math.radians(middle))), 1) for middle in range(-85, 90, 10))
    assert counts.min() > 0.7 * counts.mean()
    assert counts.max() < 1.3 * counts.mean()


@pytest.mark.parametrize("height", [10.0, 1.0])
def test_no_cell_is_cut_by_the_date_line_twice_and_the_poles_are_cells(height: float) -> None:
    ends = cell_numbers(np.array([-180.0, 180.0]), np.array([12.0, 12.0]), height)
    assert ends[0] == ends[1]
    poles = cell_numbers(np.array([-30.0, -30.0, -30.0]), np.array([-90.0, 90.0, 89.99]), height)
    assert poles[0] >= 0
    assert poles[1] == poles[2]


def test_no_places() -> None:
    assert cell_numbers(np.array([]), np.array([]), 1.0).tolist() == []
