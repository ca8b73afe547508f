"""GPS beside a reconstruction: geodetic positions as metres, and the similarity between both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

Vec = Float64[ndarray, "3"]

EQUATOR, FLATTENING = 6378137.0, 1 / 298.257223563
"""Radius of the earth at its equator, metres, and its flattening (WGS 84)."""
SURE = 5.0
"""How many times its own error GPS must spread to be believed."""
TILT_ERROR = np.radians(1.0)
"""Error up to which the tilt that GPS gives goes before that of the cameras."""
OUTLYING = 3.0
"""Errors, in standard deviations, beyond which a position is left out."""
LEAST = 4
"""Positions that must be known, and half of them agree."""
DRAWS = 300
_ROUGH = 0.85
"""Standard deviation of a coordinate over the median length, level; in space it is 0.65."""


class Found(NamedTuple):
    """A similarity of two or three dimensions, and the positions it rests on."""

    scale: float
    rotation: Float64[ndarray, "d d"]
    translation: Float64[ndarray, "d"]
    inside: Bool[ndarray, "n"]

    def errors(
        self, source: Float64[ndarray, "n d"], target: Float64[ndarray, "n d"]
    ) -> Float64[ndarray, "n d"]:
        """What is left of each position."""
        off: Float64[ndarray, "n d"] = self.scale * source @ self.rotation.T
        off += self.translation - target
        return off


@dataclass(frozen=True)
class Fix:
    """A similarity to metres east, north and up of an origin."""

    scale: float
    rotation: Float64[ndarray, "3 3"]
    translation: Vec
    origin: tuple[float, float, float]
    """Latitude, longitude (degrees), altitude (metres; 0 where no altitude is known)."""
    tilted: bool
    """Whether up is that of GPS, too, and not that of the cameras."""
    said: str


def located(
    centres: Float64[ndarray, "n 3"], gps: Float64[ndarray, "n 3"], up: Vec | None
) -> tuple[Fix | None, str]:
    """The similarity that takes camera centres to their GPS positions, or None and why not.

    `up`, where known, keeps the reconstruction level if positions are too few, on a line or too
    noisy to say how it is tilted.
    """
    known = np.isfinite(gps[:, :2]).all(1)
    high = known & np.isfinite(gps[:, 2])
    flat = high.sum() < max(LEAST, known.sum() / 2)
    known = known if flat else high
    if known.sum() < LEAST:
        return None, f"GPS of {known.sum()} photos only was left out (expected {LEAST} or more)"
    given = gps[known].copy()
    if flat:
        given[:, 2] = 0
    origin = _middle(given)
    local, metres = centres[known], enu(given, origin)
    found, tilted = None if flat else similarity(local, metres), True
    if found is None or not _tilt_known(local, metres, found, up is None):
        if up is None:
            return None, "GPS was left out: without the vertical it does not say how to turn"
        found, tilted = _levelled(local, metres, up), False
    if found is None:
        return None, "GPS was left out: its positions are all in one place"
    spread, error = _spread_and_error(local, metres, found, level=not tilted)
    if not spread > SURE * error:
        return None, (
            f"GPS was left out: it spreads {spread:.1f} m with an error of {error:.1f} m"
            f" (expected {SURE:g} times as much)"
        )
    agree = int(found.inside.sum())
    if agree < max(LEAST, len(local) / 2):
        return None, f"GPS was left out: {agree} of {len(local)} positions agree only"
    said = (
        f"GPS of {agree} of {len(gps)} photos gives {'metres, up' if tilted else 'metres'} and"
        f" north, to {error:.2g} m over {spread:.3g} m"
    )
    return Fix(found.scale, found.rotation, found.translation, origin, tilted, said), ""


def ecef(geodetic: Float64[ndarray, "n 3"]) -> Float64[ndarray, "n 3"]:
    """Earth-centred metres of latitude, longitude (degrees) and altitude (metres), WGS 84."""
    latitude, longitude = np.radians(geodetic[:, 0]), np.radians(geodetic[:, 1])
    altitude = geodetic[:, 2]
    squared = FLATTENING * (2 - FLATTENING)
    normal = EQUATOR / np.sqrt(1 - squared * np.sin(latitude) ** 2)
    across = (normal + altitude) * np.cos(latitude)
    return np.stack(
        [
            across * np.cos(longitude),
            across * np.sin(longitude),
            (normal * (1 - squared) + altitude) * np.sin(latitude),
        ],
        1,
    )


def enu(
    geodetic: Float64[ndarray, "n 3"], origin: tuple[float, float, float]
) -> Float64[ndarray, "n 3"]:
    """Metres east, north and up of `origin`."""
    latitude, longitude = np.radians(origin[0]), np.radians(origin[1])
    s, c, sl, cl = np.sin(latitude), np.cos(latitude), np.sin(longitude), np.cos(longitude)
    axes = np.array([[-sl, cl, 0], [-s * cl, -s * sl, c], [c * cl, c * sl, s]])
    found: Float64[ndarray, "n 3"] = (ecef(geodetic) - ecef(np.array([origin]))) @ axes.T
    return found


def _middle(geodetic: Float64[ndarray, "n 3"]) -> tuple[float, float, float]:
    """The middle of positions, on either side of the date line."""
    latitude, longitude, altitude = geodetic.T
    first = longitude[0]
    turned = np.median((longitude - first + 180) % 360 - 180) + first
    east = (float(turned) + 180) % 360 - 180
    return float(np.median(latitude)), east, float(np.median(altitude))


def similarity(source: Float64[ndarray, "n d"], target: Float64[ndarray, "n d"]) -> Found | None:
    """The similarity that most pairs agree on; None where they are all in one place.

    Least median of squares over minimal draws, then least squares of what lies within three
    standard deviations, until that changes no more.
    """
    count, axes = source.shape
    draw = np.random.default_rng(0)
    best, least = None, np.inf
    everyone = np.ones(count, bool)
    for trial in range(DRAWS):
        chosen = everyone if not trial else draw.permutation(count)[:axes]
        fit = umeyama(source[chosen], target[chosen])
        if fit is None:
            continue
        found = Found(*fit, everyone)
        middle = float(np.median(_lengths(found.errors(source, target))))
        if middle < least:
            best, least = found, middle
    for _ in range(20):
        if best is None:
            return None
        lengths = _lengths(best.errors(source, target))
        kept = lengths <= OUTLYING * _ROUGH * np.median(lengths) + 1e-9
        fit = umeyama(source[kept], target[kept]) if kept.sum() > axes else None
        if fit is None:
            break
        before, best = best, Found(*fit, kept)
        if (before.inside == kept).all():
            break
    return best


def umeyama(
    source: Float64[ndarray, "n d"], target: Float64[ndarray, "n d"]
) -> tuple[float, Float64[ndarray, "d d"], Float64[ndarray, "d"]] | None:
    """Least-squares scale, rotation and translation (Umeyama 1991); None where it has none."""
    a, b = source.mean(0), target.mean(0)
    x, y = source - a, target - b
    variance = (x**2).sum()
    if not variance > 0 or not (y**2).sum() > 0:
        return None
    left, values, right = np.linalg.svd(y.T @ x)
    signs = np.ones(len(values))
    signs[-1] = np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0
    rotation = (left * signs) @ right
    scale = float((values * signs).sum() / variance)
    if not scale > 0:
        return None
    return scale, rotation, b - scale * rotation @ a


def turned_to_z(up: Vec) -> Float64[ndarray, "3 3"]:
    """The smallest rotation that takes the unit vector `up` to +z."""
    x, y, cosine = map(float, up)
    if cosine < -1 + 1e-12:
        return np.diag([1.0, -1.0, -1.0])
    across = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])
    found: Float64[ndarray, "3 3"] = np.eye(3) + across + across @ across / (1 + cosine)
    return found


def _levelled(
    source: Float64[ndarray, "n 3"], target: Float64[ndarray, "n 3"], up: Vec
) -> Found | None:
    """As `similarity`, with `up` kept: turned about the vertical only, by east and north."""
    level = turned_to_z(up)
    stood = source @ level.T
    found = similarity(stood[:, :2], target[:, :2])
    if found is None:
        return None
    turn = np.eye(3)
    turn[:2, :2] = found.rotation
    heights = (target[:, 2] - found.scale * stood[:, 2])[found.inside]
    shift = np.array([*found.translation, np.median(heights)])
    return Found(found.scale, turn @ level, shift, found.inside)


def _spread_and_error(
    source: Float64[ndarray, "n 3"],
    target: Float64[ndarray, "n 3"],
    found: Found,
    level: bool = False,
) -> tuple[float, float]:
    """Root mean squares, metres: of the positions about their middle, and of what is left.

    The latter is set right for the numbers fitted: four of them level, seven in space.
    """
    axes, fitted = (2, 4) if level else (3, 7)
    inside = target[found.inside, :axes]
    off = found.errors(source, target)[found.inside, :axes]
    spread = np.sqrt(((inside - inside.mean(0)) ** 2).sum() / len(inside))
    error = np.sqrt((off**2).sum() / max(1, off.size - fitted) * axes)
    return float(spread), float(error)


def _tilt_known(
    source: Float64[ndarray, "n 3"], target: Float64[ndarray, "n 3"], found: Found, only: bool
) -> bool:
    """Whether positions spread enough across their longest axis to say how the scene is tilted.

    To a degree, or, where it is the `only` thing to go by, to within `SURE` of their error.
    """
    about = found.scale * (source - source[found.inside].mean(0))[found.inside]
    second = float(np.linalg.svd(about, compute_uv=False)[1]) / np.sqrt(len(about))
    error = _spread_and_error(source, target, found)[1]
    if not second > SURE * error:
        return False
    return only or error / np.sqrt(3 * len(about)) / second < TILT_ERROR


def _lengths(vectors: Float64[ndarray, "n d"]) -> Float64[ndarray, "n"]:
    found: Float64[ndarray, "n"] = np.linalg.norm(vectors, axis=1)
    return found
