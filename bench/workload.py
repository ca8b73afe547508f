"""The benchmark workload: 50,000 seeded Gaussians, one camera among them, one target picture.

60 % of the Gaussians lie in the unit ball, 40 % on a shell of radius 3 +- 0.1, and the camera
stands between the two: a dense picture, 45 blended Gaussians a pixel. Every draw comes from
numpy's PCG64, so the numbers are the same on every machine.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from torch import Tensor

from splat.cloud import morton_order
from splat.types import Camera

COUNT = 50_000
SIZES = (400, 800)


def rows() -> dict[str, Tensor]:
    """Columns of `splat.model.Explicit`, float32, SH degree 3, in Morton order as in training."""
    draw = np.random.default_rng(0)
    ball = COUNT * 6 // 10
    directions = draw.normal(size=(COUNT, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    inside = draw.random(ball) ** (1 / 3)
    shell = 3 + 0.1 * draw.normal(size=COUNT - ball)
    means = directions * np.concatenate([inside, shell])[:, None]
    distances = cKDTree(means).query(means, k=4)[0][:, 1:].mean(1)
    columns = {
        "mean": means,
        "log_scale": np.log(0.6 * distances)[:, None] + 0.4 * draw.normal(size=(COUNT, 3)),
        "quat": draw.normal(size=(COUNT, 4)),
        "opacity_logit": draw.normal(0.0, 2.0, size=COUNT),
        "sh": np.concatenate(
            [draw.normal(0, 0.8, size=(COUNT, 1, 3)), draw.normal(0, 0.1, size=(COUNT, 15, 3))], 1
        ),
    }
    shuffled = draw.permutation(COUNT)
    whole = {name: torch.from_numpy(v[shuffled]).float() for name, v in columns.items()}
    order = morton_order(whole["mean"])
    return {name: values[order].contiguous() for name, values in whole.items()}


def targets() -> dict[int, Tensor]:
    """The target picture of each size, [size, size, 3] uint8: smoothed noise."""
    draw = np.random.default_rng(1)
    pictures = {}
    for size in SIZES:
        noise = [gaussian_filter(draw.random((size, size)), 4) for _ in range(3)]
        picture = np.stack(noise, -1)
        picture = ((picture - picture.min()) / np.ptp(picture)).astype(np.float32)
        pictures[size] = torch.from_numpy(np.round(255 * picture).astype(np.uint8))
    return pictures


def camera(size: int) -> Camera:
    """At (0.3, -0.5, -2.4), looking at the origin; focal length 0.9 times the picture's side."""
    eye = np.array([0.3, -0.5, -2.4])
    forward = -eye / np.linalg.norm(eye)
    right = np.cross([0, 1, 0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ eye
    focal, middle = 0.9 * size, size / 2
    K = torch.tensor([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
    return Camera(torch.from_numpy(pose).float(), K, size, size)
