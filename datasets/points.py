"""Points to start from: cleaned, and tested against the cameras."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from splat.types import Camera, Points, SceneData

_RANDOM = "training starts from random points"


def points_in_view(points: Points, cameras: Sequence[Camera]) -> Bool[Tensor, "n"]:
    """Which points lie in front of one of the cameras and inside its picture."""
    seen = torch.zeros(len(points.positions), dtype=torch.bool)
    for camera in cameras:
        seen |= ~camera.depths(points.positions).isnan()
    return seen


def cleaned(scene: SceneData) -> SceneData:
    """The scene without points that are NaN or infinite; an error if no camera sees the rest."""
    points, notes = scene.points, scene.notes
    if points is None:
        return replace(scene, notes=(*notes, f"there are no points: {_RANDOM}"))
    good = torch.isfinite(points.positions).all(1) & torch.isfinite(points.colors).all(1)
    if not bool(good.all()):
        dropped = int((~good).sum())
        notes += (f"{dropped} of {len(good)} points hold NaN or infinity and were dropped",)
        points = points.take(good)
    if len(points.positions) == 0:
        return replace(scene, points=None, notes=(*notes, f"there are no points: {_RANDOM}"))
    cameras = [view.camera for view in (*scene.train, *scene.test)]
    # Most often the first camera settles it.
    if not any(bool(points_in_view(points, [camera]).any()) for camera in cameras):
        raise ValueError(
            f"{scene.path}: none of the {len(points.positions)} points lies before any of the "
            f"{len(cameras)} cameras and in its picture; expected points that the photos show: "
            "check that poses and points are of one frame, with the axes of the format"
        )
    return replace(scene, points=points, notes=notes)
