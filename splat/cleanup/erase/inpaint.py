"""Colour and depth of a hole in one view, from its rim: classical inpainting, planes, membranes.

Colour by Telea 2004 (OpenCV). Depth by planes where the rim lies on some, for they are straight in
1 / depth; else by the membrane over the rim, harmonic in 1 / depth.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

_RADIUS = 5.0
"""Pixels around a pixel that Telea's method looks at."""
_RIM, _AROUND = 5, 24
"""Width of the rim of a hole, pixels, and of the band that colours come from."""
_LEAST = 12
"""Least number of known pixels of a rim that depth is extrapolated from."""
_NEAR = 0.03
"""Distance of a rim's pixel from its plane, at most, as a share of 1 / depth."""
_PLANES = 3
"""Most planes of a rim."""
_SHARE = 0.12
"""Share of the rim that a plane must hold."""
_HELD, _ALL_HELD = 0.7, 0.85
"""Share of the rim that one plane must hold to be enough, and all planes together, as they cover
each other."""
_DRAWS = 300


def inpainted(
    colors: Float[np.ndarray, "h w 3"],
    depth: Float[np.ndarray, "h w"],
    hole: Bool[np.ndarray, "h w"],
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """The picture with its hole inpainted, part by part, and depth within the hole.

    Depth is NaN outside of the hole and where the rim tells too little, and camera z else, as it
    is outside; where that is not finite it tells nothing. Where a part lies on planes each takes
    its colours from what lies on it outside: a floor none from the wall that the hole reaches to.
    """
    painted, filled_depth = colors.copy(), np.full(depth.shape, np.nan)
    count, labels = cv2.connectedComponents(hole.astype(np.uint8), connectivity=8)
    side = np.ones((2 * _RIM + 1, 2 * _RIM + 1), np.uint8)
    known = np.isfinite(depth) & (depth > 0) & ~hole
    v, u = np.mgrid[: hole.shape[0], : hole.shape[1]]
    inverse = np.where(known, 1 / np.where(known, depth, 1), np.nan)
    for number in range(1, count):
        part = labels == number
        rim = np.asarray(cv2.dilate(part.astype(np.uint8), side) > 0) & known
        if rim.sum() < _LEAST:
            _paint(painted, colors, part, hole)
            continue
        planes = _planes(u[rim], v[rim], inverse[rim])
        if planes is None:
            values = _membrane(part, rim, depth)
            _paint(painted, colors, part, hole)
        else:
            levels = _over(planes, u, v)
            values, owner = levels.max(0)[part], levels.argmax(0)
            away = np.abs(inverse - levels) / np.abs(levels)
            for k in np.unique(owner[part]):
                # Nor from where it meets another, whose colours are mixed in.
                other = np.delete(away, k, 0).min(0, initial=np.inf) <= _NEAR
                off = known & (other | (away[k] > 2 * _NEAR))
                _paint(painted, colors, part & (owner == k), hole | off)
        # A plane seen edge on may run off to where nothing is.
        good = (values > 0.2 * inverse[rim].min()) & (values < 2 * inverse[rim].max())
        filled_depth[part] = np.where(good, 1 / np.where(good, values, 1), np.nan)
    return painted, filled_depth


def _paint(
    into: Float[np.ndarray, "h w 3"],
    colors: Float[np.ndarray, "h w 3"],
    part: Bool[np.ndarray, "h w"],
    unknown: Bool[np.ndarray, "h w"],
) -> None:
    """Write the part's colours, from around it but for what is unknown; 8 bits a channel."""
    v, u = np.nonzero(part)
    rows = slice(max(int(v.min()) - _AROUND, 0), int(v.max()) + _AROUND + 1)
    columns = slice(max(int(u.min()) - _AROUND, 0), int(u.max()) + _AROUND + 1)
    eight = np.rint(255 * colors[rows, columns].clip(0, 1)).astype(np.uint8)
    mask = unknown[rows, columns] | part[rows, columns]
    if mask.all():
        return
    drawn = cv2.inpaint(eight, mask.astype(np.uint8), _RADIUS, cv2.INPAINT_TELEA)
    inside = part[rows, columns]
    into[rows, columns][inside] = drawn[inside].astype(np.float32) / 255


def _planes(
    u: NDArray[np.int64], v: NDArray[np.int64], inverse: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Coefficients [k, 3] of planes that hold the rim, 1 / depth = a u + b v + c; None: none do.

    Found one after the other by random triples (Fischler & Bolles 1981), the same every time.
    """
    points = np.stack([u, v, np.ones_like(u)], 1).astype(np.float64)
    left = np.ones(len(u), bool)
    draw, planes_so_far = np.random.default_rng(0), list[NDArray[np.float64]]()
    while len(planes_so_far) < _PLANES and left.sum() >= max(3, _SHARE * len(u)):
        at = np.flatnonzero(left)
        triples = draw.choice(at, (_DRAWS, 3))
        corners = points[triples]
        fit = np.abs(np.linalg.det(corners)) > 1
        if not fit.any():
            break
        tried = np.linalg.solve(corners[fit], inverse[triples[fit]][..., None])[..., 0]
        hits = np.abs(tried @ points[at].T - inverse[at]) <= _NEAR * inverse[at]
        best = at[hits[hits.sum(1).argmax()]]
        if len(best) < max(3, _SHARE * len(u)):
            break
        planes_so_far.append(np.linalg.lstsq(points[best], inverse[best], rcond=None)[0])
        left[best] = False
    # One that is enough by itself is better than a second fitted to what stands before it.
    for count, share in ((1, _HELD), (len(planes_so_far), _ALL_HELD)):
        planes = np.stack(planes_so_far[:count]) if planes_so_far else np.zeros((1, 3))
        held = np.abs(_over(planes, u, v).max(0) - inverse) <= 1.5 * _NEAR * inverse
        if held.mean() >= share:
            return planes
    return None


def _over(
    planes: NDArray[np.float64], u: NDArray[np.int64], v: NDArray[np.int64]
) -> NDArray[np.float64]:
    """1 / depth of each plane [k, ...]; within a room the largest, the nearest plane, is seen."""
    a, b, c = (column.reshape(-1, *[1] * u.ndim) for column in planes.T)
    return np.asarray(a * u + b * v + c)


def _membrane(
    part: Bool[np.ndarray, "h w"], rim: Bool[np.ndarray, "h w"], depth: Float[np.ndarray, "h w"]
) -> NDArray[np.float64]:
    """1 / depth of the part's pixels, each the mean of its neighbours; given on the rim.

    A neighbour of which nothing is known does not count.
    """
    height, width = part.shape
    number = np.full(part.shape, -1)
    number[part] = np.arange(part.sum())
    rows, columns, weight = [], [], np.full(int(part.sum()), 1e-9)
    right = np.zeros(len(weight))
    v, u = np.nonzero(part)
    inverse = np.where(rim, 1 / np.where(rim, depth, 1), 0)
    right += 1e-9 * float(np.median(inverse[rim]))
    for down, across in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        y, x = v + down, u + across
        there = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        y, x = y.clip(0, height - 1), x.clip(0, width - 1)
        inner, given = there & part[y, x], there & rim[y, x]
        weight += inner | given
        right += np.where(given, inverse[y, x], 0)
        rows.append(np.flatnonzero(inner))
        columns.append(number[y, x][inner])
    row, column = np.concatenate(rows), np.concatenate(columns)
    n = np.arange(len(weight))
    matrix = coo_matrix(
        (
            np.append(weight, np.full(len(row), -1.0)),
            (np.append(n, row), np.append(n, column)),
        )
    )
    return np.asarray(spsolve(matrix.tocsc(), right))
