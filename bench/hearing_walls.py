"""On which surfaces of a generated room audio points lie, and which of those are odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

ODD = 0.2
"""Apart from the room's mean absorption by more than this: a surface is odd."""
ASTRAY = 0.4
"""Metres from every surface: a point is on none."""
Surface = Mapping[str, Any]
"""As in `truth.json`: `name`, `material`, `area`, `absorption` by octave, `corners` [n, 3]."""


def absorptions(surfaces: Sequence[Surface]) -> tuple[np.ndarray, float]:
    """Of each surface the mean over its octaves, [n]; and the room's mean by area."""
    each = np.array([np.mean(surface["absorption"]) for surface in surfaces])
    area = np.array([surface["area"] for surface in surfaces])
    return each, float(each @ area / area.sum())


def distances(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Metres from points [n, 3] to a flat polygon [k, 3]: to its inside, or else to its rim."""
    a, b = corners, np.roll(corners, -1, 0)
    normal = np.cross(a - a[0], b - a[0]).sum(0)
    normal /= np.linalg.norm(normal)
    side = b - a
    way = points[:, None] - a
    share = np.clip((way * side).sum(-1) / (side**2).sum(-1), 0, 1)
    rim = np.linalg.norm(way - share[..., None] * side, axis=-1).min(1)
    across = np.abs((points - a[0]) @ normal)
    found: np.ndarray = np.where(_within(points, corners, normal), across, rim)
    return found


def _within(points: np.ndarray, corners: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Whether the feet of points on a polygon's plane are inside it: even and odd crossings."""
    keep = np.delete(np.arange(3), np.abs(normal).argmax())
    x, y = points[:, keep].T
    inside = np.zeros(len(points), bool)
    flat = corners[:, keep]
    for (x1, y1), (x2, y2) in zip(flat, np.roll(flat, -1, 0), strict=True):
        if y1 == y2:
            continue
        over = (y1 > y) != (y2 > y)
        inside ^= over & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return inside


def counts(points: np.ndarray, surfaces: Sequence[Surface]) -> np.ndarray:
    """How many points are nearest to each surface, [n]; what is `ASTRAY` counts nowhere."""
    far = np.stack([distances(points, np.array(s["corners"])) for s in surfaces], 1)
    near = far.argmin(1)[far.min(1) < ASTRAY]
    return np.bincount(near, minlength=len(surfaces))


def walls(
    surfaces: Sequence[Surface], end: np.ndarray, start: np.ndarray | None = None
) -> dict[str, Any]:
    """Shares of points [n, 3] by surface and of all odd ones together, beside shares of area.

    `start` are the points that training began with; None where they are not known. Points that
    were gained, less those removed, are `born`.
    """
    each, mean = absorptions(surfaces)
    area = np.array([surface["area"] for surface in surfaces])
    odd = np.abs(each - mean) > ODD
    many = {"end": counts(end, surfaces)}
    if start is not None:
        many["start"] = counts(start, surfaces)
        many["born"] = many["end"] - many["start"]
    rows = []
    for i, surface in enumerate(surfaces):
        row = {"name": surface["name"], "material": surface["material"], "odd": bool(odd[i])}
        row |= {"absorption": float(each[i]), "area": float(area[i])}
        row |= {f"{name}_count": int(found[i]) for name, found in many.items()}
        row |= {f"{name}_per_m2": float(found[i] / area[i]) for name, found in many.items()}
        rows.append(row)
    shares = {"area": float(area[odd].sum() / area.sum())}
    taking = each > mean + ODD
    absorbing = {"area": float(area[taking].sum() / area.sum())}
    for name in ("start", "end"):
        if name in many:
            whole = max(int(many[name].sum()), 1)
            shares[name] = float(many[name][odd].sum() / whole)
            absorbing[name] = float(many[name][taking].sum() / whole)
    return {
        "mean_absorption": mean,
        "points": len(end),
        "astray": len(end) - int(many["end"].sum()),
        "odd_share": shares,
        "absorbing_share": absorbing,
        "surfaces": rows,
    }
