"""Smoothing: no row is smaller than what the photos could tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from splat.core.edit import Edit, Nudge
from splat.core.model import Model
from splat.core.step import Step
from splat.core.strategy import Wrapper
from splat.kernels import NEAR
from splat.rules.sampling import least_sizes
from splat.system.ranges import above, at_least

UNSEEN = 1e-12
"""Least size of a row that no camera sees: any will do."""


@dataclass(frozen=True)
class Smoothing(Wrapper):
    """Smoothing: no row is smaller than a pixel of the camera that sees it best can tell (after the
    3D filter of Mip-Splatting, Yu et al., CVPR 2024).

    Differs: sizes are held to the least that the filter leaves, where the paper convolves each row
    with it and dims it by as much. What rows can become is the same but for opacity, which is free.
    What stands behind it may make rows smaller again, as clear air does near cameras. Rows that no
    camera sees stay as they are.
    """

    undivided = ""
    variance: Annotated[float, above(0)] = 0.2
    """Of the filter, in squared pixels of the camera that samples a row best."""
    every: Annotated[int, at_least(1)] = 10
    """Steps from one look at sizes to the next."""
    look_every: Annotated[int, at_least(1)] = 1000
    """Steps after which cameras are asked anew which of them sees a row best; newborn rows are
    looked at when sizes are."""
    last: Annotated[int, at_least(0)] = 0
    """A step after which sizes are looked at too, the last one of the run; 0: none."""

    def begin(self, model: Model) -> None:
        super().begin(model)
        if not model.rows_are_gaussians or "log_scale" not in model.cloud:
            raise ValueError(
                f"smoothing holds sizes of Gaussians, and {model.unit} make theirs for each camera;"
                " leave it out"
            )
        model.cloud.track("least_size", combine="same")

    def observe(self, step: Step) -> None:
        super().observe(step)
        done = step.number + 1
        if not self._looks(done):
            return
        model, least = step.model, step.model.cloud.statistic("least_size")
        rows = (least == 0) | (done % self.look_every == 0)
        if bool(rows.any()):
            near = NEAR * model.frame.scale
            means = model.cloud["mean"].detach()[rows]
            found = least_sizes(means, step.views, near, self.variance)
            least[rows] = found.clamp_min(UNSEEN)  # 0 stands for what is not known yet

    def altered(self, step: Step, edit: Edit | None) -> Edit | None:
        if not self._looks(step.number + 1):
            return edit
        cloud = step.model.cloud
        short = cloud.statistic("least_size").log()[:, None] - cloud["log_scale"].detach()
        return Edit(nudge=(Nudge("log_scale", short.clamp_min(0)),)) + (edit or Edit())

    def _looks(self, done: int) -> bool:
        """Whether sizes are looked at after so many steps."""
        return done % self.every == 0 or done == self.last
