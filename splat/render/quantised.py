"""Pictures of a model whose Gaussians are rounded as a file will round them."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from splat.types import Camera, Contributions, Gaussians, Needs, Rendered, Renderer


class Finished:
    """A renderer that draws what a run that finishes for a file makes of Gaussians after a step."""

    def __init__(self, render: Renderer, finishing: Rounding, step: int) -> None:
        self.device, self._render = render.device, render
        self._finishing, self._step = finishing, step

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = Needs(),  # noqa: B008
        background: Float[Tensor, "3"] | None = None,
    ) -> Rendered:
        return self._render(self._finishing(gaussians, self._step), camera, needs, background)

    def survey(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Float[Tensor, "3"] | None = None,
        weigh: Callable[[Rendered], Float[Tensor, "h w m"]] | None = None,
    ) -> tuple[Rendered, Contributions]:
        return self._render.survey(
            self._finishing(gaussians, self._step), camera, background, weigh
        )


Rounding = Callable[[Gaussians, int], Gaussians]
