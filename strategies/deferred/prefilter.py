"""Light as surfaces of each roughness reflect it: the first half of the split sum (Karis 2013).

A surface seen along its normal, n = v = r, reflects the mean of the light around r, weighted by
D(h) G(l), D being the distribution of GGX (Walter et al. 2007), h halfway between n and l, and G
the share of microfacets that light from l reaches; Karis has n . l in its place, a little narrower
than what is reflected. The weight depends on the angle between r and l alone. So each row of the
result is a sum over rows of the panorama of circular convolutions along them, which a Fourier
transform turns into products: exact, linear in the texels, and quick enough for every step.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from splat.strategies.deferred.panorama import solid_angles

LEVELS = 8
"""Roughnesses that are prefiltered, evenly from 0, a mirror, to 1; between them it is linear."""
_FINEST = (1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25)
"""Rows of each level, and of the irradiance, over those of the panorama."""
_FEWEST = 16
"""Rows that a level has at least, where the panorama has as many."""
_SAMPLES = 4
"""Points along either side of a texel over which narrow weights are averaged."""
_NARROW = 0.2
"""Alpha below which weights count as narrow."""


@dataclass(frozen=True)
class Atlas:
    """Where the levels and, after them, the irradiance lie in one picture, below each other.

    Each has a column more on either side, which goes on round the sphere, and a row more above and
    below, which repeats the one at the pole.
    """

    rows: int
    """Of the panorama; it has twice as many columns, and so has each level."""

    @property
    def heights(self) -> tuple[int, ...]:
        """Rows of each level and of the irradiance."""
        fewest = min(_FEWEST, self.rows)
        return tuple(max(fewest, round(share * self.rows)) for share in _FINEST)

    @property
    def tops(self) -> tuple[int, ...]:
        """First row of each in the picture, after the one that repeats it."""
        found, top = [], 1
        for height in self.heights:
            found.append(top)
            top += height + 2
        return tuple(found)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the picture."""
        return sum(self.heights) + 2 * len(self.heights), 2 * self.rows + 2


def prefiltered(panorama: Float[Tensor, "h w 3"]) -> Float[Tensor, "1 3 y x"]:
    """The picture of an `Atlas`: level by level, then irradiance over pi; differentiable."""
    rows, columns = panorama.shape[:2]
    mirror = panorama.permute(2, 0, 1)
    along = torch.view_as_real(torch.fft.rfft(mirror.contiguous()))  # channel, row, frequency, 2
    k = along.shape[2]
    mixed = along.permute(2, 0, 3, 1).reshape(k, 6, rows) @ _on(
        rows, panorama.dtype, panorama.device
    )
    mixed = mixed.view(k, 3, 2, -1).permute(1, 3, 0, 2).contiguous()
    smooth = torch.fft.irfft(torch.view_as_complex(mixed), n=columns)
    parts = []
    heights = Atlas(rows).heights
    for part in (mirror, *smooth.split(list(heights[1:]), 1)):
        parts += [part[:, :1], part, part[:, -1:]]
    picture = torch.cat(parts, 1)
    return torch.cat([picture[..., -1:], picture, picture[..., :1]], 2)[None]


@functools.lru_cache(maxsize=4)
def _on(rows: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "k h o"]:
    return _spectra(rows).to(device, dtype)


@functools.lru_cache(maxsize=4)
def _spectra(rows: int) -> Float[Tensor, "k h o"]:
    """Of the weights of each row in each row of all smooth levels, by frequency.

    Weights of a row of the result sum to 1. They are even in the angle along the rows, so that
    their transform is real.
    """
    found = []
    for level, height in enumerate(Atlas(rows).heights):
        if level == 0:
            continue
        weights = _weights(rows, height, None if level == LEVELS else (level / (LEVELS - 1)) ** 2)
        whole = torch.cat([weights, weights[..., 1:-1].flip(-1)], -1).double()
        whole /= whole.sum((1, 2), keepdim=True)
        found.append(torch.fft.rfft(whole).real)
    return torch.cat(found).permute(2, 1, 0).contiguous()


def _weights(rows: int, height: int, alpha: float | None) -> Float[Tensor, "o h k"]:
    """Of texels by the row of the result, their row, and how many columns they are away (0 to h).

    `alpha` None: the cosine, for irradiance. Rows are even; those below the equator mirror those
    above.
    """
    samples = _SAMPLES if alpha is not None and alpha < _NARROW else 1
    part = (torch.arange(samples) + 0.5) / samples - 0.5
    out = torch.pi * (torch.arange(height // 2)[:, None] + 0.5) / height
    total = torch.zeros(height // 2, rows, rows + 1)
    for row in part:
        t = torch.pi * (torch.arange(rows) + 0.5 + row) / rows
        across, level = out.sin() * t.sin(), out.cos() * t.cos()
        for column in part:
            p = torch.pi * (torch.arange(rows + 1) + column) / rows
            total += _lobe(torch.addcmul(level[..., None], across[..., None], p.cos()), alpha)
    total *= solid_angles(rows).float()[:, None]
    return torch.cat([total, total.flip(0, 1)])


def _lobe(cosine: Float[Tensor, "*n"], alpha: float | None) -> Float[Tensor, "*n"]:
    """D(h) G(l) up to a factor, by n . l; `alpha` None: n . l alone."""
    if alpha is None:
        return cosine.clamp_min_(0)
    # n . h is the cosine of half the angle: (n . h)^2 = (1 + n . l) / 2.
    below = (cosine + 1).mul_((alpha**2 - 1) / 2).add_(1).square_()
    lit = cosine.clamp_min_(0)
    # G = 2 / (1 + sqrt(1 + alpha^2 tan^2)), times n . l above and below.
    hidden = lit.square().mul_(1 - alpha**2).add_(alpha**2).sqrt_().add_(lit)
    return lit.div_(hidden).div_(below)
