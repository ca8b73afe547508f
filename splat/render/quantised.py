"""Pictures of Gaussians that are quantised first, as a file will hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from splat.types import Camera, Contributions, Gaussians, Needs, Rendered, Renderer


class Quantiser(Protocol):
    """Quantisation of what is drawn, by the step."""

    def __call__(self, gaussians: Gaussians, step: int) -> Gaussians:
        """The quantised set to draw in step `step`; gradients pass through it."""
        ...

    def drawn_by(self, render: Renderer, step: int) -> Renderer:
        """The renderer that quantises as after `step` steps, given one that does not."""
        ...


class Unquantised:
    """Gaussians are drawn as they are."""

    def __call__(self, gaussians: Gaussians, step: int) -> Gaussians:
        del step
        return gaussians

    def drawn_by(self, render: Renderer, step: int) -> Renderer:
        del step
        return render


AS_IT_IS = Unquantised()


class QuantisedRenderer:
    """A renderer that draws what a quantiser makes of Gaussians after a step."""

    def __init__(self, render: Renderer, quantiser: Quantiser, step: int) -> None:
        self.device, self._render = render.device, render
        self._quantiser, self._step = quantiser, step

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = Needs(),  # noqa: B008
        background: Float[Tensor, "3"] | None = None,
    ) -> Rendered:
        return self._render(self._quantiser(gaussians, self._step), camera, needs, background)

    def survey(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Float[Tensor, "3"] | None = None,
        weigh: Callable[[Rendered], Float[Tensor, "h w m"]] | None = None,
    ) -> tuple[Rendered, Contributions]:
        drawn = self._quantiser(gaussians, self._step)
        return self._render.survey(drawn, camera, background, weigh)
