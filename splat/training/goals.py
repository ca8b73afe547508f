"""Early stopping: a quality that was asked for, or no more gain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from splat.options import Options
from splat.types import SceneData

LEAST_GAIN = 0.05
"""Gain over the best earlier measurement, dB, up to which there was none."""
LOOKS = 20
"""Measurements in a run where goals are set and nobody says how many."""


@dataclass(frozen=True)
class Goals:
    """What ends a run early; constant. The decision is a function of all looks so far."""

    psnr: float | None = None
    """PSNR to reach, dB."""
    patience: int = 0
    """Measurements without gain until a run ends; 0: any number."""

    def __bool__(self) -> bool:
        return self.psnr is not None or self.patience > 0

    def reached(self, values: Sequence[float]) -> str:
        """Why a run ends after looks that found `values`, dB, in order; empty: it goes on.

        A look that found no number (all is masked out) counts as one without gain.
        """
        if self.psnr is not None and values and values[-1] >= self.psnr:
            return f"{values[-1]:.2f} dB of the {self.psnr:g} dB asked for"
        if not 0 < self.patience < len(values):
            return ""
        before, last = _best(values[: -self.patience]), _best(values[-self.patience :])
        if last > before + LEAST_GAIN:
            return ""
        looks = "look" if self.patience == 1 else f"{self.patience} looks"
        return f"no gain of more than {LEAST_GAIN} dB over {before:.2f} dB in the last {looks}"


def goals_of(options: Options) -> Goals:
    """The goals among the options."""
    return Goals(options.psnr, options.patience)


def check_goals(options: Options, scene: SceneData) -> None:
    """Raise ValueError where a quality is asked for that cannot be measured."""
    if options.psnr is not None and not scene.test:
        raise ValueError(
            f"psnr {options.psnr:g} is to be reached on held-out photos, and none of {scene.path}"
            " is held out; hold some out with --eval 8, or leave --psnr away"
        )


def goals_text(options: Options, scene: SceneData) -> str:
    """The goals in words; empty where there are none."""
    views = "held-out photos" if scene.test else "photos of the training"
    goals = []
    if options.psnr is not None:
        goals.append(f"at {options.psnr:g} dB on {views}")
    if options.patience:
        goals.append(f"after {options.patience} looks at {views} without gain")
    return " or ".join(goals) + (", or with the last step" if goals else "")


def _best(values: Sequence[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=-math.inf)
