"""Where there is air as far as points tell: about cameras, and between those beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from splat.types import Camera

Array = NDArray[np.float64]

BESIDE = 12
"""Nearest cameras of each to which the ways are looked at."""
LONG, TURNED = 3.0, 45.0
"""Times its least distance to the points that a straight way between cameras may be long, to be
clear, and degrees by which they may look another way: what two see that look at each other is
between them."""
LONG_ABOUT, TURNED_ABOUT = 7.0, 90.0
"""The same of a way about what both look at, at the distance that they have from it: who looks at a
scene of few cameras goes there, and no photo tells what hangs in the way."""
MEET = 0.5
"""Shares of the distance to what both look at: by how much their axes may miss each other, and how
much nearer one of them may be."""
GAPS = 3.0
"""Times the distance from point to point by which surfaces may be nearer to such a way than points
are."""
PLACES = 8
"""Parts of a way at whose ends the distance to the points is taken."""
NEW = 0.25
"""Share of the radius of a ball that has to be free of each other one, for it to be kept."""


@dataclass(frozen=True)
class _Pairs:
    """Where two cameras each stand, and along what they look: rows of [pairs, 3]."""

    start: Array
    end: Array
    one: Array
    other: Array


def with_clear_air(
    cameras: Sequence[Camera], positions: Float[Tensor, "n 3"]
) -> tuple[Camera, ...]:
    """The cameras, each with half the depth of the nearest hundredth of the points it sees, half
    the distance to the nearest thousandth of all points, and balls on the ways to those beside it.

    Not the very nearest, since a few points of a reconstruction are always wrong; 20,000 points are
    used. The depth is 0 for a camera that sees none.
    """
    some = positions[:: max(1, len(positions) // 20_000)].cpu()
    nth = max(1, len(some) // 1000)

    def known(camera: Camera) -> Camera:
        here = camera.to("cpu")
        depth = float(here.depths(some).nanquantile(0.01))
        around = float((some - here.centre).norm(dim=1).kthvalue(nth).values)
        return replace(camera, clear_depth=depth / 2 if depth > 0 else 0.0, clear_radius=around / 2)

    found = [known(camera) for camera in cameras]
    between = _between(found, some.double().numpy(), nth)
    return tuple(
        replace(camera, clear_between=balls) for camera, balls in zip(found, between, strict=True)
    )


def _between(
    cameras: Sequence[Camera], points: Array, nth: int
) -> list[tuple[tuple[float, float, float, float], ...]]:
    """For each camera the balls on the ways to others; every way is one camera's, and what other
    balls cover is left out."""
    centres = np.stack([camera.centre.double().cpu().numpy() for camera in cameras])
    radii = np.array([camera.clear_radius for camera in cameras])
    axes = torch.stack([camera.world_to_camera[2, :3] for camera in cameras]).double().cpu().numpy()
    first, second = _beside(centres, radii)
    pairs = _Pairs(centres[first], centres[second], axes[first], axes[second])
    clear, balls = _balls(pairs, points, nth)
    owners = first[clear].repeat(PLACES - 1)
    kept = np.concatenate([centres, radii[:, None]], 1)
    found: list[list[tuple[float, float, float, float]]] = [[] for _ in cameras]
    # Middles first: what balls there leave is mostly about the cameras.
    off_middle = np.tile(abs(np.arange(1, PLACES) - PLACES / 2), clear.sum())
    for i in np.lexsort([-balls[:, 3], off_middle]):
        x, y, z, radius = balls[i].tolist()
        apart = np.linalg.norm(kept[:, :3] - balls[i, :3], axis=1)
        if (apart + NEW * radius > kept[:, 3]).all():
            kept = np.concatenate([kept, balls[i : i + 1]])
            found[owners[i]].append((x, y, z, radius))
    return [tuple(each) for each in found]


def _balls(pairs: _Pairs, points: Array, nth: int) -> tuple[NDArray[np.bool_], Array]:
    """Between which pairs the way is clear, and the balls on these ways, middles and radii, way by
    way. A radius is half the distance to the `nth` point, less `GAPS` on ways that are not
    straight."""
    tree = cKDTree(points)
    ways, about = _ways(pairs, np.linspace(0, 1, PLACES + 1)[:, None])
    away = tree.query(ways.reshape(-1, 3), k=[nth])[0].reshape(ways.shape[:2])
    turned = np.where(about, TURNED_ABOUT, TURNED)
    long = np.where(about, LONG_ABOUT, LONG)
    alike = (pairs.one * pairs.other).sum(1)
    length = np.linalg.norm(pairs.end - pairs.start, axis=1)
    clear = (alike >= np.cos(np.radians(turned))) & (length <= long * away.min(1))
    places = ways[clear, 1:-1].reshape(-1, 3)
    room = (away - np.where(about, GAPS * _gap(points, tree), 0)[:, None])[clear, 1:-1]
    return clear, np.concatenate([places, room.reshape(-1, 1).clip(0) / 2], 1)


def _gap(points: Array, tree: cKDTree) -> float:
    """How far points are apart: the median of the distance to the nearest other one."""
    some = points[:: max(1, len(points) // 2000)]
    return float(np.median(tree.query(some, k=[2])[0])) if len(points) > 1 else 0.0


def _ways(pairs: _Pairs, shares: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Places on the ways from one camera to the other [pairs, shares, 3], and which of the ways go
    about what both look at; the others are straight."""
    start, end, one, other = pairs.start, pairs.end, pairs.one, pairs.other
    ways = start[:, None] * (1 - shares) + end[:, None] * shares
    apart = end - start
    alike, ahead, behind = (one * other).sum(1), (apart * one).sum(1), (apart * other).sum(1)
    turned = np.maximum(1 - alike**2, 1e-9)
    # Where the axes are nearest to each other, as depths along both.
    depths = np.stack([ahead - alike * behind, alike * ahead - behind]) / turned
    there = start + depths[0, :, None] * one, end + depths[1, :, None] * other
    middle = (there[0] + there[1]) / 2
    arms = np.stack([start - middle, end - middle])
    reach = np.maximum(np.linalg.norm(arms, axis=2), 1e-30)
    angle = np.arccos((arms.prod(0).sum(1) / reach.prod(0)).clip(-1, 1))[:, None, None]
    near = reach.min(0)
    about = (depths > 0).all(0) & (near >= MEET * reach.max(0)) & (angle[:, 0, 0] > 1e-3)
    about &= np.linalg.norm(there[0] - there[1], axis=1) <= MEET * near
    units = arms / reach[:, :, None]
    swung = np.sin(angle * (1 - shares)) * units[0, :, None]
    swung = (swung + np.sin(angle * shares) * units[1, :, None]) / np.sin(angle).clip(1e-9)
    far = reach[0, :, None, None] * (1 - shares) + reach[1, :, None, None] * shares
    return np.where(about[:, None, None], middle[:, None] + far * swung, ways), about


def _beside(centres: Array, radii: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of cameras that may have air between them beyond what is about each; of cameras in one
    place the first."""
    alone = np.unique(centres, axis=0, return_index=True)[1]
    many = min(BESIDE, len(alone) - 1)
    if not many:
        return alone[:0], alone[:0]
    others = cKDTree(centres[alone]).query(centres[alone], k=range(2, many + 2))[1]
    pairs = alone[np.stack([np.arange(len(alone)).repeat(many), others.reshape(-1)], 1)]
    first, second = np.unique(np.sort(pairs, axis=1), axis=0).T
    length = np.linalg.norm(centres[second] - centres[first], axis=1)
    radius = np.minimum(radii[first], radii[second])
    picked = (length > radius) & (length <= 2 * LONG_ABOUT * radius)
    return first[picked], second[picked]
