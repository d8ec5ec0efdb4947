"""A grid on the sphere whose cells are about as wide as they are high, wherever they lie.

Cells of equal angles would not do: a degree of longitude is 111 km at the equator, 56 km at 60 degrees north and nothing at the
pole, so that one minimum count, and one embedding per cell, would mean another thing in Oslo than in Nairobi. Here the
sphere is cut into rings of equal height, and each ring into as many equal cells as its length has room for: the reduced grid of
weather models. Cells of the same height are nearly equal in area, their numbers need no table, and none is cut by the
date line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["cell_numbers", "ring_sizes"]


def ring_sizes(height: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many cells each ring has, from the south pole on, and the number of its first one.

    Args:
        height: Of a cell, in degrees; above 0.

    Example:
        >>> sizes, starts = ring_sizes(90.0)
        >>> sizes.tolist(), starts.tolist()
        ([3, 3], [0, 3])
    """
    num_rings = int(np.ceil(180 / height - 1e-9))
    south = -90 + height * np.arange(num_rings)
    middle = (south + np.minimum(south + height, 90)) / 2
    sizes = np.maximum(np.rint(360 * np.cos(np.radians(middle)) / height), 1).astype(np.int64)
    return sizes, np.concatenate([[0], np.cumsum(sizes)[:-1]])


def cell_numbers(longitude: NDArray[np.float64], latitude: NDArray[np.float64], height: float) -> NDArray[np.int64]:
    """The number of the cell of each place, counted from the south pole and, in a ring, from 180 degrees west.

    Ring ``r`` lies from ``-90 + r * height`` to ``height`` degrees further north, and has
    ``round(360 * cos(latitude of its middle) / height)`` cells, at least one.

    Args:
        longitude: Degrees east in ``[-180, 180]``, ``[n]``; the two ends are the same meridian.
        latitude: Degrees north in ``[-90, 90]``, ``[n]``.
        height: Of a cell, in degrees; above 0.

    Example:
        >>> cell_numbers(np.array([-180.0, 180.0, -61.0, 61.0]), np.array([-90.0, -90.0, 0.0, 0.0]), 90.0).tolist()
        [0, 0, 3, 5]
    """
    sizes, starts = ring_sizes(height)
    ring = np.minimum(np.floor((latitude + 90) / height).astype(np.int64), len(sizes) - 1)
    along = np.floor((longitude + 180) / 360 * sizes[ring]).astype(np.int64) % sizes[ring]
    result: NDArray[np.int64] = starts[ring] + along
    return result
