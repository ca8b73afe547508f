"""A tileset of 3D Tiles 1.1 (OGC): `tileset.json`, and `.glb` files of levels of detail beside it.

The levels are those of `splat.lod`: a tile of level k holds the rows of 4^k neighbouring leaves of
a k-d tree, 8,192 or so, and is replaced by the four of the level below that lie within it. Its
geometric error is how far its rows stand from those of the finest level. Positions are float32
about an origin that the transform of the root has in 64 bits. Where the scene is metres east, north
and up of a known place, that transform leads to earth-centred coordinates (WGS 84), and the tileset
lies on the globe. Tiles are z-up, their glTF is y-up.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from splat.core.frame import finite, gaussians_from_frame
from splat.formats import gltf, gltf_spz
from splat.formats.globe import from_place
from splat.formats.gltf_table import NAME, PACKED
from splat.formats.lod_files import Levelled, drafts_of, joined_parts, sweep
from splat.formats.rows import kept
from splat.formats.settings import Settings
from splat.formats.tiles_meta import Matrix, read_document
from splat.lod.levels import (
    LEAF,
    Levels,
    Refine,
    coarser_counts,
)
from splat.lod.tree import depth_for
from splat.system.files import replacing, synced
from splat.types import Drawing, Frame, Gaussians

SUFFIX = "tileset.json"
TAKES_REFINE = True
TAKES_FRAME = True
"""Whether `write` takes the frame of training: positions in that of the input may need 64 bits."""
_FOLDER = "tiles"
_GROUP = 4
"""Tiles that replace one."""
_REACH = 3.0
"""Standard deviations around centres that are within a box."""
_NODE = 600
"""Most bytes of the document for a tile."""
_TO_TILE = np.array([[-1.0, 0, 0], [0, 0, -1], [0, -1, 0]])
"""From the axes of a .ply to those of a tile: half a turn about z to glTF's, then y-up to z-up."""

harmonics_grid = gltf_spz.harmonics_grid


@dataclass(frozen=True)
class _Tile:
    """Leaves from one to before another, at one level, and the tiles that replace them."""

    level: int
    first: int
    end: int
    children: tuple[_Tile, ...]

    @property
    def name(self) -> str:
        """Its file."""
        return f"{self.level}_{self.first}.glb"


@torch.no_grad()
def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
    refine: Refine | None = None,
    frame: Frame | None = None,
) -> None:
    """Write the document, and tiles into a folder beside it.

    The set is in `frame`, or where that is None in the frame of the input. `refine` gives the
    coarser levels their last form, in the frame of the input; None: they are merged only. Rows that
    hold NaN or infinite values are left out, with a warning. What such a document at `path` had
    stays whole until the new one is; then its tiles are removed.
    """
    gaussians = kept(gaussians, finite(gaussians), path).to("cpu")
    gaussians, origin = _about_an_origin(gaussians, frame)
    whole = Levelled.of(gaussians)
    if refine is not None:
        whole = replace(whole, levels=_refined(whole.levels, gaussians, refine, origin))
    root = _tree(len(whole.levels), len(whole.levels.coarser))
    content = gltf_spz if settings.tiles_content == "spz" else gltf
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix=drafts_of(path)) as drafts:
        made = Path(drafts) / _FOLDER
        made.mkdir()
        for tile in _every(root):
            rows = whole.rows(tile.level, tile.first, tile.end)
            content.write(rows, made / tile.name, drawing, settings)
        synced(made)
        folder = _free(path)
        made.rename(folder)
        document = _document(folder.name, root, whole.levels, origin, settings)
        with replacing(path) as draft:
            draft.write_bytes(document)
    own = rf"{re.escape(path.name.removesuffix(SUFFIX))}{_FOLDER}(-\d+)?"
    sweep(path, own, [folder.name], [".glb"])


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that the document and its tiles take at most."""
    content = gltf_spz if settings.tiles_content == "spz" else gltf
    leaves = 1 << depth_for(n, LEAF)
    counts = [-(-n // leaves), *coarser_counts(n, LEAF)]
    total = 4096
    for tile in _every(_tree(leaves, len(counts) - 1)):
        rows = counts[tile.level] * (tile.end - tile.first)
        total += _NODE + content.size(rows, sh_degree, settings)
    return total


def quantiser(
    gaussians: Gaussians,
    settings: Settings = Settings(),  # noqa: B008
) -> Callable[[Gaussians], Gaussians]:
    """The quantisation of the finest level as one tile; tiles of their own lose no more."""
    if settings.tiles_content != "spz":
        return lambda given: given
    return gltf_spz.quantiser(gaussians, settings)


def read(path: Path) -> Gaussians:
    """The Gaussians of the finest tiles, about the origin that the document names.

    Of a document of another program the transform of the root is left out: float32 has no room for
    places on the globe.
    """
    found = read_document(path)
    return _shifted(joined_parts([gltf.read(file) for file in found.finest]), found.origin)


def drawing(path: Path) -> Drawing:
    """How the tiles say that their Gaussians are meant to be drawn."""
    return gltf.drawing(read_document(path).finest[0])


def _about_an_origin(gaussians: Gaussians, frame: Frame | None) -> tuple[Gaussians, Matrix]:
    """The set in units of the input about an origin, and the origin in the frame of the input."""
    if frame is not None:
        turned = gaussians_from_frame(gaussians, Frame((0.0, 0.0, 0.0), frame.scale))
        return turned, np.array(frame.centre, np.float64)
    middle = gaussians.means.double().median(0).values
    return _shifted(gaussians, -middle.numpy()), middle.numpy()


def _shifted(gaussians: Gaussians, by: Matrix) -> Gaussians:
    return replace(gaussians, means=(gaussians.means.double() + torch.from_numpy(by)).float())


def _refined(levels: Levels, finest: Gaussians, refine: Refine, origin: Matrix) -> Levels:
    def moved(finest: Gaussians, rows: Gaussians) -> Gaussians:
        return _shifted(refine(_shifted(finest, origin), _shifted(rows, origin)), -origin)

    with torch.enable_grad():
        return levels.refined(finest, moved)


def _tree(leaves: int, coarser: int) -> _Tile:
    """The tiles over so many leaves: a coarse one with four times the leaves of one below."""
    top = min(coarser, math.ceil(math.log(leaves, _GROUP))) if leaves > 1 else 0

    def tiles(level: int, first: int, end: int) -> tuple[_Tile, ...]:
        step = min(_GROUP**level, end - first)
        return tuple(
            _Tile(level, at, at + step, tiles(level - 1, at, at + step) if level else ())
            for at in range(first, end, step)
        )

    found = tiles(top, 0, leaves)
    # Above the coarsest level there is a tile without rows where one alone does not do.
    return found[0] if len(found) == 1 else _Tile(-1, 0, leaves, found)


def _every(root: _Tile) -> Iterator[_Tile]:
    """The tiles with rows."""
    if root.level >= 0:
        yield root
    for child in root.children:
        yield from _every(child)


def _document(
    folder: str, root: _Tile, levels: Levels, origin: Matrix, settings: Settings
) -> bytes:
    low = (levels.low - _REACH * levels.reach[:, None]).numpy().astype(np.float64)
    high = (levels.high + _REACH * levels.reach[:, None]).numpy().astype(np.float64)
    errors = levels.errors.numpy()
    whole = float(np.linalg.norm(high.max(0) - low.min(0)))

    def node(tile: _Tile) -> dict[str, Any]:
        rows = slice(tile.first, tile.end)
        error = whole if tile.level < 0 else float(errors[tile.level, rows].max())
        record: dict[str, Any] = {
            "boundingVolume": {"box": _box(low[rows].min(0), high[rows].max(0))},
            "geometricError": _short(error),
        }
        if tile.level >= 0:
            record["content"] = {"uri": f"{folder}/{tile.name}"}
        if tile.children:
            record["children"] = [node(child) for child in tile.children]
        return record

    top = node(root)
    said: dict[str, Any] = {"origin": origin.tolist()}
    if settings.tiles_origin is not None:
        said["place"] = list(settings.tiles_origin)
    top |= {
        "refine": "REPLACE",
        "transform": _transform(origin, settings).flatten(order="F").tolist(),
        "extras": {"splat": said},
    }
    names = [NAME, PACKED] if settings.tiles_content == "spz" else [NAME]
    document = {
        "asset": {"version": "1.1", "generator": "splat"},
        # CesiumJS looks here for what its tiles are.
        "extensionsUsed": ["3DTILES_content_gltf"],
        "extensions": {
            "3DTILES_content_gltf": {"extensionsUsed": names, "extensionsRequired": names}
        },
        "geometricError": _short(whole),
        "root": top,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _transform(origin: Matrix, settings: Settings) -> Matrix:
    """From the axes of tiles to the globe, or to the input's, z-up."""
    there, to_tile = np.eye(4), np.eye(4)
    there[:3, 3], to_tile[:3, :3] = origin, _TO_TILE
    above = to_tile if settings.tiles_origin is None else from_place(settings.tiles_origin)
    matrix: Matrix = above @ there @ to_tile.T
    return matrix


def _box(low: Matrix, high: Matrix) -> list[float]:
    """A box as 3D Tiles have it: the centre, and half an edge along each axis."""
    middle, half = _TO_TILE @ ((low + high) / 2), np.abs(_TO_TILE @ ((high - low) / 2))
    return [_short(value) for value in (*middle, *np.diag(half).flatten())]


def _short(value: float) -> float:
    return float(f"{value:.7g}")


def _free(path: Path) -> Path:
    """A name for the folder of tiles that is free."""
    stem = path.name.removesuffix(SUFFIX) + _FOLDER
    names = itertools.chain([stem], (f"{stem}-{turn}" for turn in itertools.count(2)))
    return next(path.parent / name for name in names if not (path.parent / name).exists())
