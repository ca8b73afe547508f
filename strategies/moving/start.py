"""Motion to start from: what stands still is told apart, all else is there for a while.

What seems to stand still begins as what is always there. What only seems so fades, as it is wrong
at most instants, and makes room for rows that move. (To begin with a duration of three clips and a
velocity that is free cost 1.6 dB where nothing moves, on the built-in clip, two seeds.)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.edit import Rows
from splat.math import ALWAYS

STILL_TIME = 0.5
"""Time, in clips, of what seems to stand still, whose duration is `splat.math.ALWAYS`."""
UNKNOWN_DURATION = 3.0
"""Duration, in clips, of first rows where no point is known to be of an instant: hardly ever
fainter, and free to become what moves."""
NEAR = 1.5
"""A point stands still that has, at every other keyframe, a neighbour within so many times the
distance to its neighbour of rank `NEIGHBOURS` at its own: far away points are farther apart."""
NEIGHBOURS = 3
LASTS = 1.0
"""Duration of what is known to go, in times from one instant at which it is known to the next."""
KEYFRAMES = 8
"""Most keyframes that are compared, evenly spread."""


def still(rows: Rows) -> Rows:
    """Columns for Gaussians to start from that stand still, all of them."""
    like = rows["mean"].new_empty(len(rows["mean"]))
    return {
        **rows,
        "time": torch.full_like(like, STILL_TIME),
        "log_duration": torch.full_like(like, math.log(ALWAYS)),
        "velocity": torch.zeros_like(rows["mean"]),
    }


def begun(rows: Rows, duration: float, movable: Bool[Tensor, "n"] | None = None) -> Rows:
    """Columns for Gaussians to start from, whose `time` is that of the points they come from.

    Those of one instant are there for `duration` about it. Those without (NaN) come from what
    photos of several instants agree on, and stand still; so do those of an instant that have a
    neighbour at every other one. Where no row has a time, those that may move (`movable`; None:
    all) are there in all of the clip, and free. Velocities are 0.
    """
    mean = rows["mean"]
    time = rows.get("time")
    time = mean.new_full((len(mean),), math.nan) if time is None else time.to(mean)
    velocity = rows.get("velocity", torch.full_like(mean, math.nan)).to(mean)
    fast = velocity.isfinite().all(1)
    of_points = time.masked_fill(fast, math.nan)
    rest = ~fast & (time.isnan() | standing_still(mean, of_points))
    lasting = torch.full_like(time, duration).masked_fill(rest, ALWAYS)
    if bool(of_points.isnan().all()):
        free = rest if movable is None else rest & movable
        lasting = lasting.masked_fill(free, UNKNOWN_DURATION)
    if bool(fast.any()):
        lasting = lasting.masked_fill(fast, min(duration, LASTS * _between(time[fast])))
    return {
        **rows,
        "time": time.masked_fill(rest, STILL_TIME),
        "log_duration": lasting.log(),
        "velocity": velocity.where(fast[:, None], 0),
    }


def _between(times: Float[Tensor, "n"]) -> float:
    """Time from an instant to the next one."""
    instants = times.unique()
    return float(instants.diff().median()) if len(instants) > 1 else 1.0


def standing_still(positions: Float[Tensor, "n 3"], times: Float[Tensor, "n"]) -> Bool[Tensor, "n"]:
    """Which points of a keyframe have a neighbour at every other keyframe; none where there is one
    keyframe only."""
    from scipy.spatial import cKDTree

    places, when = positions.double().cpu().numpy(), times.cpu().numpy()
    frames = np.unique(when[~np.isnan(when)])
    still = np.zeros(len(places), bool)
    if len(frames) < 2:
        return torch.from_numpy(still).to(positions.device)
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, KEYFRAMES).round().astype(int))]
    reach = np.full(len(places), np.nan)
    for frame in frames:
        own = places[when == frame]
        apart, _ = cKDTree(own).query(own, k=min(NEIGHBOURS + 1, len(own)))
        reach[when == frame] = NEAR * apart.reshape(len(own), -1)[:, -1]
    still[~np.isnan(when)] = True
    for frame in chosen:
        others = np.flatnonzero(still & (when != frame))
        apart, _ = cKDTree(places[when == frame]).query(places[others])
        still[others] = apart <= reach[others]
    return torch.from_numpy(still).to(positions.device)
