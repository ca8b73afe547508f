"""Normals of Gaussians, blended as further channels of a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from splat.math import rotation_matrices
from splat.types import Camera, Gaussians, Needs, Rendered

Draw = Callable[[Gaussians, Needs], Rendered]


def facing_normals(gaussians: Gaussians, camera: Camera) -> Float[Tensor, "n 3"]:
    """The shortest axis of each Gaussian, turned towards the camera: world axes, unit length.

    It is the normal of a flat Gaussian (Jiang et al. 2024, GaussianShader). Differentiable in the
    quaternions.
    """
    shortest = gaussians.scales.detach().argmin(1)
    axes = rotation_matrices(gaussians.quats)
    axis = axes.gather(2, shortest[:, None, None].expand(-1, 3, 1)).squeeze(2)
    with torch.no_grad():
        away = gaussians.means - camera.centre.to(gaussians.means)
        sign = 1 - 2 * ((axis * away).sum(1, keepdim=True) > 0).to(axis.dtype)
    return axis * sign


def with_normals(draw: Draw, gaussians: Gaussians, camera: Camera, needs: Needs) -> Rendered:
    """The picture that `draw` makes, with blended normals where `needs` asks for them."""
    if not needs.normal:
        return draw(gaussians, needs)
    normals = facing_normals(gaussians, camera)
    own = gaussians.features
    features = normals if own is None else torch.cat([own, normals], 1)
    rendered = draw(replace(gaussians, features=features), replace(needs, normal=False))
    assert rendered.features is not None
    return replace(
        rendered,
        gaussians=gaussians,
        features=None if own is None else rendered.features[..., :-3],
        normal=rendered.features[..., -3:],
    )
