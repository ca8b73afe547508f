"""Terms of the loss that keep materials and light plausible where pictures leave them open."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from splat.core.objective import Objective
from splat.core.step import Step
from splat.strategies.deferred.drawing import FAINTEST, has_materials, rays
from splat.strategies.deferred.model import Relightable
from splat.strategies.deferred.shading import unit
from splat.types import Needs

EDGE = 10.0
"""How fast smoothness gives way where the photo changes, per unit of colour."""
SOLID = 0.5
"""Alpha above which a pixel is seen in full."""
LEAST = 1e-3
"""How near alpha comes to 0 and 1 where it is compared with an outline."""
ALBEDO_SHARE = 0.1
"""Of the weight of albedo over that of roughness and metallic."""


@dataclass(frozen=True)
class SmoothMaterials(Objective):
    """weight * mean over pixels, right and below, of |difference of a map| exp(-10 |difference of
    the photo|), summed over roughness, metallic and a tenth of albedo.

    So materials change where the photo does (bilateral smoothness, as GS-ROR2 and others have it).
    Maps are blended values over alpha; pixels that are not seen in full do not count.
    """

    weight: float = 0.01

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        rendered = step.rendered
        features = rendered.features
        if features is None or not has_materials(rendered.gaussians):
            return rendered.image.new_zeros(())
        alpha = rendered.alpha
        maps = torch.cat([features[..., :2], ALBEDO_SHARE / 3 * features[..., 5:]], -1)
        maps = maps.permute(2, 0, 1) / alpha.clamp_min(FAINTEST)
        seen = (alpha.detach() > SOLID).to(maps.dtype)
        photo = step.batch.image
        total = maps.new_zeros(())
        for axis in (0, 1):
            n = alpha.shape[axis] - 1
            change = maps.narrow(axis + 1, 1, n) - maps.narrow(axis + 1, 0, n)
            edge = (photo.narrow(axis, 1, n) - photo.narrow(axis, 0, n)).abs_().mean(-1)
            both = seen.narrow(axis, 1, n) * seen.narrow(axis, 0, n) * (-EDGE * edge).exp_()
            total = total + (change.abs() * both).sum()
        return self.weight * total / seen.numel()


@dataclass(frozen=True)
class NormalsOfDepth(Objective):
    """weight * mean over pixels of alpha (1 - n . m), n being the blended normal and m that of the
    depth map: the direction across the points of the pixels around (as GaussianShader and 2DGS).

    Both move. Pixels whose neighbours are not all seen in full do not count.
    """

    weight: float = 0.2
    needs = Needs(depth=True, normal=True)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        rendered, camera = step.rendered, step.batch.camera
        depth, normal, alpha = rendered.depth, rendered.normal, rendered.alpha
        assert depth is not None and normal is not None
        height, width = depth.shape
        if min(height, width) < 3:
            return depth.new_zeros(())
        ahead = rays(camera, torch.arange(height * width, device=depth.device))
        points = depth * ahead.view(3, height, width)
        across = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
        down = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
        # Right and down, seen from the camera: their product points away from it.
        surface = unit(torch.linalg.cross(down, across, dim=0))
        solid = (alpha.detach() > SOLID).to(depth.dtype)
        inside = solid[1:-1, 2:] * solid[1:-1, :-2] * solid[2:, 1:-1] * solid[:-2, 1:-1]
        blended = unit(normal[1:-1, 1:-1].permute(2, 0, 1))
        cosine = (blended * surface).sum(0)
        return self.weight * (inside * (1 - cosine)).sum() / depth.numel()


@dataclass(frozen=True)
class Outline(Objective):
    """weight * mean cross entropy of alpha with the outline of what is photographed, of photos that
    have one (as GS-ROR2): black before a black background is otherwise as good as nothing."""

    weight: float = 0.2
    needs = Needs(outline=True)

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        alpha, outline = step.rendered.alpha, step.batch.outline
        if outline is None:
            return alpha.new_zeros(())
        inside = outline.to(alpha.dtype) / 255
        return self.weight * binary_cross_entropy(alpha.clamp(LEAST, 1 - LEAST), inside)


@dataclass(frozen=True)
class Flat(Objective):
    """weight * mean of the shortest scale over rows, world units of training: what is flat has a
    normal (as GaussianShader, Jiang et al. 2024)."""

    weight: float = 1.0

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        return self.weight * step.rendered.gaussians.scales.amin(1).mean()


@dataclass(frozen=True)
class NeutralLight(Objective):
    """weight * mean over texels and channels of |radiance - the texel's mean over channels|.

    What colours an object may be its own or the light's: the light is taken for white as far as
    pictures allow (as in nvdiffrec, Munkberg et al. 2022).
    """

    weight: float = 0.05

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        model = step.model.core
        if not isinstance(model, Relightable):
            return step.rendered.image.new_zeros(())
        panorama = model.light.panorama
        return self.weight * (panorama - panorama.mean(-1, keepdim=True)).abs().mean()
