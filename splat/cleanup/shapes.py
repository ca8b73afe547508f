"""Shapes that are hardly ever wanted: rows that are too large for a scene, or too long and thin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.floating[Any]]
_LONG = 10.0
"""Length from which a needle is long, in median lengths."""
_BULK = 0.9
"""Share of the rows within the radius of a scene."""


def giants(means: _Floats, scales: _Floats, times: float) -> NDArray[np.bool_]:
    """Rows longer than `times` the radius of the scene, or than their distance from its middle.

    The middle is the median of the centres, and within the radius lie nine tenths of them. What is
    far away, such as a sky, may be large. Both arrays are [n, 3].
    """
    distance = np.linalg.norm(means - _middle(means), axis=1)
    last = max(1, round(_BULK * len(distance))) - 1
    radius = np.partition(distance, last)[last]
    rows: NDArray[np.bool_] = scales.max(1) > times * np.maximum(distance, radius)
    return rows if radius > 0 else np.zeros_like(rows)


def needles(scales: _Floats, ratio: float) -> NDArray[np.bool_]:
    """Rows whose longest axis is more than `ratio` times the middle one, and ten times the median.

    Shorter ones are what hair, wires and edges are made of.
    """
    _, middle, longest = np.sort(scales, axis=1).T
    rows: NDArray[np.bool_] = (longest > ratio * middle) & (longest > _LONG * _middle(longest))
    return rows


def _middle(values: _Floats) -> _Floats:
    """The median along the first axis; of an even count the lower of both."""
    half = (len(values) - 1) // 2
    middle: _Floats = np.partition(values, half, axis=0)[half]
    return middle
