"""Points to start from: cleaned, and tested against the cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from splat.scene import Camera, Points, SceneData

_RANDOM = "training starts from random points"


def points_in_view(points: Points, cameras: Sequence[Camera]) -> NDArray[np.bool_]:
    """Which points lie in front of one of the cameras and inside its picture."""
    positions = points.array("positions").astype(np.float64)
    seen = np.zeros(len(positions), bool)
    for camera in cameras:
        pose, K = (camera.array(name).astype(np.float64) for name in ("world_to_camera", "K"))
        x, y, z = (positions @ pose[:3, :3].T + pose[:3, 3]).T
        u, v = K[0, 0] * x + K[0, 2] * z, K[1, 1] * y + K[1, 2] * z
        inside = (u >= 0) & (u <= camera.width * z) & (v >= 0) & (v <= camera.height * z)
        seen |= inside & (z > 0)
    return seen


def cleaned(scene: SceneData) -> SceneData:
    """The scene without points that are NaN or infinite; an error if no camera sees the rest."""
    points, notes = scene.points, scene.notes
    if points is None:
        return replace(scene, notes=(*notes, f"there are no points: {_RANDOM}"))
    good = np.isfinite(points.array("positions")).all(1)
    good &= np.isfinite(points.array("colors")).all(1)
    if not good.all():
        dropped = int((~good).sum())
        notes += (f"{dropped} of {len(good)} points hold NaN or infinity and were dropped",)
        points = points.kept(good)
    if len(points) == 0:
        return replace(scene, points=None, notes=(*notes, f"there are no points: {_RANDOM}"))
    cameras = [view.camera for view in (*scene.train, *scene.test)]
    # Most often the first camera settles it.
    if not any(bool(points_in_view(points, [camera]).any()) for camera in cameras):
        raise ValueError(
            f"{scene.path}: none of the {len(points)} points lies before any of the "
            f"{len(cameras)} cameras and in its picture; expected points that the photos show: "
            "check that poses and points are of one frame, with the axes of the format"
        )
    return replace(scene, points=points, notes=notes)
