"""The frame of training, a similarity of the input's, and geometry of points and cameras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.types import Camera, Frame, Gaussians, Points

INPUT_FRAME = Frame((0.0, 0.0, 0.0), 1.0)
"""The frame of the input."""
SAME_PLACE = 2e-7
"""Distance up to which points share their place: what `neighbour_distances` gives for them."""


def neighbour_distances(positions: Float[Tensor, "n 3"], neighbours: int = 3) -> Float[Tensor, "n"]:
    """Root mean squared distance to the nearest other points (3DGS starts its scales from it)."""
    if len(positions) < 2:
        return torch.ones(len(positions))
    from scipy.spatial import cKDTree  # help and lists are sooner there without it

    values = positions.double().cpu().numpy()
    k = min(neighbours + 1, len(values))
    distances, _ = cKDTree(values).query(values, k=k)
    mean = np.sqrt((distances[:, 1:] ** 2).mean(1))
    return torch.from_numpy(np.maximum(mean, 1e-7)).float()


def spacing_of(positions: Float[Tensor, "n 3"]) -> float:
    """Median distance of points to the nearest other one, those aside that share their place."""
    found = neighbour_distances(positions, neighbours=1)
    apart = found[found > SAME_PLACE]
    return float(apart.median()) if len(apart) else 1.0


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


def camera_to_frame(camera: Camera, frame: Frame) -> Camera:
    """The camera as it stands in the frame of training."""
    pose = camera.world_to_camera.double().clone()
    centre = torch.tensor(frame.centre, dtype=torch.float64)
    pose[:3, 3] = frame.scale * (pose[:3, :3] @ centre + pose[:3, 3])
    return replace(
        camera,
        world_to_camera=pose.float(),
        clear_depth=frame.scale * camera.clear_depth,
        clear_radius=frame.scale * camera.clear_radius,
        clear_between=_scaled(camera.clear_between, frame),
    )


def camera_from_frame(camera: Camera, frame: Frame) -> Camera:
    """A camera of the frame of training as it stands in that of the input."""
    pose = camera.world_to_camera.double().clone()
    centre = pose.new_tensor(frame.centre)
    pose[:3, 3] = pose[:3, 3] / frame.scale - pose[:3, :3] @ centre
    return replace(
        camera,
        world_to_camera=pose.float(),
        clear_depth=camera.clear_depth / frame.scale,
        clear_radius=camera.clear_radius / frame.scale,
        clear_between=_scaled(camera.clear_between, _back(frame)),
    )


def _back(frame: Frame) -> Frame:
    """What brings from a frame back to the input's."""
    x, y, z = frame.centre
    return Frame((-frame.scale * x, -frame.scale * y, -frame.scale * z), 1 / frame.scale)


def _scaled(
    balls: tuple[tuple[float, float, float, float], ...], frame: Frame
) -> tuple[tuple[float, float, float, float], ...]:
    """Balls, x, y, z and radius, as they lie in the frame."""
    (x0, y0, z0), by = frame.centre, frame.scale
    return tuple((by * (x - x0), by * (y - y0), by * (z - z0), by * r) for x, y, z, r in balls)


def points_to_frame(points: Points, frame: Frame) -> Points:
    """The points as they lie in the frame of training."""
    centre = torch.tensor(frame.centre, dtype=torch.float64)
    moved = (points.positions.double() - centre) * frame.scale
    return replace(points, positions=moved.float())


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


def reach(cameras: Sequence[Camera], focus: Float[Tensor, "3"]) -> float | None:
    """How far from `focus`, which cameras look at, the farthest of them stands.

    None for a single camera, and where they look away from there, as from the middle of a room.
    """
    inward = focus - torch.stack([camera.centre.double() for camera in cameras])
    ahead = torch.stack([camera.world_to_camera[2, :3].double() for camera in cameras])
    if len(cameras) < 2 or float((inward * ahead).sum()) <= 0:
        return None
    return float(inward.norm(dim=1).max())


def morton_order(positions: Float[Tensor, "n 3"]) -> Int[Tensor, "n"]:
    """Rows along a Z-order curve (10 bits an axis): neighbours in space are near in memory."""
    low, high = positions.amin(0), positions.amax(0)
    cell = ((positions - low) / (high - low).clamp_min(1e-12) * 1023).long().clamp_(0, 1023)
    code = torch.zeros(len(positions), dtype=torch.int64, device=positions.device)
    for bit in range(10):
        for axis in range(3):
            code |= ((cell[:, axis] >> bit) & 1) << (3 * bit + axis)
    return torch.argsort(code, stable=True)


def gaussians_from_frame(gaussians: Gaussians, frame: Frame | None) -> Gaussians:
    """A set trained in `frame`, as it lies in the frame of the input."""
    if frame is None:
        return gaussians
    centre = _double(frame.centre, gaussians)
    means = gaussians.means.double() / frame.scale + centre
    return _moved(gaussians, means, 1 / frame.scale)


def gaussians_to_frame(gaussians: Gaussians, frame: Frame) -> Gaussians:
    """A set in the frame of the input, as it lies in the frame of training."""
    means = (gaussians.means.double() - _double(frame.centre, gaussians)) * frame.scale
    return _moved(gaussians, means, frame.scale)


def _moved(gaussians: Gaussians, means: Float[Tensor, "n 3"], scale: float) -> Gaussians:
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"the scale of a frame is {scale}, it must be a positive number")
    # A similarity without rotation leaves quaternions and harmonics as they are.
    scales = (gaussians.scales.double() * scale).float()
    motion = gaussians.motion
    if motion is not None:
        motion = replace(motion, velocity=(motion.velocity.double() * scale).float())
    return replace(gaussians, means=means.float(), scales=scales, motion=motion)


def _double(values: tuple[float, float, float], like: Gaussians) -> Float[Tensor, "3"]:
    return torch.tensor(values, dtype=torch.float64, device=like.means.device)


def finite(gaussians: Gaussians) -> Bool[Tensor, "n"]:
    """Rows without NaN and infinite values."""
    # A sum is finite if its terms are, and much faster to look at.
    rows = (gaussians.means, gaussians.quats, gaussians.scales, gaussians.colors.flatten(1))
    total = torch.stack([values.sum(1) for values in rows]).sum(0) + gaussians.opacities
    if (motion := gaussians.motion) is not None:
        total = total + motion.time + motion.duration + motion.velocity.sum(1)
    return total.isfinite()


def shown_pixels(
    positions: Float[Tensor, "n 3"], camera: Camera
) -> tuple[Int[Tensor, "m"], Int[Tensor, "m"]]:
    """Which points a camera shows, and the numbers of their pixels."""
    pose, K = camera.world_to_camera, camera.K
    x, y, z = (positions @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    z = z.where(z > 0, torch.nan)
    u, v = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    inside = (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    rows = inside.nonzero().squeeze(1)
    return rows, v[rows].long() * camera.width + u[rows].long()
