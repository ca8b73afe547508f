"""Gaussians in other colours: events, normals, and pruned rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from splat.math import rotation_matrices
from splat.types import Camera, Gaussians
from splat.viewer.chronicle import BORN, HALVED, MOVED

EVENTS = {
    "born": (0.25, 0.85, 0.35),
    "split": (0.3, 0.55, 1.0),
    "moved": (1.0, 0.85, 0.2),
    "would be pruned": (1.0, 0.25, 0.2),
    "died": (0.85, 0.3, 0.85),
}
KINDS = {BORN: "born", HALVED: "split", MOVED: "moved"}
DIM = 0.35
"""Brightness of rows without an event, where events are shown."""
BARS = " ▁▂▃▄▅▆▇█"
"""Heights of bars in a line of text, the lowest for 0."""
GHOSTLY = 0.6
"""Factor on the opacity of pruned rows that are shown."""


def normals(gaussians: Gaussians, camera: Camera) -> Float[Tensor, "n 3"]:
    """Shortest axes towards the camera, in its axes: x right, y up, z to the viewer."""
    axes = rotation_matrices(gaussians.quats)
    shortest = gaussians.scales.argmin(1)
    normal = axes.gather(2, shortest[:, None, None].expand(-1, 3, 1))[..., 0]
    away = ((gaussians.means - camera.centre) * normal).sum(1, keepdim=True) > 0
    normal = torch.where(away, -normal, normal) @ camera.world_to_camera[:3, :3].T
    return normal * normal.new_tensor([1.0, -1.0, -1.0])


def tinted(gaussians: Gaussians, tint: Tensor) -> Gaussians:
    """The set in plain colours `tint`."""
    return replace(gaussians, colors=tint.expand(-1, 3).contiguous(), sh_degree=None)


def bars(counts: Sequence[int]) -> str:
    """Numbers as a row of bars, the largest as high as a letter."""
    most = max(1, *counts)
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)


def ghost(gaussians: Gaussians) -> Gaussians:
    """A set of pruned rows as it is shown."""
    color = gaussians.colors.new_tensor(EVENTS["died"]).expand(len(gaussians), 3)
    return replace(gaussians, colors=color, opacities=gaussians.opacities.clamp_min(0.3) * GHOSTLY)
