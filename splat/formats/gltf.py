"""glTF binary (`.glb`) with `KHR_gaussian_splatting` (Khronos Group, 2026), lossless.

Gaussians are the points of one primitive, each property an accessor of float32 of its own: linear
scales, opacities, quaternions (x, y, z, w), and red, green and blue of every harmonic. glTF is
y-up: rows are turned by half a turn about z, harmonics included, since not every viewer has to turn
those as the rotation of a node says.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.core.frame import finite
from splat.formats import glb
from splat.formats.placing import Placing
from splat.formats.rows import harmonics, kept, unit_quats
from splat.formats.settings import Settings
from splat.math import rgb_from_sh
from splat.system.files import replacing
from splat.system.foreign import Broken, shown
from splat.types import Drawing, Gaussians

_NAME = "KHR_gaussian_splatting"
_SHOWN, _LINEAR = "srgb_rec709_display", "lin_rec709_display"
_PART = 1 << 15
"""Rows that are rotated at a time."""
_UNPACKED = 32
"""Times the size of its file that a set may take: a scene may place a mesh many times."""
_PLACES = 1 << 13
"""Primitives of a scene, each time that one is placed: a millisecond or two each."""
_UP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Half a turn about z: from y down, as in photos, to the y-up of glTF, and back."""
_UNIT = 3e-7
"""How far the length of a unit quaternion may be from 1, rounded to float32."""
_SLACK = 1e-3
"""How far an opacity may be outside 0 to 1 by the rounding of who wrote it."""
_WIDTHS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}

_log = logging.getLogger(__name__)


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
    placing, layout = _placing(_UP), _Layout.of(degree)
    corners = placing.points(torch.stack(gaussians.means.aminmax(dim=0)).cpu()).sort(dim=0).values
    document = glb.json_bytes(_document(layout, n, corners.tolist(), drawing))
    head = glb.head(document, n * layout.row)
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(head)
        for start in range(0, n, _PART):
            part = placing.placed(_ready(gaussians, sh, slice(start, start + _PART)))
            for name, values in _attributes(part).items():
                file.seek(len(head) + n * layout.before[name] + start * layout.widths[name])
                file.write(values.contiguous().numpy().tobytes())


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes, with the longest document."""
    del settings
    layout, longest = _Layout.of(sh_degree), -1.1754943508222875e-38
    document = _document(layout, n, [[longest] * 3] * 2, Drawing(True, -1.0000000000000002e-300))
    return glb.OVERHEAD + len(glb.json_bytes(document)) + n * layout.row


@torch.no_grad()
def read(path: Path) -> Gaussians:
    """The Gaussians of the scene in a file, placed as its nodes say, and turned from y-up.

    Rows with NaN or infinite values are left out, with a warning.
    """
    gaussians = _gathered(glb.read_glb(path), path)
    return kept(gaussians, finite(gaussians), path)


def drawing(path: Path) -> Drawing:
    """How the file says that its Gaussians are meant to be drawn."""
    extension = _placed_splats(glb.read_glb(path))[0][0].extension
    extras = extension.get("extras")
    if not isinstance(extras, dict):
        return Drawing()
    near: Any = extras.get("near")
    if not (type(near) in (float, int) and 0 < near < math.inf):
        near = None
    return Drawing(extras.get("antialiased") is True, near)


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


@dataclass(frozen=True)
class _Splat:
    """A primitive of Gaussians as a file holds it; every accessor has as many rows."""

    extension: glb.Record
    """The primitive's object of the extension."""
    positions: glb.Accessor
    quats: glb.Accessor
    """Rotations (x, y, z, w)."""
    scales: glb.Accessor
    opacities: glb.Accessor
    harmonics: list[glb.Accessor]

    @classmethod
    def of(cls, file: glb.Glb, primitive: glb.Record) -> _Splat:
        extension = glb.mapping(primitive["extensions"][_NAME], _NAME)
        attributes = glb.mapping(primitive.get("attributes"), "attributes")
        if extension.get("kernel") != "ellipse" or primitive.get("mode") != 0:
            raise Broken("holds Gaussians of another kind, expected points of the kernel ellipse")
        if "extensions" in extension:
            names = ", ".join(glb.mapping(extension["extensions"], "extensions"))
            raise Broken(f"holds Gaussians packed by {shown(names)}, which is not understood")

        def accessor(name: str, width: int) -> glb.Accessor:
            if name not in attributes:
                raise Broken(f"has Gaussians without {name}, expected it beside {_NAME}")
            return file.accessor(attributes[name], width)

        degree = max(d for d in range(4) if f"{_NAME}:SH_DEGREE_{d}_COEF_0" in attributes or not d)
        splat = cls(
            extension,
            accessor("POSITION", 3),
            accessor(f"{_NAME}:ROTATION", 4),
            accessor(f"{_NAME}:SCALE", 3),
            accessor(f"{_NAME}:OPACITY", 1),
            [accessor(name, 3) for name in _semantics(degree)],
        )
        every = (splat.positions, splat.quats, splat.scales, splat.opacities, *splat.harmonics)
        if len({len(each.raw) for each in every}) > 1:
            raise Broken("has attributes of one primitive with different numbers of rows")
        return splat

    def __len__(self) -> int:
        return len(self.positions.raw)

    @property
    def degree(self) -> int:
        return math.isqrt(len(self.harmonics)) - 1

    def part(self, rows: slice) -> Gaussians:
        """Some of its Gaussians, untransformed by nodes."""
        scales, opacities = self.scales.values(rows), self.opacities.values(rows)[:, 0]
        if (scales < 0).any() or (abs(opacities - 0.5) > 0.5 + _SLACK).any():
            raise Broken(
                "has scales below 0 or opacities outside 0 to 1, expected linear ones (early drafts"
                " of the extension stored logarithms)"
            )
        return Gaussians(
            means=torch.from_numpy(self.positions.values(rows)),
            # Two half turns, there and back, negate a quaternion.
            quats=_unit(torch.from_numpy(-self.quats.values(rows)).roll(1, dims=1)),
            scales=torch.from_numpy(scales),
            opacities=torch.from_numpy(opacities).clamp(0, 1),
            colors=torch.from_numpy(np.stack([each.values(rows) for each in self.harmonics], 1)),
            sh_degree=self.degree,
        )


def _gathered(file: glb.Glb, path: Path) -> Gaussians:
    """All Gaussians of the scene, one primitive after the other."""
    splats = _placed_splats(file)
    if any(splat.extension.get("colorSpace") == _LINEAR for splat, _ in splats):
        _log.warning("%s holds colours in linear light; they are read as they are", path)
    whole = _empty(sum(len(splat) for splat, _ in splats), max(s.degree for s, _ in splats))
    at = 0
    for splat, placing in splats:
        for start in range(0, len(splat), _PART):
            part = placing.placed(splat.part(slice(start, start + _PART)))
            rows = slice(at, at + len(part))
            whole.means[rows], whole.quats[rows] = part.means, part.quats
            whole.scales[rows], whole.opacities[rows] = part.scales, part.opacities
            whole.colors[rows, : part.colors.shape[1]] = part.colors
            at += len(part)
    return whole


def _placed_splats(file: glb.Glb) -> list[tuple[_Splat, Placing]]:
    """The primitives of the scene and their transforms, y-up undone; at least one."""
    by_mesh: dict[int, list[_Splat]] = {}
    placed: list[tuple[_Splat, Placing]] = []
    unpacked = 0
    for mesh, matrix in file.placements():
        if mesh not in by_mesh:
            primitives = glb.array(file.entry("meshes", mesh), "primitives")
            by_mesh[mesh] = [_Splat.of(file, each) for each in primitives if _is_splat(each)]
        if by_mesh[mesh]:
            placing = _placing(_UP @ matrix)
            placed += [(splat, placing) for splat in by_mesh[mesh]]
            if len(placed) > _PLACES:
                raise Broken(f"places Gaussians more than {_PLACES:,} times; expected fewer nodes")
            unpacked += sum(
                len(each) * 4 * (11 + 3 * len(each.harmonics)) for each in by_mesh[mesh]
            )
        if unpacked > _UNPACKED * len(file.data):
            raise Broken(
                f"places its Gaussians so often that they take {unpacked:,} bytes and more, but has"
                f" {len(file.data):,} bytes of data"
            )
    if not placed:
        raise Broken(f"has no primitive with {_NAME}, expected Gaussians")
    return placed


def _is_splat(primitive: object) -> bool:
    extensions = glb.mapping(primitive, "a primitive").get("extensions", {})
    return _NAME in glb.mapping(extensions, "extensions")


def _placing(matrix: glb.Matrix) -> Placing:
    placing = Placing.of(matrix)
    if placing is None:
        raise Broken("has a node that stretches, shears or mirrors, expected even scales")
    return placing


def _empty(n: int, degree: int) -> Gaussians:
    """Rows to be filled; harmonics are 0."""
    return Gaussians(
        means=torch.empty(n, 3),
        quats=torch.empty(n, 4),
        scales=torch.empty(n, 3),
        opacities=torch.empty(n),
        colors=torch.zeros(n, (degree + 1) ** 2, 3),
        sh_degree=degree,
    )


def _ready(gaussians: Gaussians, sh: Float[Tensor, "n k 3"], rows: slice) -> Gaussians:
    """Some rows as they are written, but for the turn."""
    return Gaussians(
        means=gaussians.means[rows].float().cpu(),
        quats=_unit(gaussians.quats[rows].float()).cpu(),
        scales=gaussians.scales[rows].float().cpu(),
        opacities=gaussians.opacities[rows].float().cpu().clamp(0, 1),
        colors=sh[rows].float().cpu(),
    )


def _unit(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Unit quaternions; those that are unit already stay as they are, to the bit."""
    good = (quats.norm(dim=1, keepdim=True) - 1).abs() < _UNIT
    return quats.where(good, unit_quats(quats))


def _attributes(part: Gaussians) -> dict[str, Tensor]:
    """Values by attribute, in the order of the file: float32 [n, width], and a colour of bytes."""
    coefficients = part.colors.unbind(1)
    return {
        "POSITION": part.means,
        "COLOR_0": _fallback(part),
        f"{_NAME}:ROTATION": part.quats.roll(-1, dims=1),
        f"{_NAME}:SCALE": part.scales,
        f"{_NAME}:OPACITY": part.opacities[:, None],
        **dict(zip(_semantics(math.isqrt(len(coefficients)) - 1), coefficients, strict=True)),
    }


def _semantics(degree: int) -> list[str]:
    """Attributes of harmonics, the constant one first."""
    bands = range(degree + 1)
    return [f"{_NAME}:SH_DEGREE_{d}_COEF_{i}" for d in bands for i in range(2 * d + 1)]


def _fallback(part: Gaussians) -> UInt8[Tensor, "n 4"]:
    """Linear light and opacity, for viewers that draw points only."""
    rgb = rgb_from_sh(part.colors[:, 0]).clamp(0, 1)
    linear = (rgb / 12.92).where(rgb <= 0.04045, ((rgb + 0.055) / 1.055) ** 2.4)
    return (torch.cat([linear, part.opacities[:, None]], 1) * 255).round().to(torch.uint8)


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
    splat: dict[str, Any] = {"kernel": "ellipse", "colorSpace": _SHOWN}
    splat |= {"projection": "perspective", "sortingMethod": "cameraDistance"}
    extras: dict[str, Any] = {"antialiased": True} if drawing.antialiased else {}
    extras |= {} if drawing.near is None else {"near": drawing.near}
    splat |= {"extras": extras} if extras else {}
    attributes = {name: number for number, name in enumerate(layout.widths)}
    primitive = {"mode": 0, "attributes": attributes, "extensions": {_NAME: splat}}
    return {
        "asset": {"version": "2.0", "generator": "splat"},
        "extensionsUsed": [_NAME],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": n * layout.row}],
    }
