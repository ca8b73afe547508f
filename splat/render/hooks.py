"""Hooks that fill a picture's `ScreenGradient` where backward is a library's."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from splat.types import Gaussians, Needs, ScreenGradient


def screen_gradient_of(means2d: Float[Tensor, "1 n 2"]) -> ScreenGradient:
    """The screen-space gradient, filled when backward reaches the projected means."""
    gradient = ScreenGradient()
    # gsplat's backward leaves `absgrad` among the tensor's attributes. The hook holds these and
    # not the tensor, which would be a cycle that keeps a whole graph's memory alive.
    attributes = vars(means2d)

    def store(signed: Float[Tensor, "1 n 2"]) -> None:
        gradient.signed = signed[0]
        if "absgrad" in attributes:
            gradient.absolute = attributes["absgrad"][0]

    if means2d.requires_grad:
        means2d.register_hook(store)
    return gradient


def zeros_for(gaussians: Gaussians, needs: Needs) -> Float[Tensor, "n m"] | None:
    """A channel of zeros for each of the needs' weights, where there will be a backward."""
    if not (needs.weights and torch.is_grad_enabled()):
        return None
    return gaussians.means.new_zeros(len(gaussians), len(needs.weights), requires_grad=True)


def weigh_in(
    drawn: Float[Tensor, "*c h w d"],
    zeros: Float[Tensor, "n m"],
    first: int,
    gradient: ScreenGradient,
) -> None:
    """Have backward fill `gradient.sums` from `gradient.pixels`, set before it.

    `drawn` holds the channels `zeros` from `first` on, blended over zero: all zero. Adding the
    maps to their gradient makes the sums of map x blending weight the gradient of `zeros`, and
    changes no other: what an alpha does to such a channel is nothing.
    """
    m = zeros.shape[1]

    def add_maps(v_drawn: Tensor) -> Tensor | None:
        if gradient.pixels is None:
            return None
        if gradient.pixels.shape[-1] != m:
            raise ValueError(
                f"backward was given {gradient.pixels.shape[-1]} maps, the picture was drawn for"
                f" {m}: name them all in Needs(weights=...)"
            )
        v_drawn = v_drawn.clone()
        v_drawn[..., first : first + m] += gradient.pixels
        return v_drawn

    def store(sums: Float[Tensor, "n m"]) -> None:
        if gradient.pixels is not None:
            gradient.sums = sums

    drawn.register_hook(add_maps)
    zeros.register_hook(store)
