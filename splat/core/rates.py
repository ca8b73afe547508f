"""How far the columns of Gaussians move at a step: learning rates, and how they fall."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from splat.core.column import Rate
from splat.core.schedule import PUBLISHED_STEPS

SIZES_FIRST, SIZES_LAST = 8.0, 0.4
"""Factors on the rate of log sizes that a short run starts and ends with."""
RESTS, REST = 0.7, 0.05
"""Share of a run after which what networks read comes to rest, and what is left of its rate at the
end."""


def resting(rate: float, steps: int, left: float = REST) -> Rate:
    """A rate that stays up to `RESTS` of the steps, and falls to the share `left`."""
    return Rate(rate, left * rate, steps, holds=RESTS)


@dataclass(frozen=True)
class Rates:
    """Learning rates of 3DGS (Kerbl et al. 2023, released code); means in units of the extent."""

    mean: float = 1.6e-4
    mean_end: float = 1.6e-6
    log_scale: float = 5e-3
    log_scale_end: float | None = None
    """None: what `fall` leaves."""
    quat: float = 1e-3
    opacity_logit: float = 5e-2
    sh: float = 2.5e-3
    sh_tail: float = 1 / 20
    """Factor for the coefficients beyond the constant one."""
    sh_tail_every: int = 1
    """Steps between moves of the coefficients beyond the constant one."""
    fall: float = 1.0
    """Share of the rates but for the means' that is left at the end of a run; 1: they are
    constant."""
    haste: float = 1.0
    """How much farther than in a run of 30,000 steps means move at a step: 1 to 2."""

    def of(self, name: str, steps: int, **tail: Any) -> Rate:
        """One of these rates by its field, over a run of so many steps."""
        start, end = getattr(self, name), getattr(self, f"{name}_end", None)
        if end is None:
            end = self.fall * start
        return Rate(start, **tail) if end == start else Rate(start, end, steps, **tail)

    def scheduled(self, steps: int, *, sizes: bool = True) -> Rates:
        """Rates for a run of `steps`: in a short one means move farther at a step, sizes too.

        A mean diffuses by its rate times the root of the number of steps; the factor
        sqrt(30,000 / steps) lets it get as far in a short run as in a published one. It is at
        most 2: more gains nothing in scenes of many photos.

        Points are close where photos have texture, and Gaussians begin as large as these are
        apart: at a constant rate those that are to fill a wall take most of a short run to become
        as large as it asks, and few photos end with holes in it. So where the factor is 2 sizes
        begin at `SIZES_FIRST` times their rate and come to rest at `SIZES_LAST` of it; in longer
        runs both are nearer to 1. Without `sizes` theirs stays constant: what begins anywhere in
        the air would fill that before it found a surface.
        """
        factor = min(2.0, max(1.0, math.sqrt(PUBLISHED_STEPS / steps)))
        short = math.log2(factor) if sizes else 0.0
        return replace(
            self,
            mean=self.mean * factor,
            mean_end=self.mean_end * factor,
            log_scale=self.log_scale * SIZES_FIRST**short,
            log_scale_end=self.log_scale * SIZES_LAST**short,
            haste=factor,
        )

    def resting(self, rate: float, steps: int) -> Rate:
        """The rate of what a model has in place of Gaussians' columns, published for 30,000 steps
        in which it is constant: in a short run it is as many times higher as means move farther,
        and comes to rest."""
        if self.haste == 1:
            return Rate(rate)
        return resting(self.haste * rate, steps, REST ** math.log2(self.haste))
