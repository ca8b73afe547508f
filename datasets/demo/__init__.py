"""The built-in scene: a still life that is known exactly, photographed from sixty places.

Its depth, normals, masks and signed distances are known, so that what is trained on the pictures
can be measured. World frame: z up, the things stand on z = 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from splat.datasets.demo.files import cached, truth, write
from splat.datasets.demo.points import points
from splat.datasets.demo.poses import cameras
from splat.datasets.demo.shapes import SOLIDS, scene
from splat.datasets.demo.trace import DemoView, render
from splat.datasets.tracer.vectors import columns

__all__ = ["OBJECTS", "DemoView", "cached", "cameras", "points", "render", "sdf", "truth", "write"]

OBJECTS = ("room", *(solid.name for solid in SOLIDS))
"""Names of the numbers in `DemoView.objects`."""


def sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Signed distance to the scene, in the precision of `points` and without gradients.

    Negative inside the things, in the plinth and beyond the walls of the room. Zero exactly on
    the surface; elsewhere its size never exceeds the distance to it, and may fall short where
    shapes are blended or cut.
    """
    found = scene(*columns(points.detach().cpu().numpy()))
    return torch.from_numpy(found).to(points.device)
