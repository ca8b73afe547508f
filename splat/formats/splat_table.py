"""The records of a `.splat` as NumPy has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.formats.columns import Columns
from splat.math import SH_C0

RECORD = np.dtype(
    [("mean", "<f4", 3), ("scale", "<f4", 3), ("color", "u1", 4), ("quaternion", "u1", 4)]
)


def records(path: Path) -> NDArray[Any]:
    """The records of a file; at least one."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; give the path of a .splat file")
    length = path.stat().st_size
    if length % RECORD.itemsize or not length:
        raise ValueError(
            f"{path} has {length:,} bytes, expected {RECORD.itemsize} for each Gaussian;"
            " fetch or export it again"
        )
    return np.fromfile(path, RECORD)


def columns(path: Path) -> Columns:
    """What the records hold, finite or not."""
    table = records(path)
    colors = table["color"] / np.float32(255)
    return Columns(
        means=table["mean"],
        # The sign of an axis does not show.
        scales=np.abs(table["scale"]),
        opacities=colors[:, 3],
        sh=(colors[:, None, :3] - np.float32(0.5)) / np.float32(SH_C0),
    )
