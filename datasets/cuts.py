"""Photographs that see too much for one pinhole, as several pinhole views each.

A panorama becomes six views round the horizon and one upwards (below is who holds the camera, or
its stand); a fisheye that sees much beyond 150 degrees one ahead and four about it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splat.datasets.cameras import check_size, pinhole
from splat.photos.lens import angle_at, is_fisheye
from splat.scene import Cut, Lens, View

Array = npt.NDArray[np.float64]

SEES = math.radians(150)
"""Field of view up to which a fisheye is one pinhole view."""
FIELD = math.radians(95)
"""Field of view of what is cut out, so that neighbours overlap."""
_WIDEST = 4
"""Longer sides of a photo that what is cut out of it may have; even a fisheye of 150 degrees that
is drawn as wide as the photo takes less than one."""
ROUND = 6
"""Views round a panorama's horizon."""
CIRCLE = math.radians(85)
"""Where a fisheye sees that far from its axis across its shorter side, the circle that it shows
ends there; else it fills the picture."""


def panorama(
    name: str, image: Path, world_to_camera: Array, size: tuple[int, int], mask: Path | None = None
) -> tuple[View, ...]:
    """The views of an equirectangular panorama, whose middle looks along the camera's +z."""
    width, height = size
    check_size(size)
    cut = Cut(
        rotation=(),
        focal=(width / (2 * math.pi), height / math.pi),
        principal=(width / 2, height / 2),
        size=size,
    )
    rotations = [_turn(1, 2 * math.pi * i / ROUND) for i in range(ROUND)]
    return _views(name, image, world_to_camera, cut, [*rotations, _turn(0, math.pi / 2)], mask)


def fisheye(
    name: str,
    image: Path,
    world_to_camera: Array,
    focal: tuple[float, float],
    principal: tuple[float, float],
    size: tuple[int, int],
    lens: Lens | None,
) -> tuple[View, ...] | None:
    """The views of a fisheye, or None where it is one view: other lenses, and narrower ones."""
    if lens is None or not is_fisheye(lens) or min(*focal, *size) <= 0:
        return None
    across, down = (
        sorted((angle_at(lens, c / f), angle_at(lens, (side - c) / f)))
        for c, f, side in zip(principal, focal, size, strict=True)
    )
    if sum(across) <= SEES and sum(down) <= SEES:
        return None
    nearest, farthest = min(across[0], down[0]), max(across[1], down[1])
    limit = nearest if nearest >= CIRCLE else farthest
    cut = Cut((), focal, principal, size, lens, limit)
    # So that what is cut out last ends where the photo does.
    tilt = min(max(limit - FIELD / 2, 0.0), math.pi / 2)
    about = [_turn(2, azimuth) @ _turn(1, tilt) @ _turn(2, -azimuth) for azimuth in _quarters()]
    return _views(name, image, world_to_camera, cut, [np.eye(3), *about], None)


def told(views: Sequence[View]) -> tuple[str, ...]:
    """What to say of the views that were cut out of photos."""
    cuts = [view for view in views if view.cut is not None]
    notes = []
    for lens, what in ((False, "panoramas"), (True, "fisheye photos")):
        of = [view for view in cuts if view.cut and (view.cut.lens is not None) == lens]
        if of:
            count = len({view.image for view in of})
            notes.append(f"{count} {what} are cut into {len(of)} pinhole views when decoded")
    return tuple(notes)


def photo_of(view: View) -> str:
    """The name of the photo that a view is of, or was cut out of."""
    return view.name if view.cut is None else view.name.rpartition("@")[0]


def fitted_cut(view: View, size: tuple[int, int]) -> View:
    """The view of a photo whose stored size is another one than its camera's, in proportion."""
    assert view.cut is not None
    cut, camera = view.cut, view.camera
    if size == cut.size:
        return view
    across, down = size[0] / cut.size[0], size[1] / cut.size[1]
    scaled = replace(
        cut,
        size=size,
        focal=(cut.focal[0] * across, cut.focal[1] * down),
        principal=(cut.principal[0] * across, cut.principal[1] * down),
    )
    side = max(1, round(camera.width * (across + down) / 2))
    return replace(view, cut=scaled, camera=camera.resized(side, side))


def _quarters() -> list[float]:
    """Right, down, left, up."""
    return [math.pi / 2 * i for i in range(4)]


def _views(
    name: str,
    image: Path,
    world_to_camera: Array,
    cut: Cut,
    rotations: Sequence[Array],
    mask: Path | None,
) -> tuple[View, ...]:
    # The middle of a view is as fine as the photo is there.
    focal = (cut.focal[0] + cut.focal[1]) / 2
    side = max(1, round(2 * focal * math.tan(FIELD / 2)))
    if side > _WIDEST * max(cut.size):
        raise ValueError(
            f"the views cut out of it would be {side:,} pixels wide, and it is"
            f" {cut.size[0]}x{cut.size[1]}; expected a focal length that fits its size"
        )
    focal = side / (2 * math.tan(FIELD / 2))
    views = []
    for i, rotation in enumerate(rotations):
        pose = np.eye(4)
        pose[:3] = rotation.T @ world_to_camera[:3]
        camera = pinhole(pose, (focal, focal), (side / 2, side / 2), (side, side))
        own = replace(cut, rotation=tuple(rotation.ravel().tolist()))
        views.append(View(f"{name}@{i}", camera, image, mask, cut=own))
    return tuple(views)


def _turn(axis: int, angle: float) -> Array:
    """A rotation about x, y or z: of +z upwards, to the right; of +x downwards."""
    c, s = math.cos(angle), math.sin(angle)
    if axis == 0:
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    if axis == 1:
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
