"""glTF binary (`.glb`) with `KHR_gaussian_splatting` (Khronos Group, 2026), lossless.

Gaussians are the points of one primitive, each property an accessor of float32 of its own: linear
scales, opacities, quaternions (x, y, z, w), and red, green and blue of every harmonic. glTF is
y-up: rows are turned by half a turn about z, harmonics included, since not every viewer has to turn
those as the rotation of a node says.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from splat.core.frame import finite
from splat.formats import glb
from splat.formats.columns import Columns
from splat.formats.gltf_table import (
    NAME,
    PART,
    SHOWN,
    UP,
    columns,
    drawn,
    placing_of,
    semantics,
    unit,
)
from splat.formats.rows import gaussians_of, harmonics, kept
from splat.formats.settings import Settings
from splat.math import rgb_from_sh
from splat.system.files import replacing
from splat.types import Drawing, Gaussians

_WIDTHS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}


@torch.no_grad()
def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
) -> None:
    """Write Gaussians as they are, 48 + 12 k bytes each for k SH coefficients.

    Rows that hold NaN or infinite values are left out, with a warning. Raises ValueError where the
    file would be larger than 4 GiB.
    """
    n, degree = len(gaussians), gaussians.sh_degree or 0
    if size(n, degree, settings) > glb.MOST:
        raise ValueError(f"{path}: {n:,} Gaussians take more than the 4 GiB that a .glb can have")
    gaussians = kept(gaussians, finite(gaussians), path)
    n, sh = len(gaussians), harmonics(gaussians)
    placing, layout = placing_of(UP), _Layout.of(degree)
    corners = torch.stack(gaussians.means.float().aminmax(dim=0)).cpu().numpy()
    corners = np.sort(placing.points(corners), 0)
    document = glb.json_bytes(_document(layout, n, corners.tolist(), drawing))
    head = glb.head(document, n * layout.row)
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(head)
        for start in range(0, n, PART):
            part = placing.placed(_ready(gaussians, sh, slice(start, start + PART)))
            for name, values in _attributes(part).items():
                file.seek(len(head) + n * layout.before[name] + start * layout.widths[name])
                file.write(values.tobytes())


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes, with the longest document."""
    del settings
    layout, longest = _Layout.of(sh_degree), -1.1754943508222875e-38
    document = _document(layout, n, [[longest] * 3] * 2, Drawing(True, -1.0000000000000002e-300))
    return glb.OVERHEAD + len(glb.json_bytes(document)) + n * layout.row


def read(path: Path) -> Gaussians:
    """The Gaussians of the scene in a file, placed as its nodes say, and turned from y-up.

    Rows with NaN or infinite values are left out, with a warning.
    """
    gaussians = gaussians_of(columns(path), unit=True)
    return kept(gaussians, finite(gaussians), path)


def drawing(path: Path) -> Drawing:
    """How the file says that its Gaussians are meant to be drawn."""
    return Drawing(*drawn(path))


@dataclass(frozen=True)
class _Layout:
    """Attributes in the binary block: all rows of the first, then all rows of the next."""

    widths: dict[str, int]
    """Bytes a Gaussian, by attribute."""
    before: dict[str, int]
    """Bytes a Gaussian of all attributes before it."""
    row: int
    """Bytes a Gaussian."""

    @classmethod
    def of(cls, degree: int) -> _Layout:
        example = _attributes(_empty(1, degree))
        widths = {name: values.nbytes for name, values in example.items()}
        starts = np.cumsum([0, *widths.values()]).tolist()
        return cls(widths, dict(zip(widths, starts, strict=False)), starts[-1])


def _empty(n: int, degree: int) -> Columns:
    """Rows to lay a file out by."""
    wide, narrow = np.zeros((n, 3), np.float32), np.zeros(n, np.float32)
    sh, quats = np.zeros((n, (degree + 1) ** 2, 3), np.float32), np.zeros((n, 4), np.float32)
    return Columns(wide, wide, narrow, sh, quats)


def _ready(gaussians: Gaussians, sh: Float[Tensor, "n k 3"], rows: slice) -> Columns:
    """Some rows as they are written, but for the turn."""
    return Columns(
        means=gaussians.means[rows].float().cpu().numpy(),
        scales=gaussians.scales[rows].float().cpu().numpy(),
        opacities=gaussians.opacities[rows].float().cpu().clamp(0, 1).numpy(),
        sh=sh[rows].float().cpu().numpy(),
        quats=unit(gaussians.quats[rows].float().cpu().numpy()),
    )


def _attributes(part: Columns) -> dict[str, NDArray[Any]]:
    """Values by attribute, in the order of the file: float32 [n, width], and a colour of bytes."""
    assert part.quats is not None
    names = semantics(part.sh_degree)
    return {
        "POSITION": part.means,
        "COLOR_0": _fallback(part),
        f"{NAME}:ROTATION": np.roll(part.quats, -1, 1),
        f"{NAME}:SCALE": part.scales,
        f"{NAME}:OPACITY": part.opacities[:, None],
        **dict(zip(names, part.sh.swapaxes(0, 1), strict=True)),
    }


def _fallback(part: Columns) -> NDArray[np.uint8]:
    """Linear light and opacity, for viewers that draw points only."""
    constant, opacities = torch.tensor(part.sh[:, 0]), torch.tensor(part.opacities)
    rgb = rgb_from_sh(constant).clamp(0, 1)
    linear = (rgb / 12.92).where(rgb <= 0.04045, ((rgb + 0.055) / 1.055) ** 2.4)
    bytes_of: Tensor = (torch.cat([linear, opacities[:, None]], 1) * 255).round()
    return bytes_of.to(torch.uint8).numpy()


def _document(
    layout: _Layout, n: int, corners: list[list[float]], drawing: Drawing
) -> dict[str, Any]:
    """The JSON of a file of one mesh; `corners` are the lowest and the highest position."""
    views, accessors = [], []
    for number, (name, width) in enumerate(layout.widths.items()):
        view = {"buffer": 0, "byteOffset": n * layout.before[name], "byteLength": n * width}
        views.append({**view, "target": 34962})
        kind: dict[str, Any] = {"componentType": glb.FLOAT, "type": _WIDTHS[width // 4]}
        if name == "COLOR_0":
            kind = {"componentType": glb.BYTE, "normalized": True, "type": "VEC4"}
        if name == "POSITION":
            kind |= {"min": corners[0], "max": corners[1]}
        accessors.append({"bufferView": number, "count": n, **kind})
    splat: dict[str, Any] = {"kernel": "ellipse", "colorSpace": SHOWN}
    splat |= {"projection": "perspective", "sortingMethod": "cameraDistance"}
    extras: dict[str, Any] = {"antialiased": True} if drawing.antialiased else {}
    extras |= {} if drawing.near is None else {"near": drawing.near}
    splat |= {"extras": extras} if extras else {}
    attributes = {name: number for number, name in enumerate(layout.widths)}
    primitive = {"mode": 0, "attributes": attributes, "extensions": {NAME: splat}}
    return {
        "asset": {"version": "2.0", "generator": "splat"},
        "extensionsUsed": [NAME],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": n * layout.row}],
    }
