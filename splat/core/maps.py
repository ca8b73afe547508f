"""Maps of weights over the pixels of a picture: error, edges, dissimilarity, masks, labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from splat import kernels
from splat.types import Batch, Rendered

LUMA = (0.299, 0.587, 0.114)
"""Grey of RGB (ITU-R BT.601)."""
SSIM_MEAN, SSIM_SPREAD = 0.01**2, 0.03**2
"""SSIM's constants for values in [0, 1]."""
LEAST_RANGE = 1e-6
"""Range up to which a map counts as constant."""


@dataclass(frozen=True)
class Error:
    """Absolute difference of picture and photograph, mean over channels; 0 where masked."""

    def __call__(self, rendered: Rendered, batch: Batch) -> Float[Tensor, "h w"]:
        error = kernels.errors(rendered.image, batch.pixels)
        return error if batch.mask is None else error.mul_(batch.mask)


@dataclass(frozen=True)
class Edge:
    """Length of the gradient of the photograph's grey (Sobel), 1 for a step from black to white."""

    def __call__(self, rendered: Rendered, batch: Batch) -> Float[Tensor, "h w"]:
        del rendered
        grey = batch.image @ batch.image.new_tensor(LUMA)
        padded = torch.nn.functional.pad(grey[None], (1, 1, 1, 1), "replicate")[0]
        across = padded[:, 2:] - padded[:, :-2]
        down = padded[2:] - padded[:-2]
        x = across[:-2] + 2 * across[1:-1] + across[2:]
        y = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
        length = x.square_().addcmul_(y, y).sqrt_().div_(4)
        return length if batch.mask is None else length.mul_(batch.mask)


@dataclass(frozen=True)
class EdgedError:
    """`Error`, larger on edges: error x (1 + weight x edge)."""

    weight: float

    def __call__(self, rendered: Rendered, batch: Batch) -> Float[Tensor, "h w"]:
        return Error()(rendered, batch).mul_(1 + self.weight * Edge()(rendered, batch))


@dataclass(frozen=True)
class Salience:
    """`Error` and `Edge` of a view, each brought to [0, 1] by its least and its most, added up.

    The loss-weighted term of Taming 3DGS (Mallick et al. 2024), where both count alike.
    """

    def __call__(self, rendered: Rendered, batch: Batch) -> Float[Tensor, "h w"]:
        both = (each(rendered, batch) for each in (Error(), Edge()))
        error, edge = ((m - m.min()) / (m.max() - m.min()).clamp_min(LEAST_RANGE) for m in both)
        return error + edge


@dataclass(frozen=True)
class Dissimilarity:
    """(1 - SSIM) / 2 of the greys of picture and photograph; 0 where masked.

    SSIM as Wang et al. 2004 have it, in square windows of even weight instead of a Gaussian's:
    sums over a window are then differences of two sums, whatever its size.
    """

    window: int = 11
    """Side of a window, pixels; odd."""

    def __call__(self, rendered: Rendered, batch: Batch) -> Float[Tensor, "h w"]:
        luma = rendered.image.new_tensor(LUMA)
        one, other = rendered.image.detach() @ luma, batch.image @ luma
        products = [one, other, one * one, other * other, one * other]
        a, b, aa, bb, ab = self._means(torch.stack(products))
        mean, spread = a * a + b * b, aa + bb - a * a - b * b
        alike = (2 * a * b + SSIM_MEAN) * (2 * (ab - a * b) + SSIM_SPREAD)
        ssim = alike / ((mean + SSIM_MEAN) * (spread + SSIM_SPREAD))
        wrong: Tensor = ((1 - ssim) / 2).clamp_(0, 1)
        return wrong if batch.mask is None else wrong.mul_(batch.mask)

    def _means(self, values: Float[Tensor, "m h w"]) -> Float[Tensor, "m h w"]:
        """Means over the window around each pixel, of what of it is inside the picture."""
        half = self.window // 2
        ones = torch.ones_like(values[:1])
        sums = torch.cat([values, ones]).double()
        for axis in (1, 2):
            length = sums.shape[axis]
            total = sums.cumsum(axis)
            total = torch.cat([torch.zeros_like(total.narrow(axis, 0, 1)), total], axis)
            index = torch.arange(length, device=values.device)
            upper = (index + half + 1).clamp_max(length)
            lower = (index - half).clamp_min(0)
            sums = total.index_select(axis, upper) - total.index_select(axis, lower)
        return (sums[:-1] / sums[-1:]).to(values.dtype)


@dataclass(frozen=True)
class Label:
    """1 where the label of a pixel is `label`, else 0."""

    labels: Callable[[Batch], Tensor]
    """The labels [h, w] of a photograph, at its size."""
    label: int

    def __call__(self, rendered: Rendered, batch: Batch) -> Float[Tensor, "h w"]:
        return (self.labels(batch) == self.label).to(rendered.alpha.dtype)
