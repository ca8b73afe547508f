"""Our own kernels: SIMD on the CPU, CUDA on GPUs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from splat import kernels
from splat.render.normals import with_normals
from splat.types import Camera, Contributions, Gaussians, Needs, Rendered


class NativeRenderer:
    """`splat.types.Renderer` on the CPU, or on a CUDA device.

    What it draws and its gradients are the same on both to float's rounding, and on each of them
    the same bytes every time.
    """

    def __init__(
        self,
        device: torch.device | str = "cpu",
        *,
        antialiased: bool = False,
        near: float = kernels.NEAR,
        beside: bool = True,
    ) -> None:
        self.device = torch.device(device)
        self.projection = kernels.Projection(antialiased=antialiased, near=near, beside=beside)

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = Needs(),  # noqa: B008
        background: Tensor | None = None,
    ) -> Rendered:
        def draw(gaussians: Gaussians, needs: Needs) -> Rendered:
            return self._drawn(gaussians, camera, needs, background)[0]

        return with_normals(draw, gaussians.at(camera.time), camera, needs)

    @torch.no_grad()
    def survey(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Float[Tensor, "3"] | None = None,
        weigh: Callable[[Rendered], Float[Tensor, "h w m"]] | None = None,
    ) -> tuple[Rendered, Contributions]:
        now = gaussians.at(camera.time)
        rendered, statistics = self._drawn(now, camera, Needs(), background)
        maps = None if weigh is None else weigh(rendered)
        return rendered, kernels.survey(statistics, maps)[0]

    def _drawn(
        self, gaussians: Gaussians, camera: Camera, needs: Needs, background: Tensor | None
    ) -> tuple[Rendered, kernels.Statistics]:
        if background is not None:
            background = background.to(self.device)
        image, alpha, extra, statistics = kernels.rasterize(
            gaussians.means,
            gaussians.quats,
            gaussians.scales,
            gaussians.opacities,
            gaussians.colors,
            camera.world_to_camera,
            camera.K,
            camera.width,
            camera.height,
            sh_degree=gaussians.sh_degree,
            features=gaussians.features,
            background=background,
            depth=needs.depth,
            absolute=needs.absolute_gradient,
            projection=self.projection,
        )
        rendered = Rendered(
            image=image,
            alpha=alpha,
            radii=statistics.radii,
            gaussians=gaussians,
            depth=extra[..., 0] / alpha.clamp_min(1e-10)
            if needs.depth and extra is not None
            else None,
            features=None
            if gaussians.features is None or extra is None
            else extra[..., int(needs.depth) :],
            gradient=statistics.gradient,
        )
        return rendered, statistics
