"""What a `.glb` with `KHR_gaussian_splatting` holds as NumPy has it: its Gaussians where its nodes
place them, turned from y-up."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from splat.formats import glb, spz_columns
from splat.formats.columns import Columns, Floats
from splat.formats.placing import Placing
from splat.formats.spz_container import unpacked_from
from splat.system.foreign import Broken, shown

NAME = "KHR_gaussian_splatting"
PACKED = "KHR_gaussian_splatting_compression_spz_2"
"""The extension, within the other, of Gaussians that are kept as an .spz."""
SHOWN, _LINEAR = "srgb_rec709_display", "lin_rec709_display"
PART = 1 << 15
"""Rows that are rotated at a time."""
_UNPACKED = 32
"""Times the size of its file that a set may take: a scene may place a mesh many times."""
_PLACES = 1 << 13
"""Primitives of a scene, each time that one is placed: a millisecond or two each."""
UP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Half a turn about z: from y down, as in photos, to the y-up of glTF, and back."""
_UNIT = 3e-7
"""How far the length of a unit quaternion may be from 1, rounded to float32."""
_SLACK = 1e-3
"""How far an opacity may be outside 0 to 1 by the rounding of who wrote it."""

_log = logging.getLogger(__name__)


@np.errstate(all="ignore")
def columns(path: Path) -> Columns:
    """The rows of the scene in a file, finite or not, with unit quaternions."""
    splats = _placed_splats(glb.read_glb(path), path)
    if any(splat.extension.get("colorSpace") == _LINEAR for splat, _ in splats):
        _log.warning("%s holds colours in linear light; they are read as they are", path)
    antialiased, near = splats[0][0].drawn
    return replace(_gathered(splats), antialiased=antialiased, near=near)


def drawn(path: Path) -> tuple[bool, float | None]:
    """How the file says that it is meant to be drawn: antialiased, and the near plane."""
    return _placed_splats(glb.read_glb(path), path)[0][0].drawn


def semantics(degree: int) -> list[str]:
    """Attributes of harmonics, the constant one first."""
    bands = range(degree + 1)
    return [f"{NAME}:SH_DEGREE_{d}_COEF_{i}" for d in bands for i in range(2 * d + 1)]


def unit(quats: Floats) -> Floats:
    """Unit quaternions [n, 4]; those that are unit already stay as they are, to the bit, and one
    without a length becomes no rotation."""
    length = np.sqrt(np.einsum("nc,nc->n", quats, quats, dtype=np.float64))[:, None]
    with np.errstate(invalid="ignore"):  # of NaN and infinity
        turned = (quats / np.where(length == 0, 1, length)).astype(np.float32)
    turned[length[:, 0] == 0] = 1, 0, 0, 0
    return np.where(np.abs(length - 1) < _UNIT, quats, turned)


@dataclass(frozen=True)
class _Primitive:
    """A primitive of Gaussians."""

    extension: glb.Record
    """The primitive's object of the extension."""

    @property
    def drawn(self) -> tuple[bool, float | None]:
        """As the function of that name."""
        extras = self.extension.get("extras")
        if not isinstance(extras, dict):
            return False, None
        near: Any = extras.get("near")
        if not (type(near) in (float, int) and 0 < near < math.inf):
            near = None
        return extras.get("antialiased") is True, near


@dataclass(frozen=True)
class _Packed(_Primitive):
    """One whose values are an .spz, along the axes of glTF."""

    whole: Columns

    @classmethod
    def of(cls, file: glb.Glb, extension: glb.Record, path: Path) -> _Packed:
        """The Gaussians of an object of the base extension that has such an .spz."""
        record = glb.mapping(extension["extensions"][PACKED], PACKED)
        contents = unpacked_from(file.bytes_of(record.get("bufferView")), path)
        return cls(extension, spz_columns.columns_of(contents, path, turned=True))

    @property
    def coefficients(self) -> int:
        return (self.whole.sh_degree + 1) ** 2

    @property
    def drawn(self) -> tuple[bool, float | None]:
        """What the .spz says, and the near plane, for which it has no place."""
        return self.whole.antialiased, super().drawn[1]

    def __len__(self) -> int:
        return len(self.whole)

    def part(self, rows: slice) -> Columns:
        """Some of its Gaussians, untransformed by nodes."""
        assert self.whole.quats is not None
        w, x, y, z = self.whole.quats[rows].T
        return Columns(
            means=self.whole.means[rows],
            scales=self.whole.scales[rows],
            opacities=self.whole.opacities[rows],
            sh=self.whole.sh[rows],
            # Half a turn about its own z, which an ellipsoid does not show: with the one that
            # places it, what was turned by signs of axes becomes what it was.
            quats=np.stack([-z, y, -x, w], 1),
        )


@dataclass(frozen=True)
class _Splat(_Primitive):
    """One as a file holds it; every accessor has as many rows."""

    positions: glb.Accessor
    quats: glb.Accessor
    """Rotations (x, y, z, w)."""
    scales: glb.Accessor
    opacities: glb.Accessor
    harmonics: list[glb.Accessor]

    @classmethod
    def of(cls, file: glb.Glb, extension: glb.Record, primitive: glb.Record) -> _Splat:
        """The Gaussians of a primitive with an object of the extension."""
        attributes = glb.mapping(primitive.get("attributes"), "attributes")
        if extension.get("kernel") != "ellipse":
            raise Broken("holds Gaussians of another kind, expected points of the kernel ellipse")

        def accessor(name: str, width: int) -> glb.Accessor:
            if name not in attributes:
                raise Broken(f"has Gaussians without {name}, expected it beside {NAME}")
            return file.accessor(attributes[name], width)

        degree = max(d for d in range(4) if f"{NAME}:SH_DEGREE_{d}_COEF_0" in attributes or not d)
        splat = cls(
            extension,
            accessor("POSITION", 3),
            accessor(f"{NAME}:ROTATION", 4),
            accessor(f"{NAME}:SCALE", 3),
            accessor(f"{NAME}:OPACITY", 1),
            [accessor(name, 3) for name in semantics(degree)],
        )
        every = (splat.positions, splat.quats, splat.scales, splat.opacities, *splat.harmonics)
        if len({len(each.raw) for each in every}) > 1:
            raise Broken("has attributes of one primitive with different numbers of rows")
        return splat

    @property
    def coefficients(self) -> int:
        return len(self.harmonics)

    def __len__(self) -> int:
        return len(self.positions.raw)

    def part(self, rows: slice) -> Columns:
        """Some of its Gaussians, untransformed by nodes."""
        scales, opacities = self.scales.values(rows), self.opacities.values(rows)[:, 0]
        if (scales < 0).any() or (abs(opacities - 0.5) > 0.5 + _SLACK).any():
            raise Broken(
                "has scales below 0 or opacities outside 0 to 1, expected linear ones (early drafts"
                " of the extension stored logarithms)"
            )
        return Columns(
            means=self.positions.values(rows),
            scales=scales,
            opacities=opacities.clip(0, 1),
            sh=np.stack([each.values(rows) for each in self.harmonics], 1),
            # Two half turns, there and back, negate a quaternion.
            quats=unit(np.roll(-self.quats.values(rows), 1, 1)),
        )


_Any = _Splat | _Packed


def _primitive_of(file: glb.Glb, primitive: glb.Record, path: Path) -> _Any:
    """The Gaussians of a primitive, as they are or packed."""
    extension = glb.mapping(primitive["extensions"][NAME], NAME)
    if primitive.get("mode") != 0:
        raise Broken("holds Gaussians of another kind, expected points of the kernel ellipse")
    packings = glb.mapping(extension.get("extensions", {}), "extensions")
    if PACKED in packings:
        return _Packed.of(file, extension, path)
    if packings:
        names = ", ".join(packings)
        raise Broken(f"holds Gaussians packed by {shown(names)}, which is not understood")
    return _Splat.of(file, extension, primitive)


def _gathered(splats: Sequence[tuple[_Any, Placing]]) -> Columns:
    """All Gaussians of the scene, one primitive after the other."""
    n, k = sum(len(s) for s, _ in splats), max(s.coefficients for s, _ in splats)
    means, scales, quats = (np.empty((n, width), np.float32) for width in (3, 3, 4))
    opacities, sh = np.empty(n, np.float32), np.zeros((n, k, 3), np.float32)
    at = 0
    for splat, placing in splats:
        for start in range(0, len(splat), PART):
            part = placing.placed(splat.part(slice(start, start + PART)))
            rows = slice(at, at + len(part))
            means[rows], quats[rows] = part.means, part.quats
            scales[rows], opacities[rows] = part.scales, part.opacities
            sh[rows, : part.sh.shape[1]] = part.sh
            at += len(part)
    return Columns(means, scales, opacities, sh, quats)


def _placed_splats(file: glb.Glb, path: Path) -> list[tuple[_Any, Placing]]:
    """The primitives of the scene and their transforms, y-up undone; at least one."""
    by_mesh: dict[int, list[_Any]] = {}
    placed: list[tuple[_Any, Placing]] = []
    unpacked, stored = 0, len(file.data)
    _check_packed(file)
    for mesh, matrix in file.placements():
        if mesh not in by_mesh:
            primitives = glb.array(file.entry("meshes", mesh), "primitives")
            by_mesh[mesh] = [
                _primitive_of(file, each, path) for each in primitives if _is_splat(each)
            ]
            # What is packed counts as what it was.
            stored += sum(_bytes(each) for each in by_mesh[mesh] if isinstance(each, _Packed))
        if by_mesh[mesh]:
            placing = placing_of(UP @ matrix)
            placed += [(splat, placing) for splat in by_mesh[mesh]]
            if len(placed) > _PLACES:
                raise Broken(f"places Gaussians more than {_PLACES:,} times; expected fewer nodes")
            unpacked += sum(map(_bytes, by_mesh[mesh]))
        if unpacked > _UNPACKED * stored:
            raise Broken(
                f"places its Gaussians so often that they take {unpacked:,} bytes and more, but has"
                f" {len(file.data):,} bytes of data"
            )
    if not placed:
        raise Broken(f"has no primitive with {NAME}, expected Gaussians")
    return placed


def _bytes(splat: _Any) -> int:
    return len(splat) * 4 * (11 + 3 * splat.coefficients)


def _check_packed(file: glb.Glb) -> None:
    """Raise `Broken` where parts that are packed lie in one another: each may become a thousand
    times as large."""
    total = 0
    for mesh in glb.array(file.document, "meshes"):
        for each in glb.array(glb.mapping(mesh, "a mesh"), "primitives"):
            if _is_splat(each):
                extension = glb.mapping(each["extensions"][NAME], NAME)
                packings = glb.mapping(extension.get("extensions", {}), "extensions")
                if PACKED in packings:
                    view = glb.mapping(packings[PACKED], PACKED).get("bufferView")
                    total += glb.whole(file.entry("bufferViews", view), "byteLength")
    if total > len(file.data):
        raise Broken(
            f"has {total:,} bytes of packed Gaussians in {len(file.data):,} bytes of data, expected"
            " parts beside one another"
        )


def _is_splat(primitive: object) -> bool:
    extensions = glb.mapping(primitive, "a primitive").get("extensions", {})
    return NAME in glb.mapping(extensions, "extensions")


def placing_of(matrix: glb.Matrix) -> Placing:
    """The transform of a matrix [4, 4]; raises `Broken` where it is no similarity."""
    placing = Placing.of(matrix)
    if placing is None:
        raise Broken("has a node that stretches, shears or mirrors, expected even scales")
    return placing
