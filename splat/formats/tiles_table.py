"""The finest tiles of a tileset as NumPy has them, and what all of them weigh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from splat.formats import gltf_table
from splat.formats.columns import Columns
from splat.formats.lod_table import check_degrees
from splat.formats.tiles_meta import read_document


def columns(path: Path) -> Columns:
    """What the rows of the finest tiles hold; see `splat.formats.tiles.read`."""
    found = read_document(path)
    parts = [gltf_table.columns(file).whole(file) for file in found.finest]
    check_degrees(part.sh_degree for part in parts)
    means = np.concatenate([part.means for part in parts]).astype(np.float64) + found.origin
    return replace(
        parts[0],
        means=means.astype(np.float32),
        scales=np.concatenate([part.scales for part in parts]),
        opacities=np.concatenate([part.opacities for part in parts]),
        sh=np.concatenate([part.sh for part in parts]),
        quats=None,
    )


def weight(path: Path) -> int:
    """Bytes of the document and all its tiles."""
    return path.stat().st_size + sum(file.stat().st_size for file in read_document(path).all)
