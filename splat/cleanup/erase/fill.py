"""New Gaussians where things were taken out: only what several views agree on and none sees past.

Each view fills its own hole (`splat.cleanup.erase.inpaint`); views then vote on every point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from splat.cleanup.choices import Fill
from splat.cleanup.erase.agree import Sheet, agreed_points, proposal_of
from splat.cleanup.erase.look import Look, photographed_rows, view_without
from splat.cleanup.erase.vote import constant_map
from splat.math import quaternions, sh_from_rgb
from splat.types import Camera, Gaussians, Renderer

_OPACITY = 0.95
_WIDE, _FLAT = 0.75, 0.08
"""Standard deviations along and across the surface, in spacings of the new rows."""


@dataclass(frozen=True)
class Filled:
    """New Gaussians for the holes, and how they came about."""

    rows: Gaussians | None
    """New ones; None where no point was agreed on."""
    holes: int
    """Number of views with a hole."""
    points: int
    """Points that the views proposed."""
    agreed: int
    """Points that enough views agreed on and none saw past."""
    buried: Bool[Tensor, "n"]
    """Rows to keep that show in holes only and that no photo ever saw: what was hidden in the
    things that are gone. They stand in the way of the new ones."""


def filled_holes(
    whole: Gaussians,
    keep: Bool[Tensor, "n"],
    cameras: Sequence[Camera],
    render: Renderer,
    background: Float[Tensor, "3"] | None = None,
    options: Fill = Fill(),  # noqa: B008
    shown: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Filled:
    """New rows for the holes that show once only the rows to keep are left; all in one frame."""
    trusted = photographed_rows(whole, keep, cameras, render, background, shown)
    looks = [view_without(whole, keep, trusted, camera, render, background) for camera in cameras]
    proposals = [proposal_of(look) for look in looks]
    sheet, points = agreed_points(proposals, options)
    holes = sum(bool(look.hole.any()) for look in looks)
    rows = _rows(_thinned(sheet), whole) if len(sheet.places) else None
    buried = keep.clone()
    buried[keep] = _buried(whole.take(keep), looks, render) & ~trusted
    return Filled(rows, holes, points, len(sheet.places), buried)


@torch.no_grad()
def _buried(left: Gaussians, looks: Sequence[Look], render: Renderer) -> Bool[Tensor, "m"]:
    """Rows of which most of the blending weight lies in holes."""
    inside = torch.zeros(2, len(left), dtype=torch.float64, device=left.means.device)
    for look in looks:
        hole = torch.from_numpy(look.hole).to(render.device).float()[..., None]
        survey = render.survey(
            left, look.camera.to(render.device), None, partial(constant_map, hole)
        )[1]
        inside[0] += survey.weighted[:, 0]
        inside[1] += survey.mass
    return inside[0] > 0.5 * inside[1]


def _thinned(sheet: Sheet) -> Sheet:
    """Means over the cells of a grid as wide as points of the middle view are apart."""
    cell = float(np.median(sheet.size))
    keys = np.floor(sheet.places / cell).astype(np.int64)
    _, number, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    number = number.reshape(-1)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = [np.bincount(number, column, len(counts)) for column in values.T]
        return np.asarray(np.stack(sums, 1) / counts[:, None])

    normal = mean(sheet.normals)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return Sheet(mean(sheet.places), normal, mean(sheet.colors), np.full(len(counts), cell))


def _rows(sheet: Sheet, like: Gaussians) -> Gaussians:
    """Flat Gaussians, of the kind of colours that others have."""
    normal, n = torch.from_numpy(sheet.normals), len(sheet.places)
    other = torch.eye(3, dtype=normal.dtype)[normal.abs().argmin(1)]
    first = torch.nn.functional.normalize(torch.linalg.cross(normal, other), dim=1)
    turn = torch.stack([first, torch.linalg.cross(normal, first), normal], -1)
    wide = torch.from_numpy(sheet.size).float()
    rgb = torch.from_numpy(sheet.colors).float()
    tints = rgb
    if like.sh_degree is not None:
        tints = torch.zeros(n, like.colors.shape[1], 3)
        tints[:, 0] = sh_from_rgb(rgb)
    return Gaussians(
        means=torch.from_numpy(sheet.places).float(),
        quats=quaternions(turn).float(),
        scales=torch.stack([_WIDE * wide, _WIDE * wide, _FLAT * wide], 1),
        opacities=torch.full((n,), _OPACITY),
        colors=tints,
        sh_degree=like.sh_degree,
    ).to(like.means.device)
