"""Gaussians left out at random while training, so that none has to be hidden to look right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from splat.types import Gaussians


@dataclass(frozen=True)
class Dropout:
    """DropGaussian (Park, Ryu and Kim, CVPR 2025): a picture of training lacks some Gaussians.

    In step t of T each is left out with the probability r = `rate` t / T, and those that stay are
    1 / (1 - r) times as opaque, so that a pixel is as well covered. What only covers up for another
    one is seen as it is then, which few photos do not show otherwise.
    """

    rate: float
    """Share that is left out in the last step; 0: none ever."""
    steps: int
    """Steps of the run."""

    def share(self, step: int) -> float:
        """Share that is left out in a step."""
        return self.rate * min(step / max(self.steps, 1), 1.0)

    def __call__(self, gaussians: Gaussians, step: int, generator: torch.Generator) -> Gaussians:
        """The set to draw in a step: as many rows, those that are left out of no opacity."""
        share = self.share(step)
        if share == 0:
            return gaussians
        own = gaussians.opacities
        drawn = torch.rand(own.shape, generator=generator, device=own.device, dtype=own.dtype)
        thinned = own * (drawn >= share).to(own.dtype).div_(1 - share)
        # What regularisers are to see is what they are of themselves.
        peaks = own if gaussians.peaks is None else gaussians.peaks
        return replace(gaussians, opacities=thinned.clamp_max(1), peaks=peaks)
