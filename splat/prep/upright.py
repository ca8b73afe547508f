"""Placement of a reconstruction: which way is up, the length of a metre, and the origin.

Structure from motion leaves a similarity open. Up comes from how people hold cameras and from
floors and walls, metres from GPS or from a distance somebody knows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from splat.prep.geodesy import Fix, gps_fix, rotation_to_z
from splat.prep.planes import floor_normal, normals_of, towards, walls_axis

Vec = Float64[ndarray, "3"]

SIDEWAYS = 0.03
"""Cost of a photo held sideways, in squared sines: photos are upright unless much speaks against
it."""
STEEP = 0.08
"""Cost of a camera that looks straight up or down, which most do not."""
DOWN = 0.01
"""Gain of a camera that looks straight down, over one that looks level: more look down than up."""
CLIMB = 0.02
"""Cost of a path of cameras that goes straight up or down."""
LIMIT = np.sin(np.radians(25)) ** 2
"""Largest cost of a camera: beyond this tilt it is held at random."""
TILT = np.radians(8)
"""Usual tilt of a hand-held camera, radians."""
LEVEL_SHARE = 0.6
"""Least share of the cameras that must be held level for up to be known."""


@dataclass(frozen=True)
class Placement:
    """A similarity, x' = scale * rotation @ x + translation, after which z is up."""

    rotation: Float64[ndarray, "3 3"]
    scale: float
    translation: Vec
    up_found: bool
    metric: bool
    """Whether x' is in metres."""
    how: str
    """What the placement rests on, in words."""
    origin: tuple[float, float, float] | None
    """Latitude, longitude (degrees) and altitude (metres) of x' = 0, where x' is then east, north
    and up; None: not known."""


def placement_of(
    centres: Float64[ndarray, "n 3"],
    rotations: Float64[ndarray, "n 3 3"],
    points: Float64[ndarray, "m 3"],
    gps: Float64[ndarray, "n 3"] | None = None,
    distance: tuple[int, int, float] | None = None,
) -> Placement:
    """The placement of a reconstruction.

    `rotations` are world to camera, `gps` latitude, longitude and altitude in degrees and metres
    (NaN: not known), `distance` the numbers of two cameras and the metres between them. GPS is
    believed where it spreads well beyond its own error; a distance that is given goes before the
    scale it has. Raises ValueError where the distance is of no use.
    """
    metres = None if distance is None else _metres(centres, distance)
    up, how = upward(centres, rotations, points)
    fix, refused = (None, "") if gps is None else gps_fix(centres, gps, up)
    if fix is not None:
        return _by_gps(fix, centres, up, how, metres)
    rotation = np.eye(3) if up is None else rotation_to_z(up)
    scale = 1.0 if metres is None else metres
    low, origin_said = _ground(centres, points, rotation, up is not None)
    scale_said = "the scale by the distance given" if metres is not None else "no known scale"
    sentences = (how, scale_said, *([refused] if refused else []), origin_said)
    return Placement(
        rotation,
        scale,
        -scale * low,
        up is not None,
        metres is not None,
        "; ".join(sentences),
        None,
    )


def _metres(centres: Float64[ndarray, "n 3"], distance: tuple[int, int, float]) -> float:
    """Metres per unit of the reconstruction."""
    i, j, metres = distance
    count = len(centres)
    if not (0 <= i < count and 0 <= j < count and i != j):
        raise ValueError(
            f"the known distance is between cameras {i} and {j}; expected two different ones from"
            f" 0 to {count - 1}: name two photos that were registered"
        )
    if not 0 < metres < np.inf:
        raise ValueError(f"the known distance is {metres:g} m; expected a length above 0")
    apart = float(np.linalg.norm(centres[i] - centres[j]))
    reach = float(np.linalg.norm(centres - centres.mean(0), axis=1).max())
    if apart <= 1e-6 * reach:
        raise ValueError(
            f"the known distance of {metres:g} m is between two cameras in the same place; expected"
            " two that stand apart: measure between others"
        )
    return metres / apart


def _by_gps(
    fix: Fix, centres: Float64[ndarray, "n 3"], up: Vec | None, how: str, metres: float | None
) -> Placement:
    sentences = [fix.said if fix.tilted or up is None else f"{how}; {fix.said}"]
    translation, scale = fix.translation, fix.scale
    if metres is not None:
        middle = centres.mean(0)
        translation = translation + (scale - metres) * fix.rotation @ middle
        sentences.append(f"the scale by the distance given (GPS: {metres / scale - 1:+.1%})")
        scale = metres
    return Placement(fix.rotation, scale, translation, True, True, "; ".join(sentences), fix.origin)


def _ground(
    centres: Float64[ndarray, "n 3"],
    points: Float64[ndarray, "m 3"],
    rotation: Float64[ndarray, "3 3"],
    upright: bool,
) -> tuple[Vec, str]:
    """The origin, in the rotated frame, and how it was chosen."""
    if len(points) == 0:
        return rotation @ np.median(centres, 0), "origin amid the cameras"
    middle = np.median(points, 0)
    turned = points @ rotation.T
    if not upright:
        return rotation @ middle, "origin at the median of the points"
    away = np.linalg.norm(points - middle, axis=1)
    low: Vec = np.median(turned, 0)
    # What lies far off is seldom the ground that one stands on.
    low[2] = np.quantile(turned[away <= 2 * np.median(away), 2], 0.02)
    return low, "origin amid the points, on their lowest fiftieth"


def upward(
    centres: Float64[ndarray, "n 3"],
    rotations: Float64[ndarray, "n 3 3"],
    points: Float64[ndarray, "m 3"],
) -> tuple[Vec | None, str]:
    """The unit vector of up, and what it rests on; None where cameras are held at random."""
    vertical = _by_cameras(centres, rotations)
    if vertical is None:
        return None, "up is not known: the cameras are held every way"
    normals = normals_of(points)
    floor = floor_normal(normals, vertical)
    if floor is not None:
        return floor, "up by how the cameras are held, and across the floor"
    walls = walls_axis(normals, vertical)
    if walls is not None:
        return walls, "up by how the cameras are held, and along the walls"
    return vertical, "up by how the cameras are held"


def _by_cameras(
    centres: Float64[ndarray, "n 3"], rotations: Float64[ndarray, "n 3 3"]
) -> Vec | None:
    """The direction of least cost for the cameras, refined.

    Photos are held upright or sideways, so that one side of each is level: what all of them agree
    on is the vertical, wherever they look.
    """
    candidates = _candidates(rotations)
    about = centres - centres.mean(0)
    about = about / np.sqrt(max(float((about**2).sum()), 1e-30))
    costs = [
        _cost(rotations, direction) + CLIMB * float(((about @ direction) ** 2).sum())
        for direction in candidates
    ]
    up = candidates[int(np.argmin(costs))]
    for _ in range(10):
        side = _sides(rotations, up)[0].argmin(0)
        every = np.arange(len(rotations))
        level, upright = rotations[every, 1 - side % 2], rotations[every, side % 2]
        weight = 1 / (1 + (level @ up / np.sin(TILT)) ** 2) ** 2
        # The second term settles the pitch where all cameras look the same way.
        square = (weight[:, None] * level).T @ level - 0.003 * (
            weight[:, None] * upright
        ).T @ upright
        up = towards(np.linalg.eigh(square)[1][:, 0], up)
    return up if _level(rotations, up) >= LEVEL_SHARE else None


def _candidates(rotations: Float64[ndarray, "n 3 3"]) -> Float64[ndarray, "c 3"]:
    """Candidates for up: sides of photos, and cross products of the sides of two photos."""
    draw = np.random.default_rng(0)
    some = draw.permutation(len(rotations))[:150]
    x, y = rotations[some, 0], rotations[some, 1]
    first, second = draw.integers(len(some), size=(2, 300))
    crossed = np.concatenate([np.cross(a[first], b[second]) for a, b in ((x, x), (x, y), (y, y))])
    directions = np.concatenate([-y, x, -x, -y.mean(0, keepdims=True), crossed, -crossed])
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    kept: Float64[ndarray, "c 3"] = (directions / np.maximum(length, 1e-12))[length[:, 0] > 1e-2]
    return kept


def _sides(
    rotations: Float64[ndarray, "n 3 3"], up: Vec
) -> tuple[Float64[ndarray, "3 n"], Float64[ndarray, "n"]]:
    """Squared sines between `up` and the sides x, -y and -x of each photo, and how far up it looks.

    Of what a photo shows of the vertical, so that a camera that looks along it has none; a side
    that points down has the most.
    """
    right, down, ahead = (rotations @ up).T
    squared = right**2 + down**2
    sides = [
        np.where(right > 0, down**2, squared) + SIDEWAYS * squared,
        np.where(down < 0, right**2, squared),
        np.where(right < 0, down**2, squared) + SIDEWAYS * squared,
    ]
    return np.stack(sides), ahead


def _cost(rotations: Float64[ndarray, "n 3 3"], up: Vec) -> float:
    """Mean cost of the cameras if `up` is the vertical."""
    sides, ahead = _sides(rotations, up)
    return float((np.minimum(sides.min(0), LIMIT) + STEEP * ahead**2 + DOWN * ahead).mean())


def _level(rotations: Float64[ndarray, "n 3 3"], up: Vec) -> float:
    """Share of the cameras that are held upright, sideways or straight down."""
    sides, ahead = _sides(rotations, up)
    held = (sides.min(0) <= LIMIT * (1 - ahead**2)) | (ahead < -0.97)
    return float(held.mean())
