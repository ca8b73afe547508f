"""Quantisation-aware training: in the last phase of a run drawn is what a compressed file would
give back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from splat import formats
from splat.core.frame import gaussians_from_frame, gaussians_to_frame
from splat.formats.settings import Settings
from splat.render.quantised import QuantisedRenderer
from splat.types import Frame, Gaussians, Renderer

FITTED_SELDOM = (".sog", ".tsog")
"""Formats whose codebooks take too long to be made at every step."""


class Quantisation:
    """Quantises every step's Gaussians as a format will, from a step on.

    The gradient of what is drawn goes to what it was rounded from, as it is (a straight-through
    estimator, Bengio et al. 2013). As it stands nothing is remembered: bounds and codes are those
    of the step's own rows, so that a resumed run goes on exactly.
    """

    def __init__(
        self,
        suffix: str,
        frame: Frame,
        start: int,
        settings: Settings = Settings(),  # noqa: B008
        *,
        fitted_every: int = 1,
        weights: Tensor | None = None,
    ) -> None:
        """Files end in `suffix` and lie in the frame of the input; `frame` is that of training.

        `start` is the number of steps done before the first one that is rounded. With
        `fitted_every` above 1 bounds and codebooks are made anew that seldom: for runs that are
        not resumed and whose rows stay. `weights` is how much of each row views see
        (`formats.write`).
        """
        offered = [
            known_suffix
            for known_suffix in formats.suffixes(written=True)
            if fitted_every > 1 or known_suffix not in FITTED_SELDOM
        ]
        if suffix not in offered:
            raise ValueError(
                f"finish-for is {suffix!r}; expected a format that rounds each step's Gaussians by"
                f" themselves: {', '.join(offered)}"
            )
        self._suffix, self._frame, self._start = suffix, frame, start
        self._settings = settings.for_views()
        self._every = fitted_every
        self._weights = weights
        self._fitted: Callable[[Gaussians], Gaussians] | None = None

    def __call__(self, gaussians: Gaussians, step: int) -> Gaussians:
        """What to draw in step `step`."""
        if step < self._start:
            return gaussians
        if gaussians.colors.dtype == torch.bfloat16:
            # What is read back from the file is no bfloat16.
            gaussians = replace(gaussians, colors=gaussians.colors.float())
        rounded = self._rounded(gaussians, step)
        # The file has unit quaternions; with their own length the gradient is that of the length.
        length = gaussians.quats.detach().norm(dim=1, keepdim=True)
        return replace(
            gaussians,
            means=_through(gaussians.means, rounded.means),
            quats=_through(gaussians.quats, rounded.quats * length),
            scales=_through(gaussians.scales, rounded.scales),
            opacities=_through(gaussians.opacities, rounded.opacities),
            colors=_through(gaussians.colors, rounded.colors),
        )

    @torch.no_grad()
    def _rounded(self, gaussians: Gaussians, step: int) -> Gaussians:
        plain = Gaussians(
            means=gaussians.means.detach(),
            quats=gaussians.quats.detach(),
            scales=gaussians.scales.detach(),
            opacities=gaussians.opacities.detach(),
            colors=gaussians.colors.detach(),
            sh_degree=gaussians.sh_degree,
        )
        in_input = gaussians_from_frame(plain, self._frame)
        if self._fitted is None or (step - self._start) % self._every == 0:
            self._fitted = formats.quantiser(
                self._suffix, in_input, self._settings, self._weights, self._fitted
            )
        return gaussians_to_frame(self._fitted(in_input), self._frame)

    def drawn_by(self, render: Renderer, step: int) -> Renderer:
        """A renderer of Gaussians as they are read back from the file, after `step` steps."""
        return QuantisedRenderer(render, self, step)


def steps_before_rounding(steps: int, share: float) -> int:
    """Steps done before the first one that is quantised."""
    return round((1 - share) * steps)


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, rounded: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        if value.shape == rounded.shape:
            return rounded.to(value.dtype).clone()
        # Bands that the format leaves out, or that are not in use yet, are drawn as nothing.
        whole = torch.zeros_like(value)
        whole[:, : rounded.shape[1]] = rounded
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, None]:
        return gradients[0], None


def _through(value: Tensor, rounded: Tensor) -> Tensor:
    result: Tensor = _Through.apply(value, rounded)  # type: ignore[no-untyped-call]
    return result
