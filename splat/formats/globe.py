"""The globe (WGS 84): positions by latitude and longitude, and the axes east, north and up."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

EQUATOR, FLATTENING = 6378137.0, 1 / 298.257223563
"""Radius of the earth at its equator, metres, and its flattening."""

Place = tuple[float, float, float]
"""Latitude, longitude (degrees) and altitude above the ellipsoid (metres)."""


def ecef(geodetic: Float64[ndarray, "n 3"]) -> Float64[ndarray, "n 3"]:
    """Earth-centred metres of latitude, longitude (degrees) and altitude (metres)."""
    latitude, longitude = np.radians(geodetic[:, 0]), np.radians(geodetic[:, 1])
    altitude = geodetic[:, 2]
    squared = FLATTENING * (2 - FLATTENING)
    normal = EQUATOR / np.sqrt(1 - squared * np.sin(latitude) ** 2)
    across = (normal + altitude) * np.cos(latitude)
    return np.stack(
        [
            across * np.cos(longitude),
            across * np.sin(longitude),
            (normal * (1 - squared) + altitude) * np.sin(latitude),
        ],
        1,
    )


def axes_at(place: Place) -> Float64[ndarray, "3 3"]:
    """Unit vectors east, north and up of a place, earth-centred, a row each."""
    latitude, longitude = np.radians(place[0]), np.radians(place[1])
    s, c, sl, cl = np.sin(latitude), np.cos(latitude), np.sin(longitude), np.cos(longitude)
    return np.array([[-sl, cl, 0], [-s * cl, -s * sl, c], [c * cl, c * sl, s]])


def from_place(place: Place) -> Float64[ndarray, "4 4"]:
    """The matrix from metres east, north and up of a place to earth-centred ones."""
    matrix = np.eye(4)
    matrix[:3, :3] = axes_at(place).T
    matrix[:3, 3] = ecef(np.array([place], np.float64))[0]
    return matrix
