"""One set for all views: Gaussians shaded one by one, as harmonics of where they are seen from."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from splat.kernels.harmonics import basis
from splat.math import rotation_matrices
from splat.strategies.deferred.color import displayed
from splat.strategies.deferred.light import Lit
from splat.strategies.deferred.shading import shade
from splat.types import Gaussians

FROM_BEHIND = 0.01
"""How much a direction that sees a Gaussian from inside counts, over one that sees it squarely."""
MOST = 1 << 18
"""Gaussians times directions that are shaded at once."""


def baked(
    plain: Gaussians,
    roughness: Float[Tensor, "n"],
    metallic: Float[Tensor, "n"],
    normals: Float[Tensor, "n 3"],
    light: Lit,
    degree: int,
) -> Gaussians:
    """A detached set with harmonics of `degree`; the colours of `plain` are albedo.

    The coefficients are the least squares over eyes all around, each counting by the cosine to the
    normal.
    """
    count = 4 * (degree + 1) ** 2
    away = _around(count).to(normals)
    # Harmonics are of the direction from the eye to the Gaussian.
    waves = basis(-away.double(), degree)
    found = []
    rows = torch.arange(len(normals), device=normals.device)
    for part in rows.split(max(1, MOST // count)):
        normal, m = normals[part], len(part)

        def each(values: Tensor) -> Tensor:
            return values.detach()[part].repeat_interleave(count, 0)  # noqa: B023

        seen = away.repeat(m, 1)
        color = shade(
            each(plain.colors), each(roughness), each(metallic), each(normals), seen, light
        )
        target = displayed(color).view(m, count, 3).double() - 0.5
        weight = (normal @ away.T).clamp_min(0).double() + FROM_BEHIND
        heavy = waves.T[None] * weight[:, None]
        found.append(torch.linalg.solve(heavy @ waves, heavy @ target).float())
    return Gaussians(
        means=plain.means.detach().clone(),
        quats=normalize(plain.quats.detach(), dim=-1),
        scales=plain.scales.detach(),
        opacities=plain.opacities.detach(),
        colors=torch.cat(found) if found else normals.new_zeros(0, (degree + 1) ** 2, 3),
        sh_degree=degree,
    )


def outward(plain: Gaussians, seen_from: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The shortest axes on the side of `seen_from`; where it is 0, away from the middle of all."""
    shortest = plain.scales.detach().argmin(1)[:, None, None].expand(-1, 3, 1)
    axes = rotation_matrices(plain.quats.detach()).gather(2, shortest).squeeze(2)
    weight = plain.opacities.detach()[:, None]
    means = plain.means.detach()
    middle = (weight * means).sum(0) / weight.sum().clamp_min(1e-12)
    known = (seen_from != 0).any(1, keepdim=True)
    side = (axes * torch.where(known, seen_from, means - middle)).sum(1, keepdim=True)
    return torch.where(side < 0, -axes, axes)


def _around(count: int) -> Float[Tensor, "c 3"]:
    """Directions spread evenly (a Fibonacci sphere)."""
    place = torch.arange(count, dtype=torch.float64) + 0.5
    up = 1 - 2 * place / count
    turn = math.pi * (3 - math.sqrt(5)) * place
    level = (1 - up * up).sqrt()
    return torch.stack([level * turn.cos(), level * turn.sin(), up], 1)
