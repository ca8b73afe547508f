"""glTF binary (`.spz.glb`) with `KHR_gaussian_splatting_compression_spz_2`: an `.spz` within.

The draft of the extension keeps Gaussians as an `.spz` of version 2 in one buffer view; accessors
say of what kind the values are, and have none of their own. CesiumJS draws it, and takes the
numbers of the `.spz` to be along the axes of glTF, as they are here (the draft's text can be read
as half a turn about y besides). Reading is that of `.glb`: `splat.formats.gltf`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from splat.formats import glb, gltf, spz
from splat.formats.gltf_table import NAME, PACKED, SHOWN, semantics
from splat.formats.rows import Rows, rows_of
from splat.formats.settings import Settings
from splat.system.files import replacing
from splat.types import Drawing, Gaussians

_AXES = (-1, -1, 1)
_MOST_DOCUMENT = 4096
"""Most bytes of JSON."""

read = gltf.read
drawing = gltf.drawing


@torch.no_grad()
def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
) -> None:
    """Write Gaussians, with the bits that `settings` say of harmonics; see `splat.formats.spz`.

    Raises ValueError where the file would be larger than 4 GiB.
    """
    with replacing(path) as draft:
        draft.write_bytes(packed(rows_of(gaussians, path), path, drawing, settings))


def packed(rows: Rows, path: Path, drawing: Drawing, settings: Settings) -> bytes:
    """A file of these rows; `path` names it in sentences."""
    rows, parts = spz.coded(rows, path, drawing, _settings(settings))
    data = b"".join(parts)
    # An .spz ends where it ends: what fills the block up to four bytes is no part of the view.
    filled = data + bytes(-len(data) % 4)
    if len(filled) + _MOST_DOCUMENT + glb.OVERHEAD > glb.MOST:
        raise ValueError(f"{path}: {len(rows):,} Gaussians take more than the 4 GiB of a .glb")
    means = rows.means.numpy() * np.array(_AXES, np.float32)
    corners = [means.min(0).tolist(), means.max(0).tolist()]
    document = _document(len(rows), rows.degree, len(data), corners, drawing)
    return glb.head(glb.json_bytes(document), len(filled)) + filled


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes at most."""
    return spz.size(n, sh_degree, _settings(settings)) + _MOST_DOCUMENT + glb.OVERHEAD


def quantiser(
    gaussians: Gaussians,
    settings: Settings = Settings(),  # noqa: B008
) -> Callable[[Gaussians], Gaussians]:
    """A function from a set to what is read back of it, row by row."""
    return spz.quantiser(gaussians, _settings(settings))


harmonics_grid = spz.harmonics_grid


def _settings(settings: Settings) -> Settings:
    return replace(settings, spz_version=2, spz_axes="gltf")


def _document(
    n: int, degree: int, length: int, corners: list[list[float]], drawing: Drawing
) -> dict[str, Any]:
    """The JSON of a file of one mesh; `corners` are the lowest and the highest position.

    As the draft lists attributes, opacities are the fourth component of the colours.
    """
    wide: dict[str, Any] = {"componentType": glb.FLOAT, "count": n, "type": "VEC3"}
    kinds = {
        "POSITION": {**wide, "min": corners[0], "max": corners[1]},
        "COLOR_0": {**wide, "componentType": glb.BYTE, "normalized": True, "type": "VEC4"},
        f"{NAME}:SCALE": wide,
        f"{NAME}:ROTATION": {**wide, "type": "VEC4"},
        **dict.fromkeys(semantics(degree)[1:], wide),
    }
    splat: dict[str, Any] = {"kernel": "ellipse", "colorSpace": SHOWN}
    splat |= {"projection": "perspective", "sortingMethod": "cameraDistance"}
    if drawing.near is not None:
        splat["extras"] = {"near": drawing.near}
    splat["extensions"] = {PACKED: {"bufferView": 0}}
    attributes = {name: number for number, name in enumerate(kinds)}
    primitive = {"mode": 0, "attributes": attributes, "extensions": {NAME: splat}}
    return {
        "asset": {"version": "2.0", "generator": "splat"},
        "extensionsUsed": [NAME, PACKED],
        "extensionsRequired": [NAME, PACKED],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": list(kinds.values()),
        "bufferViews": [{"buffer": 0, "byteLength": length}],
        "buffers": [{"byteLength": length + -length % 4}],
    }
