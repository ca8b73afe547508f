"""Audio points: places of a trained scene that shape what is heard there.

AV-GS (Bhosale et al. 2024) copies the points of a trained scene into a set of their own and gives
each a vector of audio guidance that begins with its physical attributes. Ours are thinned first, to
one in each cell of a grid that cameras have seen something in, so that every square metre of wall
begins with about as many (`avgs-inspired`).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.types import Gaussians

GUIDANCE = 16
"""Numbers of a point's guidance: what is physical first, then zeros, which are learned."""
SEEN = 0.85
"""Share of all that cameras saw which the cells with points hold: the rest is mostly astray."""
AROUND = 16
"""Neighbours whose plane a point's normal is across."""
GREY = 0.28209479177387814
"""The constant harmonic."""


@torch.no_grad()
def born(
    gaussians: Gaussians, mass: Float[Tensor, "n"], count: int, metres: float
) -> dict[str, Tensor]:
    """Columns of about `count` audio points, or of fewer where there is less to see; 0: of none.

    `mass` is what each Gaussian weighs in all training views (`Contributions.mass`). `mean` [N, 3]
    in the frame of the Gaussians, `normal` [N, 3] of either sign, `guidance` [N, 16]: colour less
    grey (3), opacity, logs of the three sizes from large to small in metres, the upward share of
    the normal; then zeros. Beside them the column `mass` [N], what a point counts for: 1. `metres`
    is what one unit of the frame is.
    """
    rows = thinned(gaussians.means, mass, count) if count else torch.arange(0)
    found = gaussians.take(rows)
    heavy = mass > mass.sum() / (10 * len(mass))
    normal = normals(gaussians.means[heavy], found.means)
    rgb = found.colors[:, 0] * GREY if found.colors.dim() == 3 else found.colors - 0.5
    size = (found.scales * metres).clamp_min(1e-4).log().sort(1, descending=True).values
    known = torch.cat(
        [2 * rgb, found.opacities[:, None] - 0.5, (size + 4) / 4, normal[:, 2:].abs() - 0.5], 1
    )
    guidance = known.new_zeros(len(rows), GUIDANCE)
    guidance[:, : known.shape[1]] = known
    return {
        "mean": found.means.clone(),
        "normal": normal,
        "mass": known.new_ones(len(rows)),
        "guidance": guidance,
    }


def thinned(places: Float[Tensor, "n 3"], mass: Float[Tensor, "n"], count: int) -> Int[Tensor, "m"]:
    """The heaviest row of each cell of a cubic grid, ascending.

    Of all cells those that weigh most, until `SEEN` of the mass is reached; the grid is the finest
    that has at most `count` of those.
    """
    if not bool(mass.sum() > 0):
        raise ValueError(
            "no Gaussian of the scene is seen by a camera, and so there is no surface that sound"
            " could meet; expected a trained scene: train it longer"
        )
    low = places.amin(0)
    places = places - low
    near, far = 1e-6, float(places.amax()) + 1e-6
    for _ in range(40):
        middle = (near * far) ** 0.5
        near, far = (middle, far) if _heavy(places, mass, middle)[1] > count else (near, middle)
    cell, many, ranks = _heavy(places, mass, far)
    # By cell, and in each by mass: the last of a cell is its heaviest.
    order = mass.argsort(stable=True)
    order = order[cell[order].argsort(stable=True)]
    best = order[torch.bincount(cell).cumsum(0) - 1]
    return best[ranks[:many]].sort().values


def _heavy(
    places: Float[Tensor, "n 3"], mass: Float[Tensor, "n"], side: float
) -> tuple[Int[Tensor, "n"], int, Int[Tensor, "c"]]:
    """The cell of each row, how many cells are wanted, and cells by weight."""
    x, y, z = (places / side).long().unbind(1)
    _, cell = torch.unique((x * 2_097_152 + y) * 2_097_152 + z, return_inverse=True)
    sums = torch.zeros(int(cell.max()) + 1, dtype=torch.float64, device=mass.device)
    sums.index_add_(0, cell, mass.double())
    ranks = sums.argsort(descending=True, stable=True)
    many = int((sums[ranks].cumsum(0) < SEEN * sums.sum()).sum()) + 1
    return cell, many, ranks


def normals(cloud: Float[Tensor, "n 3"], places: Float[Tensor, "m 3"]) -> Float[Tensor, "m 3"]:
    """Unit normals, of either sign: across the plane of the nearest points of a cloud."""
    from scipy.spatial import cKDTree

    tree = cKDTree(cloud.double().numpy())
    _, near = tree.query(places.double().numpy(), min(AROUND, len(cloud)))
    around = cloud.double()[torch.from_numpy(near)]
    apart = around - around.mean(1, keepdim=True)
    _, axes = torch.linalg.eigh(apart.mT @ apart)
    found: Tensor = axes[..., 0]
    return found.to(places.dtype)
