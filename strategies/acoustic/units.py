"""What a unit of a scene is in metres, from when its sounds arrive."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from splat.strategies.acoustic.arrival import SPEED

FEWEST = 8
"""Places with a straight way that it takes."""
ASTRAY = 1e-3
"""Seconds by which sound may be off its line: more, and it came around something."""
WHOLE = 0.05
"""Of a metre: a unit that is nearer to one is one."""

UNSURE = (
    "when sounds arrive does not tell what a unit of the scene is, so it is taken for a metre; give"
    " --metres if it is not"
)


def metres(arrivals: Sequence[float], distances: Sequence[float]) -> tuple[float, str]:
    """Metres of a unit, and what to say of it; arrivals in seconds, distances in units.

    Speed times the slope of arrivals over distances: the median slope of all pairs (Theil and
    Sen), then least squares of the places near the line, again and again.
    """
    unsure = 1.0, UNSURE
    if len(arrivals) < FEWEST:
        return unsure
    t = torch.tensor(arrivals, dtype=torch.float64)
    d = torch.tensor(distances, dtype=torch.float64)
    i, j = torch.triu_indices(len(t), len(t), 1)
    apart = (d[i] - d[j]).abs() > 0.1 * d.max()
    if int(apart.sum()) < FEWEST:
        return unsure
    slope = ((t[i] - t[j]) / (d[i] - d[j]))[apart].median()
    start = (t - slope * d).quantile(0.3)
    for _ in range(10):
        near = (t - start - slope * d).abs() < ASTRAY
        if int(near.sum()) < max(FEWEST, len(t) // 4) or float(d[near].std()) < 0.05 * d.max():
            return unsure
        a, b = t[near] - t[near].mean(), d[near] - d[near].mean()
        slope = (a * b).sum() / b.square().sum()
        start = t[near].mean() - slope * d[near].mean()
    found = SPEED * float(slope)
    if not found > 0:
        return unsure
    if abs(found - 1) < WHOLE:
        return 1.0, ""
    return found, f"a unit of the scene is {found:.3f} m, by when sounds arrive"
