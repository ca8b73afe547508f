"""What can be seen of a source: depths of the trained scene around it, on the faces of a cube."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.frame import camera_to_frame
from splat.types import Camera, Frame, Gaussians, Needs, Renderer

SIDE = 128
"""Pixels of a face."""
SOFT = 0.1
"""Metres of depth over which a place goes out of sight."""

Look = Callable[[Float[Tensor, "3"]], Float[Tensor, "6 side side"]]
"""Depths around a place: along +x, +y, +z, -x, -y and -z, units of the input."""


def looking(gaussians: Gaussians, frame: Frame, render: Renderer) -> Look:
    """Look at a scene, which is in `frame`, from places of the input."""

    @torch.no_grad()
    def look(place: Float[Tensor, "3"]) -> Float[Tensor, "6 side side"]:
        depths = []
        for pose in _poses(place):
            camera = Camera(world_to_camera=pose, K=_lens(), width=SIDE, height=SIDE)
            there = camera_to_frame(camera, frame).to(render.device)
            drawn = render(gaussians, there, Needs(depth=True))
            if drawn.depth is None:
                raise RuntimeError("the renderer drew no depth")
            # Where nothing is, nothing hides.
            deep = drawn.depth.where(drawn.alpha > 0.5, torch.inf)
            depths.append(deep.cpu() / frame.scale)
        return torch.stack(depths)

    return look


def share_seen(
    depths: Float[Tensor, "6 side side"],
    source: Float[Tensor, "3"],
    places: Float[Tensor, "n 3"],
    metres: float,
) -> Float[Tensor, "n"]:
    """How much of the source is to be seen from places, 0 to 1; units of the input."""
    seen = torch.ones(len(places))
    for pose, depth in zip(_poses(source), depths, strict=True):
        x, y, z = (places @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
        faced = (z > 0) & (x.abs() <= z) & (y.abs() <= z)
        column, row = (
            ((v / z.where(faced, 1) + 1) * (SIDE / 2)).where(faced, 0).long().clamp(0, SIDE - 1)
            for v in (x, y)
        )
        free = torch.sigmoid((depth[row, column] - z) * (metres / SOFT))
        seen = torch.where(faced, free, seen)
    return seen


def _lens() -> Float[Tensor, "3 3"]:
    half = SIDE / 2
    return torch.tensor([[half, 0, half], [0, half, half], [0, 0, 1]])


def _poses(place: Float[Tensor, "3"]) -> list[Float[Tensor, "4 4"]]:
    found = []
    for forward in (*torch.eye(3), *-torch.eye(3)):
        up = torch.eye(3)[1 if forward[2] != 0 else 2]
        right = torch.linalg.cross(forward, up)
        pose = torch.eye(4)
        pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward])
        pose[:3, 3] = -pose[:3, :3] @ place.to(pose)
        found.append(pose)
    return found
