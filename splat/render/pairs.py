"""Contributions of Gaussians to a picture, from a list of pairs of pixel and Gaussian.

Plain torch for any device. Sums along a pixel are differences of running sums over the whole
list, which is why these are in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from splat.types import Contributions

ALPHA_MOST = 0.999
"""Cap of alpha in gsplat."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of pixel and Gaussian that blending draws: those of a pixel together, front to back."""

    pixels: Int64[Tensor, "p"]
    """Pixel numbers, row by row."""
    rows: Int64[Tensor, "p"]
    """Numbers of the Gaussians."""
    values: Float[Tensor, "p"]
    """Value of the projected Gaussian, 1 at its mean; alpha is opacity times this, capped."""


def contributions(
    pairs: Pairs,
    opacities: Float[Tensor, "n"],
    colors: Float[Tensor, "n 3"],
    background: Float[Tensor, "3"] | None,
    maps: Float[Tensor, "hw m"],
) -> Contributions:
    """Contributions of `n` Gaussians, opacities and colours as drawn, to the pixels of the list."""
    n, rows = len(opacities), pairs.rows
    _, pixel, counts = pairs.pixels.unique_consecutive(return_inverse=True, return_counts=True)
    last = counts.cumsum(0) - 1
    first = last - counts + 1

    def so_far(values: Float[Tensor, "p"]) -> Float[Tensor, "p"]:
        """Running sums from the front of each pixel, each pair included."""
        running = values.cumsum(0)
        return running - (running[first] - values[first])[pixel]

    opacity = opacities.double()[rows]
    bare = opacity * pairs.values
    alpha = bare.clamp_max(ALPHA_MOST)
    transmittance = so_far((-alpha).log1p()).exp()
    before = transmittance / (1 - alpha)
    w = alpha * before
    squared = torch.zeros_like(w)
    for c in range(3):
        color = colors[:, c].double()[rows]
        shown = so_far(w * color)
        whole = shown[last]
        if background is not None:
            whole = whole + transmittance[last] * background[c]
        # d colour / d alpha = T (its own - what lies behind).
        behind = (whole[pixel] - shown) / (1 - alpha)
        squared += (before * color - behind).square_()
    squared = squared.mul_(opacity.square()).masked_fill_(bare >= ALPHA_MOST, 0)

    def added(values: Tensor) -> Tensor:
        """Sums of values of pairs over the pairs of each Gaussian: [n, ...]."""
        total = values.new_zeros(n, *values.shape[1:]).index_add_(0, rows, values)
        return total.to(opacities.dtype)

    return Contributions(
        mass=added(w),
        hits=added(torch.ones_like(w)),
        transmitted=added(before),
        most=w.new_zeros(n).scatter_reduce_(0, rows, w, "amax").to(opacities.dtype),
        area=rows[strongest(w, pixel, len(counts))].bincount(minlength=n).to(opacities.dtype),
        squared=added(squared),
        weighted=torch.stack([added(w * each[pairs.pixels]) for each in maps.T], 1)
        if maps.shape[1]
        else opacities.new_zeros(n, 0),
    )


def strongest(
    w: Float[Tensor, "p"], pixel: Int64[Tensor, "p"], pixels: int
) -> Int64[Tensor, "pixels"]:
    """The pair with the largest weight in each pixel, of equals the nearest."""
    largest = w.new_zeros(pixels).scatter_reduce_(0, pixel, w, "amax")
    strong = (w == largest[pixel]).nonzero()[:, 0]
    nearest = torch.full_like(pixel, len(w))[:pixels]
    return nearest.scatter_reduce_(0, pixel[strong], strong, "amin")


def summed_parts(parts: Sequence[Contributions]) -> Contributions:
    """Contributions to a picture: the sum of those to its parts (of `most`, the largest)."""

    def whole(name: str) -> Tensor:
        values = torch.stack([getattr(part, name) for part in parts])
        return values.amax(0) if name == "most" else values.sum(0)

    return Contributions(**{each.name: whole(each.name) for each in fields(Contributions)})


def no_contributions(like: Float[Tensor, "n"], m: int) -> Contributions:
    """Contributions of `n` Gaussians that are not drawn: zeros."""
    zeros = torch.zeros_like(like)
    return Contributions(zeros, zeros, zeros, zeros, zeros, zeros, zeros[:, None].expand(-1, m))


def bands(starts: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows of tiles with at most `most` entries each, or of one row.

    `starts` says at which entry each row starts, and where the last one ends.
    """
    first = 0
    for row in range(1, len(starts) - 1):
        if starts[row + 1] - starts[first] > most:
            yield first, row
            first = row
    yield first, len(starts) - 1
