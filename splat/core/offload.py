"""Offloading: rows whose harmonics and moments are in the machine's memory, not in the GPU's.

They are nine tenths of what a Gaussian takes, and a picture of a large scene shows few of its
Gaussians. So places, sizes and opacities stay on the GPU, where they say which rows may show; the
harmonics of these are brought there to be drawn, and their moments for Adam's step, which moves the
rows in sight only (the division of CLM, Zhao et al. 2025, "CLM: removing the GPU memory barrier for
3D Gaussian Splatting"; Differs: opacities, sizes and turns stay on the GPU, one picture at a time
is drawn, and copies wait for each other).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.kernels import Brought, Harmonics
from splat.types import Camera, Contributions, Gaussians, Needs, Rendered, Renderer

_REACH = 3.4
"""Standard deviations beyond which no Gaussian is drawn (3.33), and a little more."""
_LOW_PASS = 1.0
"""Pixels squared, at least what renderers widen a Gaussian by."""
_SLACK = 2.0
"""Pixels that rounding takes at most."""


def kept_by(device: torch.device) -> Callable[[Tensor], Tensor]:
    """Copies tensors to host memory; ValueError where the device has no memory of its own."""
    if device.type != "cuda":
        raise ValueError(
            f"offload keeps Gaussians from the memory of a GPU, and the device is {device.type};"
            " leave it out, --moments bfloat16 and --harmonics bfloat16 save memory there"
        )
    return pinned


def pinned(values: Tensor) -> Tensor:
    """A copy in pinned host memory, which a GPU reads by itself."""
    return values.detach().to("cpu").contiguous().pin_memory()


class OffloadRenderer:
    """Draws sets whose colours may be offloaded: what is in the frustum is brought to the device.

    Pictures, gradients and statistics of every Gaussian are as if all were drawn.
    """

    def __init__(self, render: Renderer) -> None:
        """Draw by `render`, on its device."""
        self.device, self._render = render.device, render

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = Needs(),  # noqa: B008
        background: Float[Tensor, "3"] | None = None,
    ) -> Rendered:
        gaussians = gaussians.at(camera.time)
        rows, part = self._brought(gaussians, camera)
        drawn = self._render(part, camera, needs, background)
        whole = _spread(drawn, gaussians, rows)
        gradient = drawn.gradient

        def spread_gradient(_: Tensor) -> None:
            # All that backward leaves on screen is there once the means have their gradient.
            for name in ("signed", "absolute", "sums"):
                values = getattr(gradient, name)
                if values is not None:
                    setattr(gradient, name, _out(values, rows, len(gaussians)))

        if part.means.requires_grad:
            part.means.register_hook(spread_gradient)
        return whole

    @torch.no_grad()
    def survey(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Float[Tensor, "3"] | None = None,
        weigh: Callable[[Rendered], Float[Tensor, "h w m"]] | None = None,
    ) -> tuple[Rendered, Contributions]:
        gaussians = gaussians.at(camera.time)
        rows, part = self._brought(gaussians, camera)

        def weigh_whole(drawn: Rendered) -> Float[Tensor, "h w m"]:
            assert weigh is not None
            return weigh(_spread(drawn, gaussians, rows))

        drawn, contributions = self._render.survey(
            part, camera, background, None if weigh is None else weigh_whole
        )
        columns = {
            f.name: _out(getattr(contributions, f.name), rows, len(gaussians))
            for f in fields(contributions)
        }
        return _spread(drawn, gaussians, rows), Contributions(**columns)

    def _brought(self, gaussians: Gaussians, camera: Camera) -> tuple[Int[Tensor, "m"], Gaussians]:
        """Row numbers in the frustum, on the device, and these Gaussians."""
        shown = rows_in_frustum(gaussians.means, gaussians.scales, camera)
        rows = shown.to(self.device)

        def some(values: Tensor) -> Tensor:
            at = rows if values.device == rows.device else shown.to(values.device)
            return values.index_select(0, at).to(self.device)

        def harmonics(colors: Tensor) -> Tensor:
            if not (isinstance(colors, Harmonics) and colors.requires_grad):
                return some(colors)
            if not torch.is_grad_enabled():
                return some(colors.detach())
            leaf = Harmonics(some(colors.detach()))
            colors.brought.append(Brought(rows, leaf))
            return leaf

        return rows, Gaussians(
            means=some(gaussians.means),
            quats=some(gaussians.quats),
            scales=some(gaussians.scales),
            opacities=some(gaussians.opacities),
            colors=harmonics(gaussians.colors),
            sh_degree=gaussians.sh_degree,
            features=None if gaussians.features is None else some(gaussians.features),
        )


@torch.no_grad()
def rows_in_frustum(
    means: Float[Tensor, "n 3"], scales: Float[Tensor, "n 3"], camera: Camera
) -> Int[Tensor, "m"]:
    """Frustum culling: rows that a renderer may draw for a camera, ascending, and a few more.

    A Gaussian reaches, on screen, `_REACH` times its largest scale times the largest slope of the
    projection there, which renderers hold within 0.3 half pictures beyond the edges.
    """
    pose, K = camera.world_to_camera.detach().to(means), camera.K.detach().to(means)
    z = means @ pose[2, :3] + pose[2, 3]
    depth = z.clamp_min(1e-12)
    inside = z > 0
    largest = scales.amax(1) / depth
    for axis, size in ((0, camera.width), (1, camera.height)):
        focal, centre = K[axis, axis], K[axis, 2]
        beyond = 0.3 * 0.5 * size / focal
        slope = torch.maximum((size - centre) / focal, centre / focal).abs() + beyond
        place = focal * (means @ pose[axis, :3] + pose[axis, 3]) / depth + centre
        spread = ((focal * largest).square() * (1 + slope.square()) + _LOW_PASS).sqrt()
        reach = _REACH * spread + _SLACK
        inside &= (place + reach > 0) & (place - reach < size)
    return inside.nonzero().squeeze(1)


def _out(values: Tensor, rows: Int[Tensor, "m"], n: int) -> Tensor:
    """Values of some rows, scattered among zeros for all `n`."""
    return values.new_zeros(n, *values.shape[1:]).index_copy_(0, rows, values)


def _spread(drawn: Rendered, gaussians: Gaussians, rows: Int[Tensor, "m"]) -> Rendered:
    """A picture of some rows as one of all: the others have radius 0."""
    return replace(
        drawn,
        radii=_out(drawn.radii, rows, len(gaussians)),
        gaussians=gaussians,
    )
