"""Cameras about a thing, at random, one for each step; where a camera stands, as angles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from splat.dream.distill import Ball
from splat.loop import stream
from splat.types import Batch, Camera

FIELD = math.radians(40)
"""Angle that pictures show, along a side."""
DISTANCE = 1.9
"""From the centre of the ball, in its radii: what is within two thirds of it is in the picture."""
LOWEST, HIGHEST = -0.2, 0.9
"""Angles above the horizon, radians."""
ROUND = 16
"""Cameras that strategies look from."""


def around(ball: Ball, azimuth: float, elevation: float, size: int, index: int = 0) -> Camera:
    """A camera that looks at the centre of a ball, z up; angles in radians, 0 is along x."""
    c, s = math.cos(elevation), math.sin(elevation)
    back = torch.tensor([c * math.cos(azimuth), c * math.sin(azimuth), s], dtype=torch.float64)
    right = torch.tensor([-math.sin(azimuth), math.cos(azimuth), 0.0], dtype=torch.float64)
    turn = torch.stack([right, torch.linalg.cross(right, -back).neg(), -back])
    eye = torch.tensor(ball.centre, dtype=torch.float64) + DISTANCE * ball.radius * back
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = turn, -turn @ eye
    focal = size / (2 * math.tan(FIELD / 2))
    K = torch.tensor([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return Camera(matrix.float(), K, size, size, index=index)


def angles(camera: Camera) -> tuple[float, float]:
    """Azimuth and elevation, radians, of where a camera looks from, by its axis alone; z is up."""
    x, y, z = (-camera.world_to_camera[2, :3].double().cpu()).tolist()
    return math.atan2(y, x), math.asin(min(max(z, -1.0), 1.0))


@dataclass(frozen=True)
class Orbit:
    """Batches of a run without photos: each camera depends on the seed and the number alone."""

    ball: Ball
    size: int
    seed: int
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """What batches show where a photo would be, nothing else being known."""

    def __call__(self, number: int) -> Batch:
        return self._batch(self.camera(number))

    @property
    def cameras(self) -> list[Camera]:
        """Those that strategies look from: all around, of one height."""
        return self.round(ROUND)

    def camera(self, number: int) -> Camera:
        """The camera of a step: directions are even over the sphere between the elevations."""
        turn, height = torch.rand(
            2, generator=stream(self.seed, number, "orbit", torch.device("cpu"))
        ).tolist()
        low, high = math.sin(LOWEST), math.sin(HIGHEST)
        elevation = math.asin(low + (high - low) * height)
        return around(self.ball, 2 * math.pi * turn, elevation, self.size)

    def round(self, views: int, elevation: float = 0.35) -> list[Camera]:
        """Cameras all around, evenly, of one elevation."""
        return [
            around(self.ball, 2 * math.pi * i / views, elevation, self.size, i)
            for i in range(views)
        ]

    def _batch(self, camera: Camera) -> Batch:
        colour = torch.tensor([round(255 * each) for each in self.background], dtype=torch.uint8)
        pixels: Float[Tensor, "h w 3"] = colour.expand(self.size, self.size, 3)
        return Batch(camera, pixels.contiguous(), name="orbit")
