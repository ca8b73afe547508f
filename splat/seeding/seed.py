"""Rows to start from: out of points, or at random inside the camera frusta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from splat.core.cloud import morton_order
from splat.core.strategy import Start
from splat.math import sh_from_rgb
from splat.types import Camera, Frame, Points


def neighbour_distances(positions: Float[Tensor, "n 3"], neighbours: int = 3) -> Float[Tensor, "n"]:
    """Root mean squared distance to the nearest other points (3DGS starts its scales from it)."""
    if len(positions) < 2:
        return torch.ones(len(positions))
    values = positions.double().cpu().numpy()
    k = min(neighbours + 1, len(values))
    distances, _ = cKDTree(values).query(values, k=k)
    mean = np.sqrt((distances[:, 1:] ** 2).mean(1))
    return torch.from_numpy(np.maximum(mean, 1e-7)).float()


def rows_from_points(points: Points, start: Start, sh_degree: int = 3) -> dict[str, Tensor]:
    """Columns of `Explicit` in Morton order: isotropic, unrotated, of the points' colours."""
    positions = points.positions.float()
    order = morton_order(positions)
    positions, colors = positions[order], points.colors.float()[order]
    n = len(positions)
    sh = torch.zeros(n, (sh_degree + 1) ** 2, 3)
    sh[:, 0] = sh_from_rgb(colors)
    log_scale = (neighbour_distances(positions) * start.scale).log()
    opacity = torch.tensor(start.opacity)
    return {
        "mean": positions,
        "quat": torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        "log_scale": log_scale[:, None].repeat(1, 3),
        "opacity_logit": torch.logit(opacity).repeat(n),
        "sh": sh,
    }


def frame_of(cameras: Sequence[Camera]) -> Frame:
    """The frame to train in: mean camera position at 0, farthest camera at distance 1/1.1.

    So the scene extent of 3DGS (1.1 x that distance) is 1 and learning rates, thresholds and
    MCMC's noise mean the same in every scene.
    """
    centres = torch.stack([camera.centre.double() for camera in cameras])
    middle = centres.mean(0)
    reach = float((centres - middle).norm(dim=1).max())
    # A single camera, or cameras in one place, have no extent: keep the unit of the input.
    scale = 1 / (1.1 * reach) if reach > 1e-9 else 1.0
    x, y, z = middle.tolist()
    return Frame((x, y, z), scale)


def in_frame(camera: Camera, frame: Frame) -> Camera:
    """The camera as it stands in the frame of training."""
    pose = camera.world_to_camera.double().clone()
    centre = torch.tensor(frame.centre, dtype=torch.float64)
    pose[:3, 3] = frame.scale * (pose[:3, :3] @ centre + pose[:3, 3])
    clear = frame.scale * camera.clear_depth
    return replace(camera, world_to_camera=pose.float(), clear_depth=clear)


def out_of_frame(camera: Camera, frame: Frame) -> Camera:
    """A camera of the frame of training as it stands in that of the input."""
    pose = camera.world_to_camera.double().clone()
    centre = pose.new_tensor(frame.centre)
    pose[:3, 3] = pose[:3, 3] / frame.scale - pose[:3, :3] @ centre
    clear = camera.clear_depth / frame.scale
    return replace(camera, world_to_camera=pose.float(), clear_depth=clear)


def points_in_frame(points: Points, frame: Frame) -> Points:
    """The points as they lie in the frame of training."""
    centre = torch.tensor(frame.centre, dtype=torch.float64)
    moved = (points.positions.double() - centre) * frame.scale
    return Points(moved.float(), points.colors)


def random_in_frusta(cameras: Sequence[Camera], count: int, generator: torch.Generator) -> Points:
    """Points of random grey, uniform on screen and in inverse depth, inside what cameras see.

    Depths run from a tenth of the distance between a camera and the point the cameras look at
    together to three times that distance.
    """
    focus = focus_point(cameras).float()
    which = torch.randint(len(cameras), (count,), generator=generator)
    u = torch.rand(count, 3, generator=generator)
    positions = torch.empty(count, 3)
    for i, camera in enumerate(cameras):
        mine = which == i
        distance = float((camera.centre - focus).norm().clamp_min(1e-3))
        near, far = 0.1 * distance, 3 * distance
        depth = 1 / (u[mine, 2] * (1 / near - 1 / far) + 1 / far)
        x = (u[mine, 0] * camera.width - camera.K[0, 2]) / camera.K[0, 0]
        y = (u[mine, 1] * camera.height - camera.K[1, 2]) / camera.K[1, 1]
        local = torch.stack([x * depth, y * depth, depth], 1)
        rotation, translation = camera.world_to_camera[:3, :3], camera.world_to_camera[:3, 3]
        positions[mine] = (local - translation) @ rotation
    grey = torch.rand(count, 1, generator=generator).expand(-1, 3)
    return Points(positions, grey.clone())


def with_clear_depth(
    cameras: Sequence[Camera], positions: Float[Tensor, "n 3"]
) -> tuple[Camera, ...]:
    """The cameras, each with half the depth of the nearest hundredth of the points it sees.

    A hundredth, since a few points of a reconstruction are always wrong; 20,000 points are looked
    at. A camera that sees none knows nothing.
    """
    some = positions[:: max(1, len(positions) // 20_000)].cpu()
    nearest = [float(camera.to("cpu").depths(some).nanquantile(0.01)) for camera in cameras]
    return tuple(
        replace(camera, clear_depth=depth / 2 if depth > 0 else 0.0)
        for camera, depth in zip(cameras, nearest, strict=True)
    )


def focus_point(cameras: Sequence[Camera]) -> Float[Tensor, "3"]:
    """The point nearest to all optical axes, in the least-squares sense; float64.

    Parallel axes meet nowhere: a small ridge then draws it to one unit ahead of the cameras.
    """
    centres = torch.stack([camera.centre.double() for camera in cameras])
    ahead = torch.stack([camera.world_to_camera[2, :3].double() for camera in cameras])
    eye = torch.eye(3, dtype=torch.float64)
    across = eye - ahead[:, :, None] * ahead[:, None, :]
    ridge = 1e-3 * len(cameras)
    right = (across @ centres[:, :, None]).sum(0)[:, 0] + ridge * (centres + ahead).mean(0)
    point: Tensor = torch.linalg.solve(across.sum(0) + ridge * eye, right)
    return point
