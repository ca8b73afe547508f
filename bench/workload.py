"""The benchmark workload: seeded Gaussians, one camera among them, one target picture.

As a rule 50,000 Gaussians, seed 0, at 400 x 400 and 800 x 800; others are made by the same recipe.

60 % of the Gaussians lie in the unit ball, 40 % on a shell of radius 3 +- 0.1, and the camera
stands between the two: a dense picture, 45 blended Gaussians a pixel. Every draw comes from
numpy's PCG64, so the numbers are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from torch import Tensor

from splat.core.frame import morton_order
from splat.types import Camera

COUNT = 50_000
Size = tuple[int, int]
"""Width and height of a picture, pixels."""
SIZES: tuple[Size, ...] = ((400, 400), (800, 800))


def size_of(text: str) -> Size:
    """A size as it is typed: 1600x1200, or 400 for a square."""
    width, _, height = text.lower().partition("x")
    size = int(width), int(height or width)
    if min(size) < 1:
        raise ValueError(f"size {text!r}: expected such as 1600x1200, or 400 for a square")
    return size


def key_of(size: Size) -> str:
    """The name of a size in results: 400 for a square of 400, else 1600x1200."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def rows(count: int = COUNT, seed: int = 0) -> dict[str, Tensor]:
    """Columns of `splat.core.model.Explicit`, float32, SH degree 3, in Morton order as in training.

    Draws in doubles, about 1 kB of memory a Gaussian: measure memory in another process.
    """
    draw = np.random.default_rng(seed)
    ball = count * 6 // 10
    directions = draw.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    inside = draw.random(ball) ** (1 / 3)
    shell = 3 + 0.1 * draw.normal(size=count - ball)
    means = directions * np.concatenate([inside, shell])[:, None]
    distances = cKDTree(means).query(means, k=4)[0][:, 1:].mean(1)
    columns = {
        "mean": means,
        "log_scale": np.log(0.6 * distances)[:, None] + 0.4 * draw.normal(size=(count, 3)),
        "quat": draw.normal(size=(count, 4)),
        "opacity_logit": draw.normal(0.0, 2.0, size=count),
        "sh": np.concatenate(
            [draw.normal(0, 0.8, size=(count, 1, 3)), draw.normal(0, 0.1, size=(count, 15, 3))], 1
        ),
    }
    shuffled = draw.permutation(count)
    whole = {name: torch.from_numpy(v[shuffled]).float() for name, v in columns.items()}
    order = morton_order(whole["mean"])
    return {name: values[order].contiguous() for name, values in whole.items()}


def targets(sizes: Sequence[Size] = SIZES) -> dict[Size, Tensor]:
    """The target picture of each size, [height, width, 3] uint8: smoothed noise.

    The usual sizes draw from one stream, one after the other; any other has a stream of its own.
    """
    draw = np.random.default_rng(1)
    usual = {size: smoothed(draw, size) for size in SIZES if set(sizes) & set(SIZES)}
    return {
        size: usual[size] if size in SIZES else smoothed(np.random.default_rng([1, *size]), size)
        for size in sizes
    }


def smoothed(draw: np.random.Generator, size: Size) -> Tensor:
    """Noise smoothed by 4 pixels and stretched to 0 .. 255, [height, width, 3]."""
    noise = [gaussian_filter(draw.random((size[1], size[0])), 4) for _ in range(3)]
    picture = np.stack(noise, -1)
    picture = ((picture - picture.min()) / np.ptp(picture)).astype(np.float32)
    return torch.from_numpy(np.round(255 * picture).astype(np.uint8))


def camera(width: int, height: int) -> Camera:
    """At (0.3, -0.5, -2.4), looking at the origin; focal length 0.9 times the longer side."""
    eye = np.array([0.3, -0.5, -2.4])
    forward = -eye / np.linalg.norm(eye)
    right = np.cross([0, 1, 0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, -rotation @ eye
    focal = 0.9 * max(width, height)
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return Camera(torch.from_numpy(pose).float(), K, width, height)
