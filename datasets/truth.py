"""Scenes that this package drew itself, of which any view can be drawn anew."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from splat.datasets import demo
from splat.scene import Camera, SceneData, View

SAMPLES = 2
"""Rays through a pixel with contrast."""
AIR = 0.1
"""Distance to the nearest surface, units of the world, from which on a camera stands in the air."""
SAME = 1e-4
"""Most that an element of a pose may differ from that of the world's own camera."""
SAME_LEVELS = 1
"""Most 8-bit levels by which half of a photo may differ from the world as it is drawn now."""

Truth = Callable[[Camera], Float[Tensor, "h w 3"] | None]
"""What a camera in the frame of the input would see, RGB in [0, 1]; None where it stands in a wall
or beyond, or right before one."""


def truth_of(scene: SceneData) -> Truth | None:
    """Draws views of a scene that was generated; None where it is none that is known here.

    The built-in scene is known by its cameras, wherever it lies, and by its first photo: one that
    another version drew has no truth. Takes a second.
    """
    views = sorted((*scene.train, *scene.test), key=lambda view: view.name)
    # A scene that is measured on what it trains on names its views twice.
    unique = list({view.name: view for view in views}.values())
    if not _stands_as_built_in(unique) or not _shows_the_built_in(unique[0]):
        return None
    return _built_in


def _stands_as_built_in(views: list[View]) -> bool:
    camera = views[0].camera
    stand = demo.cameras(len(views), camera.width, camera.height)
    return all(
        view.camera.width == known.width
        and view.camera.height == known.height
        and torch.allclose(view.camera.K.float(), known.K, rtol=1e-4)
        and torch.allclose(
            view.camera.world_to_camera.float(), known.world_to_camera, rtol=0, atol=SAME
        )
        for view, known in zip(views, stand, strict=True)
    )


def _shows_the_built_in(view: View) -> bool:
    stored = cv2.imread(str(view.image))
    if stored is None or stored.shape[:2] != (view.camera.height, view.camera.width):
        return False
    photo = torch.from_numpy(stored[..., ::-1].copy()).int()
    drawn = demo.render(view.camera, 1).image.int()
    return float((photo - drawn).abs().float().median()) <= SAME_LEVELS


def _built_in(camera: Camera) -> Tensor | None:
    if float(demo.sdf(camera.centre.double()[None])) < AIR:
        return None
    return demo.render(camera, SAMPLES).image.float().div_(255)
