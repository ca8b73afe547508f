"""What a dream begins with: Gaussians out of nothing or of somebody, and cameras about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.frame import (
    camera_to_frame,
    frame_of,
    gaussians_to_frame,
    neighbour_distances,
)
from splat.dream.distill import Ball
from splat.dream.orbit import DISTANCE, Orbit
from splat.loop import stream
from splat.math import SH_C0
from splat.types import Batch, Camera, Drawing, Frame, Gaussians

REACH = 1.1
"""Extent of a scene, in the largest distance of a camera from their middle (3DGS)."""
BEGIN = 0.4
"""Radius of the ball, in that of all, in which Gaussians begin."""
FAINT = 0.1
"""Their opacity."""
FILLED = 0.52
"""Share of a ball's radius that a thing of others is taken to fill."""
SOLID, SHARE = 0.1, 0.98
"""Opacity from which Gaussians count, and the share of them that a thing is within."""
PLAIN = Drawing()
_CPU = torch.device("cpu")


class Views(Protocol):
    """Cameras of a run without photos, frame of training."""

    @property
    def cameras(self) -> Sequence[Camera]:
        """Those that strategies look from, by their numbers."""
        ...

    def __call__(self, number: int) -> Batch:
        """An empty batch of the camera of a step, a function of its number."""
        ...


@dataclass(frozen=True)
class Placed:
    """Cameras of somebody, one of them at random for each step."""

    cameras: Sequence[Camera]
    seed: int

    def __call__(self, number: int) -> Batch:
        draw = stream(self.seed, number, "orbit", _CPU)
        camera = self.cameras[int(torch.randint(len(self.cameras), (), generator=draw))]
        return Batch(camera, blank(camera, (0.0, 0.0, 0.0)), name="placed")


def blank(camera: Camera, colour: tuple[float, float, float]) -> Tensor:
    """Pixels of one colour."""
    values = torch.tensor([round(255 * each) for each in colour], dtype=torch.uint8)
    return values.expand(camera.height, camera.width, 3).contiguous()


@dataclass(frozen=True)
class Beginning:
    """What a dream begins with, in the frame that it is trained in."""

    gaussians: Gaussians
    frame: Frame
    views: Views
    ball: Ball
    background: tuple[float, float, float]
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    started: bool = False
    """Whether it began with something, whose looks may be kept."""
    drawing: Drawing = PLAIN


def from_nothing(
    size: int, points: int, seed: int, background: tuple[float, float, float]
) -> Beginning:
    """Faint Gaussians of greyish colours in a ball about the origin, where generators and the
    corpus have their things."""
    frame, ball = _about(Ball())
    draw = stream(seed, 0, "dream", _CPU)
    directions = torch.randn(points, 3, generator=draw)
    directions /= directions.norm(dim=1, keepdim=True).clamp_min(1e-6)
    radii = torch.rand(points, 1, generator=draw) ** (1 / 3)
    means = BEGIN * ball.radius * radii * directions
    grey = 0.5 + 0.1 * torch.randn(points, 3, generator=draw)
    scales = neighbour_distances(means).clamp_max(0.2 * ball.radius)
    gaussians = Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0]).repeat(points, 1),
        scales=scales[:, None].repeat(1, 3),
        opacities=torch.full((points,), FAINT),
        colors=((grey.clamp(0, 1) - 0.5) / SH_C0)[:, None],
        sh_degree=0,
    )
    return Beginning(gaussians, frame, Orbit(ball, size, seed, background), ball, background)


def from_thing(
    gaussians: Gaussians,
    size: int,
    seed: int,
    background: tuple[float, float, float],
    drawing: Drawing,
) -> Beginning:
    """A thing that stands alone, z up, input frame: cameras go around it."""
    frame, ball = _about(ball_of(gaussians))
    return Beginning(
        gaussians_to_frame(gaussians, frame), frame, Orbit(ball, size, seed, background), ball,
        background, started=True, drawing=drawing,
    )  # fmt: skip


def from_views(
    gaussians: Gaussians,
    cameras: Sequence[Camera],
    size: int,
    seed: int,
    background: tuple[float, float, float],
    drawing: Drawing,
) -> Beginning:
    """A scene with the cameras that it was trained in, input frame; what is up is their mean up."""
    frame = frame_of(cameras)
    placed = [squared(camera_to_frame(camera, frame), size, i) for i, camera in enumerate(cameras)]
    up = -torch.stack([each.world_to_camera[1, :3].double() for each in placed]).mean(0)
    length = float(up.norm())
    x, y, z = (up / length).tolist() if length > 1e-6 else (0.0, 0.0, 1.0)
    moved = gaussians_to_frame(gaussians, frame)
    return Beginning(
        moved, frame, Placed(placed, seed), _bounding(moved), background, (x, y, z),
        started=True, drawing=drawing,
    )  # fmt: skip


def squared(camera: Camera, size: int, index: int) -> Camera:
    """The middle square of a camera's picture, of a size."""
    side = min(camera.width, camera.height)
    K = camera.K.double().clone()
    K[0, 2] -= (camera.width - side) / 2
    K[1, 2] -= (camera.height - side) / 2
    K[:2] *= size / side
    return replace(camera, K=K.float(), width=size, height=size, index=index, time=0.0)


def ball_of(gaussians: Gaussians) -> Ball:
    """The ball that cameras look at: that of the cube from -0.5 to 0.5, where a set lies in it as
    generated things do, else one that the set fills as large things fill that."""
    found = _bounding(gaussians)
    cube = Ball()
    off = sum(each**2 for each in found.centre) ** 0.5
    if 0.2 < found.radius < cube.radius and off < 0.25:
        return cube
    return replace(found, radius=found.radius / FILLED)


def _bounding(gaussians: Gaussians) -> Ball:
    means = gaussians.means.double()
    solid = means[gaussians.opacities > SOLID]
    means = solid if len(solid) else means
    middle = (means.quantile(1 - SHARE, 0) + means.quantile(SHARE, 0)) / 2
    radius = float((means - middle).norm(dim=1).quantile(SHARE))
    x, y, z = middle.tolist()
    return Ball((x, y, z), max(radius, 1e-6))


def _about(ball: Ball) -> tuple[Frame, Ball]:
    """The frame in which cameras about a ball have an extent of 1, and the ball in it."""
    scale = 1 / (REACH * DISTANCE * ball.radius)
    return Frame(ball.centre, scale), Ball((0.0, 0.0, 0.0), ball.radius * scale)


class Shown:
    """Batches of views: where a dream began with something, what that looks like, as photos are."""

    def __init__(self, views: Views, draw: Callable[[Camera], Float[Tensor, "h w 3"]] | None):
        self.views, self._draw = views, draw

    def __call__(self, number: int) -> Batch:
        return self._shown(self.views(number))

    def at(self, index: int, step: int) -> Batch:
        """The batch of one of the views by its number."""
        del step
        camera = self.views.cameras[index]
        return self._shown(Batch(camera, blank(camera, (0.0, 0.0, 0.0)), name=f"view {index}"))

    @torch.no_grad()
    def _shown(self, batch: Batch) -> Batch:
        if self._draw is None:
            return batch
        pixels = (255 * self._draw(batch.camera).clamp(0, 1)).round().to(torch.uint8)
        return replace(batch, pixels=pixels)
