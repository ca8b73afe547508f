"""Pictures by rays: one through each pixel, and more where the picture has contrast."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.datasets.tracer.colours import stored
from splat.datasets.tracer.solids import Rays
from splat.datasets.tracer.vectors import Array, Numbers, Vector
from splat.types import Camera


@dataclass(frozen=True)
class View:
    """A picture of a scene with all that is known about it, pixel for pixel."""

    image: UInt8[Tensor, "h w 3"]
    """sRGB, antialiased where it has contrast."""
    depth: Float[Tensor, "h w"]
    """Camera z of the surface met through the pixel's centre; always finite, scenes are closed."""
    normals: Float[Tensor, "h w 3"]
    """World axes, unit, facing the camera; through the pixel's centre."""
    objects: UInt8[Tensor, "h w"]
    """Numbers of what is met through the pixel's centre."""


@dataclass(frozen=True)
class Hits:
    """Where rays end: every ray does, for scenes are closed."""

    t: Array
    """Way along the ray."""
    part: Numbers
    """Of the scene: where it changes, a picture has an edge."""
    number: Numbers
    """Of the object that the part belongs to, less than 256."""
    normal: Vector
    """Unit, towards the eye's side."""


Met = TypeVar("Met", bound=Hits)


def rays(camera: Camera, u: Array, v: Array) -> Rays:
    """Rays through image positions in pixels (the first pixel's centre is at 0.5, 0.5)."""
    pose = camera.world_to_camera.double().numpy()
    K = camera.K.double().numpy()
    x = (u - float(K[0, 2])) / float(K[0, 0])
    y = (v - float(K[1, 2])) / float(K[1, 1])
    to_z = 1 / np.sqrt(x * x + y * y + 1)
    a, b, c = ((x * float(r[0]) + y * float(r[1]) + float(r[2])) * to_z for r in pose[:3, :3].T)
    eye = -pose[:3, :3].T @ pose[:3, 3]
    x, y, z = (e.astype(a.dtype) for e in eye[:, None])
    return Rays((x, y, z), (a, b, c), to_z)


def pixels(camera: Camera, precision: Any = np.float32) -> tuple[Array, Array]:
    """Columns and rows of all pixels, row after row; centres are half a pixel further."""
    v, u = (a.ravel().astype(precision) for a in np.mgrid[: camera.height, : camera.width])
    return u, v


def lattice(count: int, step: int | None = None) -> tuple[Array, Array]:
    """Places in a pixel, all different across and all different down, around its centre.

    Down it goes `step` at a time for each across, a number without a factor in common with
    `count`; None: the one that is nearest to the golden section.
    """
    if step is None:
        steps = [k for k in range(1, count + 1) if math.gcd(k, count) == 1]
        step = min(steps, key=lambda k: abs(k - 0.382 * count))
    order = np.arange(count)
    across, down = ((o + 0.5) / count for o in (order, order * step % count))
    return across.astype(np.float32), down.astype(np.float32)


def picture(
    camera: Camera,
    trace: Callable[[Rays], Met],
    light: Callable[[Rays, Met], Array],
    displayed: Callable[[Array], Array],
    samples: tuple[Array, Array],
    *,
    contrast: float,
    chunk: int,
    precision: Any = np.float32,
) -> View:
    """Draw a scene: `trace` finds what rays meet, `light` [n, 3] is linear, `displayed` shows it.

    A pixel that differs by more than `contrast` from a neighbour, or shows another part, is the
    mean light of rays through all places of `samples` in it; with a contrast below 0, every pixel.
    Of other pixels, and where there is one sample only, it is the ray's through the centre.
    `chunk` rays are in flight together: what fits the caches.
    """
    h, w = camera.height, camera.width
    u, v = pixels(camera, precision)
    display, normals = np.empty((h * w, 3), precision), np.empty((h * w, 3), np.float32)
    depth, part = np.empty(h * w, np.float32), np.empty(h * w, np.int16)
    number = np.empty(h * w, np.uint8)
    for start in range(0, h * w, chunk):
        some = slice(start, start + chunk)
        through = rays(camera, u[some] + 0.5, v[some] + 0.5)
        hits = trace(through)
        if contrast >= 0:
            display[some] = displayed(light(through, hits))
        depth[some], part[some], number[some] = hits.t * through.to_z, hits.part, hits.number
        normals[some] = np.stack(hits.normal, 1)
    count, again = len(samples[0]), np.arange(h * w)
    if contrast >= 0:
        strong = _contrasts(display.reshape(h, w, 3), part.reshape(h, w), contrast)
        again = np.flatnonzero(strong) if count > 1 else again[:0]
    size = max(chunk // count, 1)
    for start in range(0, len(again), size):
        mine = again[start : start + size]
        across, down = (p[mine, None] + own for p, own in zip((u, v), samples, strict=True))
        through = rays(camera, across.ravel(), down.ravel())
        colour = light(through, trace(through))
        display[mine] = displayed(colour.reshape(-1, count, 3).mean(1))
    return View(
        torch.from_numpy(stored(display).reshape(h, w, 3)),
        torch.from_numpy(depth.reshape(h, w)),
        torch.from_numpy(normals.reshape(h, w, 3)),
        torch.from_numpy(number.reshape(h, w)),
    )


def _contrasts(image: Array, part: Numbers, contrast: float) -> npt.NDArray[np.bool_]:
    """Pixels beside which the picture changes fast, or the part does."""
    strong = np.zeros(part.shape, bool)
    for a, b in ((np.s_[1:, :], np.s_[:-1, :]), (np.s_[:, 1:], np.s_[:, :-1])):
        jump = (np.abs(image[a] - image[b]).max(-1) > contrast) | (part[a] != part[b])
        strong[a] |= jump
        strong[b] |= jump
    return strong
