"""How large the pictures of training are: small ones first, where that gets further in its time."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray

from splat.photos.modes import Resolution

WARM_UP_SHARE, WARM_UP_FACTOR = 0.1, 2.0
"""Share of a run that warms up, and how many times smaller its pictures are, along a side."""
DASH_SHARE = 0.5
"""Share of a run after which `dash` is at full size: where growth ends in a published run."""
DASH_RATIO = 4.0
"""`dash` begins where the whole spectrum has so many times what is left in the smaller picture
(DashGaussian, Chen et al. 2025), and at most 8 times smaller."""
DASH_LEVELS = tuple(2 ** (level / 2) for level in range(6, -1, -1))
"""Times smaller, along a side: from one size of `dash` to the next the area doubles.
Differs: published are 32 sizes; with few, each photo is shrunk once a size and kept, and shrinking
costs nothing."""
LEAST_SIDE = 32
"""Pixels that the shorter side of a photo keeps: less than that teaches little. Differs: ours."""
DASH_PHOTOS = 16
"""Photos whose spectra are looked at, evenly spread."""
_BINS = 1024


@dataclass(frozen=True)
class Sizes:
    """How many times smaller than at full size each step's picture is, along a side."""

    steps: int = 1
    """Number of steps of the whole run."""
    phases: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    """Share of the run from which each factor holds, in order; the factors fall to 1."""

    def factor(self, step: int) -> float:
        """The factor of a step, from 0; a function of the step alone."""
        return self.phases[bisect_right(self._starts, step) - 1][1]

    @cached_property
    def _starts(self) -> list[int]:
        """The step that each phase begins with, ascending; of several the last one counts."""
        return [round(share * self.steps) for share, _ in self.phases]

    @property
    def area(self) -> float:
        """Mean area of the pictures over a run, full ones being 1."""
        ends = [share for share, _ in self.phases[1:]] + [1.0]
        return sum(
            (end - share) / factor**2
            for (share, factor), end in zip(self.phases, ends, strict=True)
        )

    @property
    def small(self) -> tuple[float, ...]:
        """The factors above 1."""
        return tuple(factor for _, factor in self.phases if factor > 1)

    def text(self) -> str:
        """The sizes in words; empty where all pictures are whole."""
        if not self.small:
            return ""
        until = round(self.phases[-1][0] * self.steps)
        return f"the first {until:,} steps on smaller ones, from 1/{self.small[0]:.3g} of a side up"


def sizes(kind: Resolution, steps: int, pictures: Iterable[UInt8[ndarray, "h w 3"]] = ()) -> Sizes:
    """The sizes of a run of `steps`; `pictures`, photos at full size, are looked at for `dash`."""
    if kind == "warm-up":
        return Sizes(steps, ((0.0, WARM_UP_FACTOR), (WARM_UP_SHARE, 1.0)))
    if kind != "dash":
        return Sizes(steps)
    pictures = list(pictures)
    side = min((min(picture.shape[:2]) for picture in pictures), default=0)
    return Sizes(steps, dash_phases(spectrum_shares(pictures), side))


def dash_phases(
    kept: Float64[ndarray, "b"], side: float = math.inf
) -> tuple[tuple[float, float], ...]:
    """The phases of DashGaussian for photos of a significance as `spectrum_shares` gives it.

    A picture that is r times smaller keeps x(r) of the significance. It begins with the largest r
    that keeps a quarter, and comes to r after the share log(x(r) / x(first)) / log(1 / x(first))
    of the time in which it grows: by the logarithm, low frequencies get more steps than by x
    itself. `side` is the shortest one of the photos, pixels.
    """

    def x(factor: float) -> float:
        return float(np.interp(1 / factor, np.linspace(0, 1, len(kept)), kept))

    factors = [
        factor
        for factor in DASH_LEVELS
        if factor == 1 or (side / factor >= LEAST_SIDE and x(factor) >= 1 / DASH_RATIO - 1e-9)
    ]
    first = x(factors[0])
    if first >= 1:
        return ((0.0, 1.0),)
    shares = [DASH_SHARE * math.log(x(factor) / first) / -math.log(first) for factor in factors]
    return tuple(zip(shares, factors, strict=True))


def spectrum_shares(pictures: Iterable[UInt8[ndarray, "h w 3"]]) -> Float64[ndarray, "b"]:
    """Share of a spectrum's amplitudes within centred windows of sides from none to all of it.

    The mean over pictures, each in grey and without its mean brightness, which any size keeps.
    """
    total, count = np.zeros(_BINS + 1), 0
    for picture in pictures:
        grey = picture.mean(2)
        spectrum = np.abs(np.fft.fft2(grey - grey.mean()))
        v, u = (np.abs(np.fft.fftfreq(side)) * 2 for side in grey.shape)
        window = np.maximum(v[:, None], u[None])
        rings, _ = np.histogram(window, _BINS, (0, 1), weights=spectrum)
        sums = np.cumsum(rings)
        # A picture of one colour has no spectrum: any size shows all of it.
        total[1:] += sums / sums[-1] if sums[-1] > 1e-6 * grey.size else 1.0
        count += 1
    return total / max(count, 1)
