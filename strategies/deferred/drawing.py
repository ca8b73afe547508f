"""Deferred shading: materials and normals are blended first, then each pixel is shaded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from splat.strategies.deferred.color import displayed
from splat.strategies.deferred.light import Lit
from splat.strategies.deferred.shading import parts, unit
from splat.types import Camera, Contributions, Gaussians, Needs, Rendered, Renderer

CHANNELS = 5
"""Features of a Gaussian with a material: roughness, metallic, normal (world axes)."""
FAINTEST = 1 / 255
"""Alpha of pixels that are too faint to be shaded."""


@dataclass(frozen=True)
class Maps:
    """What is seen of materials in a picture: blended values over alpha, 0 where nothing is."""

    albedo: Float[Tensor, "h w 3"]
    """Linear."""
    roughness: Float[Tensor, "h w"]
    metallic: Float[Tensor, "h w"]
    normal: Float[Tensor, "h w 3"]
    """World axes, unit length."""


def has_materials(gaussians: Gaussians) -> bool:
    """Whether a set carries materials: its colours are then albedo, as harmonics of degree 0.

    A set whose colours were replaced by plain ones, to show something else, is not shaded.
    """
    features = gaussians.features
    return gaussians.sh_degree == 0 and features is not None and features.shape[1] == CHANNELS


def maps_of(rendered: Rendered) -> Maps:
    """The materials that `Shaded` left in a picture's features; raises ValueError without them."""
    features = rendered.features
    if features is None or features.shape[-1] != CHANNELS + 3:
        raise ValueError(
            "the picture has no maps of materials; expected one that was drawn by a run of deferred"
        )
    seen = (rendered.alpha > FAINTEST)[..., None]
    values = (features / rendered.alpha.clamp_min(FAINTEST)[..., None]).where(seen, 0)
    return Maps(
        albedo=values[..., CHANNELS:],
        roughness=values[..., 0],
        metallic=values[..., 1],
        normal=normalize(values[..., 2:CHANNELS], dim=-1),
    )


class Shaded:
    """A renderer that shades sets with materials, and draws others as they are.

    In the picture of such a set, `features` are blended roughness, metallic, normal (3) and albedo
    (3, linear).
    """

    def __init__(
        self,
        render: Renderer,
        light: Callable[[], Lit],
        *,
        albedo_scale: Float[Tensor, "3"] | None = None,
        surrounded: bool = False,
    ) -> None:
        """Draw with `render`, under `light`, albedo times `albedo_scale`; with `surrounded` the
        light itself is the background."""
        self.device, self._render, self._light = render.device, render, light
        self._albedo_scale, self._surrounded = albedo_scale, surrounded

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = Needs(),  # noqa: B008
        background: Float[Tensor, "3"] | None = None,
    ) -> Rendered:
        if not has_materials(gaussians):
            return self._render(gaussians, camera, needs, background)
        drawn = self._render(gaussians, camera, replace(needs, normal=False), None)
        return self._shaded(drawn, camera, background, normal=needs.normal)

    def survey(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Float[Tensor, "3"] | None = None,
        weigh: Callable[[Rendered], Float[Tensor, "h w m"]] | None = None,
    ) -> tuple[Rendered, Contributions]:
        """As every renderer; `Contributions.squared` is of the albedo, before it is shaded."""
        if not has_materials(gaussians):
            return self._render.survey(gaussians, camera, background, weigh)
        pictures: list[Rendered] = []

        def lit(drawn: Rendered) -> Float[Tensor, "h w m"]:
            pictures.append(self._shaded(drawn, camera, background))
            return drawn.image[..., :0] if weigh is None else weigh(pictures[-1])

        _, found = self._render.survey(gaussians, camera, None, lit)
        return pictures[-1], found

    def parts(
        self, gaussians: Gaussians, camera: Camera
    ) -> tuple[Float[Tensor, "h w 3"], Float[Tensor, "h w 3"]]:
        """The diffuse and the specular part of a picture over black, linear RGB."""
        drawn = self._render(gaussians, camera, Needs(), None)
        pixels = _solid(drawn.alpha)
        alpha, found = self._parts(drawn, camera, pixels, self._light())
        diffuse, specular = (_spread(alpha * part, pixels, drawn.alpha) for part in found)
        return diffuse, specular

    def _shaded(
        self,
        drawn: Rendered,
        camera: Camera,
        background: Float[Tensor, "3"] | None,
        *,
        normal: bool = False,
    ) -> Rendered:
        assert drawn.features is not None
        light, pixels = self._light(), _solid(drawn.alpha)
        alpha, (diffuse, specular) = self._parts(drawn, camera, pixels, light)
        color = displayed(diffuse + specular)
        image = _spread(alpha * color, pixels, drawn.alpha)
        if self._surrounded:
            every = torch.arange(drawn.alpha.numel(), device=pixels.device)
            behind = displayed(light.seen(rays(camera, every))).T.reshape(image.shape)
            image = image + (1 - drawn.alpha)[..., None] * behind
        elif background is not None:
            image = image + (1 - drawn.alpha)[..., None] * background
        return replace(
            drawn,
            image=image,
            features=torch.cat([drawn.features, drawn.image], -1),
            normal=drawn.features[..., 2:CHANNELS] if normal else None,
        )

    def _parts(
        self, drawn: Rendered, camera: Camera, pixels: Int[Tensor, "n"], light: Lit
    ) -> tuple[Float[Tensor, "n"], tuple[Float[Tensor, "3 n"], Float[Tensor, "3 n"]]]:
        """Alpha and both parts of some pixels, given by their numbers."""
        assert drawn.features is not None
        whole = torch.cat([drawn.image, drawn.features, drawn.alpha[..., None]], -1)
        found: Tensor = _Taken.apply(whole.flatten(0, 1), pixels)  # type: ignore[no-untyped-call]
        alpha = found[-1]
        values = found[:5] / alpha
        albedo = values[:3]
        if self._albedo_scale is not None:
            albedo = albedo * self._albedo_scale.to(albedo)[:, None]
        normal, view = unit(found[5:8]), -unit(rays(camera, pixels))
        return alpha, parts(albedo, values[3], values[4], normal, view, light)


def rays(camera: Camera, pixels: Int[Tensor, "n"]) -> Float[Tensor, "3 n"]:
    """World directions through the middles of pixels, numbered row by row; depth 1."""
    camera = camera.to(pixels.device)
    pose, K = camera.world_to_camera, camera.K
    x = (pixels % camera.width + 0.5 - K[0, 2]) / K[0, 0]
    y = (pixels // camera.width + 0.5 - K[1, 2]) / K[1, 1]
    return pose[:3, :3].T @ torch.stack([x, y, torch.ones_like(x)])


def _solid(alpha: Float[Tensor, "h w"]) -> Int[Tensor, "n"]:
    """Numbers of the pixels that are not too faint."""
    return (alpha.detach().flatten() > FAINTEST).nonzero().squeeze(1)


def _spread(
    values: Float[Tensor, "3 n"], pixels: Int[Tensor, "n"], like: Float[Tensor, "h w"]
) -> Float[Tensor, "h w 3"]:
    """A picture of the values of some pixels, black elsewhere."""
    found: Tensor = _Spread.apply(values, pixels, like.numel())  # type: ignore[no-untyped-call]
    return found.view(*like.shape, 3)


class _Taken(torch.autograd.Function):
    """Some rows, each once, as columns: their gradients need no sums."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.count = len(whole)
        return whole.index_select(0, rows).T.contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        gradient: Tensor = gradients[0].T.contiguous()
        whole = gradient.new_zeros(ctx.count, gradient.shape[1])
        return whole.index_copy_(0, rows, gradient), None


class _Spread(torch.autograd.Function):
    """Columns put as rows to their places among others that are zero."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(rows)
        return values.new_zeros(count, len(values)).index_copy_(0, rows, values.T.contiguous())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        return gradients[0].index_select(0, rows).T.contiguous(), None, None
