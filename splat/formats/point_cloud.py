"""Point clouds in `.ply` files, to start from; torch is not loaded for it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.formats import AGAIN
from splat.formats.header import EXPECTED
from splat.formats.limits import warn_left_out
from splat.formats.ply_table import CONSTANT, POSITION, expect, table_of, vertices
from splat.math import SH_C0
from splat.scene import Points
from splat.system import foreign

_COLORS = (("red", "green", "blue"), ("r", "g", "b"))
_log = logging.getLogger(__name__)


def read_points(path: Path) -> Points:
    """Positions and colours of a point cloud, or the centres and constant colours of Gaussians.

    A property `time` is the instant of each point. Positions stay float64 where they are (surveyed
    coordinates need it).
    """
    with foreign.reading(path, EXPECTED, AGAIN):
        rows = vertices(path)
    names = rows.dtype.names or ()
    expect(names, POSITION, path, "points")
    positions = table_of(
        rows, POSITION, np.float64 if rows.dtype["x"].itemsize == 8 else np.float32
    )
    colors = _point_colors(rows, names, path)
    keep = np.isfinite(positions).all(1) & np.isfinite(colors).all(1)
    if not keep.all():
        warn_left_out(path, int((~keep).sum()), len(keep), "points")
    times = table_of(rows, ("time",), np.float32)[:, 0] if "time" in names else None
    return Points.of_arrays(positions, colors.clip(0, 1), times).kept(keep)


def _point_colors(
    rows: NDArray[Any], names: tuple[str, ...], path: Path
) -> NDArray[np.floating[Any]]:
    if set(CONSTANT) <= set(names):
        constant: NDArray[np.float32] = table_of(rows, CONSTANT, np.float32)
        constant *= np.float32(SH_C0)
        constant += np.float32(0.5)
        return constant
    for triple in _COLORS:
        if set(triple) <= set(names):
            kind = rows.dtype[triple[0]]
            whole = float(np.iinfo(kind).max) if kind.kind in "iu" else 1.0
            colors: NDArray[np.float32] = table_of(rows, triple, np.float32)
            colors /= np.float32(whole)
            return colors
    _log.warning("%s has no colours; its points start grey", path)
    return np.full((len(rows), 3), 0.5, np.float32)
