"""Rows to start from: out of points, or at random inside the camera frusta."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from splat.core.frame import focus_point, morton_order, neighbour_distances
from splat.core.strategy import Start
from splat.math import sh_from_rgb
from splat.types import Camera, Points

_log = logging.getLogger(__name__)


def rows_from_points(points: Points, start: Start, sh_degree: int = 3) -> dict[str, Tensor]:
    """Columns of `Explicit` in Morton order: isotropic, unrotated, of the points' colours.

    Points with times have a column `time` [N], too, as they have it, and those with velocities a
    column `velocity` [N, 3] (`splat.strategies.moving`).
    """
    positions = points.positions.float()
    order = morton_order(positions)
    positions, colors = positions[order], points.colors.float()[order]
    n = len(positions)
    sh = torch.zeros(n, (sh_degree + 1) ** 2, 3)
    sh[:, 0] = sh_from_rgb(colors)
    times = None if points.times is None else points.times.float()[order]
    log_scale = (_spacings(positions, times) * start.scale).log()
    opacity = torch.tensor(start.opacity)
    return {
        "mean": positions,
        "quat": torch.tensor([1.0, 0, 0, 0]).repeat(n, 1),
        "log_scale": log_scale[:, None].repeat(1, 3),
        "opacity_logit": torch.logit(opacity).repeat(n),
        "sh": sh,
        **({} if times is None else {"time": times}),
        **({} if points.velocities is None else {"velocity": points.velocities.float()[order]}),
    }


def filled(points: Points, count: int, generator: torch.Generator) -> Points:
    """The points, and where these are fewer than `count` copies of them, as many of each as can be,
    moved at random by about the distance to their neighbours."""
    n = len(points.positions)
    if count <= n:
        return points
    _log.info("start     %s points are copied to %s", f"{n:,}", f"{count:,}")
    rows = torch.randperm(n, generator=generator).repeat(-(-count // n))[: count - n]
    copies = points.take(rows)
    spacing = _spacings(points.positions.float(), points.times)[rows]
    moved = torch.randn(len(rows), 3, generator=generator) * spacing[:, None]
    both = points.take(torch.cat([torch.arange(n), rows]))
    positions = torch.cat([points.positions.float(), copies.positions.float() + moved])
    return replace(both, positions=positions)


def joined(points: Points, fast: Points) -> Points:
    """The points, and those that are known to move."""
    n = len(points.positions)
    times, velocities = points.times, points.velocities
    times = torch.full((n,), torch.nan) if times is None else times
    velocities = torch.full((n, 3), torch.nan) if velocities is None else velocities
    assert fast.times is not None and fast.velocities is not None
    return Points(
        torch.cat([points.positions.float(), fast.positions]),
        torch.cat([points.colors.float(), fast.colors]),
        torch.cat([times, fast.times]),
        torch.cat([velocities, fast.velocities]),
    )


def without_crowded(points: Points, count: int) -> Points:
    """The points but for `count` that are nearest to another one of their instant: of two that are
    nearest to each other one stays."""
    if count <= 0:
        return points
    positions = points.positions.double().cpu()
    apart = torch.full((len(positions),), torch.inf, dtype=torch.float64)
    for rows in _by_instant(points.times, len(positions)):
        if len(rows) < 2:
            continue
        own = positions[rows].numpy()
        distances, beside = cKDTree(own).query(own, k=2)
        beside, order = torch.from_numpy(beside[:, 1]), torch.arange(len(rows))
        spared = (beside[beside] == order) & (order < beside)
        apart[rows] = torch.from_numpy(distances[:, 1]).where(~spared, torch.inf)
    kept = apart.argsort(stable=True)[count:].sort().values
    return points.take(kept)


def _by_instant(times: Float[Tensor, "n"] | None, count: int) -> list[Int[Tensor, "m"]]:
    """Numbers of the points of each instant; of none are one."""
    if times is None:
        return [torch.arange(count)]
    of_none = times.isnan()
    groups = [of_none, *(times == time for time in times[~of_none].unique())]
    return [group.nonzero().squeeze(1) for group in groups]


def _spacings(
    positions: Float[Tensor, "n 3"], times: Float[Tensor, "n"] | None
) -> Float[Tensor, "n"]:
    """Distances to the neighbours of the same instant: the same thing at two is none of its own."""
    found = torch.empty(len(positions))
    for rows in _by_instant(times, len(positions)):
        found[rows] = neighbour_distances(positions[rows])
    return found


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
