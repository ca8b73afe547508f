"""`Timed`: rows that are Gaussians with a time, a duration and a velocity."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from splat import kernels
from splat.core.column import Rate
from splat.core.edit import Rows
from splat.core.model import Explicit, Making
from splat.math import LASTING
from splat.rules.moves import may_move
from splat.strategies.moving.start import begun, still
from splat.system.foreign import Record
from splat.types import Camera, Gaussians, Motion

_log = logging.getLogger(__name__)

VELOCITY_RATE, VELOCITY_RATE_END = 1e-3, 1e-5
"""Learning rate of velocities, scene extents per clip; in short runs it is raised as that of means
is. A tenth of what FreeTimeGS has: with more, what hardly moves wanders."""
TIME_RATE, TIME_RATE_END = 2e-4, 2e-6
"""Learning rates of times, in clips. With five times as much, all through a run, what is fast
leaves the instant that it is of: the bead of the built-in clip goes from one to the next in 0.04
clips, and was a smear."""
DURATION_RATE = 5e-3
"""Learning rate of log durations."""
LEAST_DURATION = 0.02
"""Of any row, in clips; a clip of few instants has a longer one."""
PASSED = (-2.0, -1.0, 0.0, 1.0, 2.0)
"""Times at which rows are looked for, durations from their own: beyond them they are an eighth as
opaque or less."""
SHORTEST = 1e-4
"""Duration, in clips, that a row has beside the least one at least, where it is made of one."""
BETWEEN = 0.6
"""Least duration in units of the time from one instant to the next: a row that is there in one
picture only is free to be anything in between."""


class Timed(Explicit):
    """Every row is one Gaussian that is there for a time and goes along a line, after FreeTimeGS
    (Wang et al., CVPR 2025).

    Columns: those of `Explicit`, and `time` [N], when it is as opaque and where as the others say,
    0 to 1 of the clip; `log_duration` [N], of the standard deviation of its opacity over time; and
    `velocity` [N, 3], scene extents per clip. To the square of each duration that of the shortest
    one is added, as an instant is no shorter than that.
    """

    unit = "moving Gaussians"
    same_for_all_views = False

    def __init__(self, rows: Rows, making: Making, duration: float) -> None:
        """`rows` are Gaussians to start from, which `begun` gives a motion, or the columns of
        another such model."""
        instants = len({camera.time for camera in making.views})
        if not rows.keys() & {"duration", "log_duration"}:  # from points
            if making.views and instants < 2:
                _log.info("moving    all stands still: the photos are of one instant")
            rows = (
                begun(rows, duration, may_move(rows["mean"], making.views))
                if instants > 1
                else still(rows)
            )
        least = least_duration(instants)
        if "duration" in rows:  # of Gaussians, which are as long as they are drawn
            own = (rows["duration"].square() - least**2).clamp_min(SHORTEST**2).sqrt()
            rows = {**rows, "log_duration": own.log()}
        super().__init__(rows, **making.of_rows)
        raised = making.rates.haste
        velocity = Rate(raised * VELOCITY_RATE, raised * VELOCITY_RATE_END, making.steps)
        times = Rate(TIME_RATE, TIME_RATE_END, making.steps)
        self.cloud.add("time", rows["time"], times)
        self.cloud.add("log_duration", rows["log_duration"], Rate(DURATION_RATE))
        self.cloud.add("velocity", rows["velocity"], velocity)
        self.least, self.instants = least, instants

    @property
    def durations(self) -> Float[Tensor, "n"]:
        """Standard deviation of each row's opacity over time, in clips."""
        return kernels.durations(self.cloud["log_duration"], self.least)

    @torch.no_grad()
    def peaks_in_clip(self) -> Float[Tensor, "n"]:
        """Largest opacity of each row at any instant of the clip."""
        cloud = self.cloud
        time = cloud["time"]
        far = ((time.clamp(0, 1) - time) / self.durations).square()
        peaks: Tensor = cloud["opacity_logit"].sigmoid() * (-0.5 * far).exp()
        return peaks

    @property
    def lasting(self) -> Tensor:
        """Which rows are always there and stand still, [N] bool."""
        return self.cloud["log_duration"].detach() >= math.log(LASTING)

    def forward(self, camera: Camera, step: int | None = None) -> Gaussians:
        gaussians, cloud = super().forward(camera, step), self.cloud
        means, opacities = kernels.moment(
            gaussians.means, gaussians.opacities, cloud["time"], cloud["log_duration"],
            cloud["velocity"], at=camera.time, least=self.least,
        )  # fmt: skip
        return replace(gaussians, means=means, opacities=opacities, peaks=gaussians.opacities)

    @torch.no_grad()
    def bake(self, camera: Camera | None = None) -> Gaussians:
        """With a camera the set at its time, else the set with its motion."""
        gaussians, motion = super().bake(), self.motion()
        place = gaussians.means.device
        copied = (motion.time.clone(), motion.duration, motion.velocity.clone())
        whole = replace(gaussians, motion=Motion(*(each.to(place) for each in copied)))
        return whole if camera is None else whole.at(camera.time)

    @torch.no_grad()
    def passed(self) -> Sequence[Float[Tensor, "n 3"]]:
        mean, time, velocity = (self.cloud[name] for name in ("mean", "time", "velocity"))
        apart = self.durations.where(~self.lasting, 0)[:, None] * time.new_tensor(PASSED)
        apart = (time[:, None] + apart).clamp(0, 1) - time[:, None]
        apart = apart.where(~self.lasting[:, None], 0)
        return [mean + velocity * each[:, None] for each in apart.unbind(1)]

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "least_duration": self.least}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        super().set_extra_state(state)
        self.least = Record(state).number("least_duration", above=0)

    @torch.no_grad()
    def motion(self) -> Motion:
        time, velocity = (self.cloud[name].detach() for name in ("time", "velocity"))
        return Motion(time, self.durations, velocity)


def least_duration(instants: int) -> float:
    """Duration of the shortest row, in clips, where there are so many instants."""
    return max(LEAST_DURATION, BETWEEN / (instants - 1)) if instants > 1 else LEAST_DURATION
