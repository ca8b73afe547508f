"""GPS alignment of a reconstruction: geodetic positions in metres, and the similarity to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from splat.formats.globe import axes_at, ecef

Vec = Float64[ndarray, "3"]

SURE = 5.0
"""Ratio of the spread of GPS positions to their error from which they are used."""
TILT_ERROR = np.radians(1.0)
"""Largest error of the tilt by GPS, radians, at which it is preferred to that of the cameras."""
OUTLYING = 3.0
"""Errors, in standard deviations, beyond which a position is an outlier."""
LEAST = 4
"""Least number of known positions, of which half must agree."""
DRAWS = 300
_ROUGH = 0.85
"""Standard deviation of a coordinate over the median length, in the plane; in space it is 0.65."""


class SimilarityFit(NamedTuple):
    """A similarity of two or three dimensions, and the inliers that it was fitted to."""

    scale: float
    rotation: Float64[ndarray, "d d"]
    translation: Float64[ndarray, "d"]
    inside: Bool[ndarray, "n"]

    def errors(
        self, source: Float64[ndarray, "n d"], target: Float64[ndarray, "n d"]
    ) -> Float64[ndarray, "n d"]:
        """Residuals of the positions."""
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
    """Whether the vertical is that of GPS, too, and not that of the cameras."""
    said: str


def gps_fix(
    centres: Float64[ndarray, "n 3"], gps: Float64[ndarray, "n 3"], up: Vec | None
) -> tuple[Fix | None, str]:
    """The similarity that takes camera centres to their GPS positions, or None with the reason.

    `up`, where known, keeps the reconstruction level if positions are too few, on a line or too
    noisy to say how it is tilted.
    """
    usable = np.isfinite(gps[:, :2]).all(1)
    high = usable & np.isfinite(gps[:, 2])
    flat = high.sum() < max(LEAST, usable.sum() / 2)
    usable = usable if flat else high
    if usable.sum() < LEAST:
        return None, f"GPS of {usable.sum()} photos only was left out (expected {LEAST} or more)"
    positions = gps[usable].copy()
    if flat:
        positions[:, 2] = 0
    origin = _middle(positions)
    local, metres = centres[usable], enu(positions, origin)
    fit, tilted = None if flat else similarity(local, metres), True
    if fit is None or not _tilt_known(local, metres, fit, up is None):
        if up is None:
            return None, "GPS was left out: without the vertical it does not say how to turn"
        fit, tilted = _levelled(local, metres, up), False
    if fit is None:
        return None, "GPS was left out: its positions are all in one place"
    spread, error = _spread_and_error(local, metres, fit, level=not tilted)
    if not spread > SURE * error:
        return None, (
            f"GPS was left out: it spreads {spread:.1f} m with an error of {error:.1f} m"
            f" (expected {SURE:g} times as much)"
        )
    agree = int(fit.inside.sum())
    if agree < max(LEAST, len(local) / 2):
        return None, f"GPS was left out: {agree} of {len(local)} positions agree only"
    text = (
        f"GPS of {agree} of {len(gps)} photos gives {'metres, up' if tilted else 'metres'} and"
        f" north, to {error:.2g} m over {spread:.3g} m"
    )
    return Fix(fit.scale, fit.rotation, fit.translation, origin, tilted, text), ""


def enu(
    geodetic: Float64[ndarray, "n 3"], origin: tuple[float, float, float]
) -> Float64[ndarray, "n 3"]:
    """Metres east, north and up of `origin`."""
    away = ecef(geodetic) - ecef(np.array([origin]))
    result: Float64[ndarray, "n 3"] = away @ axes_at(origin).T
    return result


def _middle(geodetic: Float64[ndarray, "n 3"]) -> tuple[float, float, float]:
    """Median of positions, on either side of the date line."""
    latitude, longitude, altitude = geodetic.T
    first = longitude[0]
    turned = np.median((longitude - first + 180) % 360 - 180) + first
    east = (float(turned) + 180) % 360 - 180
    return float(np.median(latitude)), east, float(np.median(altitude))


def similarity(
    source: Float64[ndarray, "n d"], target: Float64[ndarray, "n d"]
) -> SimilarityFit | None:
    """Robust fit of the similarity of most pairs; None where they are all in one place.

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
        candidate = SimilarityFit(*fit, everyone)
        middle = float(np.median(_lengths(candidate.errors(source, target))))
        if middle < least:
            best, least = candidate, middle
    for _ in range(20):
        if best is None:
            return None
        lengths = _lengths(best.errors(source, target))
        kept = lengths <= OUTLYING * _ROUGH * np.median(lengths) + 1e-9
        fit = umeyama(source[kept], target[kept]) if kept.sum() > axes else None
        if fit is None:
            break
        before, best = best, SimilarityFit(*fit, kept)
        if (before.inside == kept).all():
            break
    return best


def umeyama(
    source: Float64[ndarray, "n d"], target: Float64[ndarray, "n d"]
) -> tuple[float, Float64[ndarray, "d d"], Float64[ndarray, "d"]] | None:
    """Least-squares scale, rotation and translation (Umeyama 1991); None where it is degenerate."""
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


def rotation_to_z(up: Vec) -> Float64[ndarray, "3 3"]:
    """The smallest rotation that takes the unit vector `up` to +z."""
    x, y, cosine = map(float, up)
    if cosine < -1 + 1e-12:
        return np.diag([1.0, -1.0, -1.0])
    across = np.array([[0, 0, -x], [0, 0, -y], [x, y, 0]])
    result: Float64[ndarray, "3 3"] = np.eye(3) + across + across @ across / (1 + cosine)
    return result


def _levelled(
    source: Float64[ndarray, "n 3"], target: Float64[ndarray, "n 3"], up: Vec
) -> SimilarityFit | None:
    """As `similarity`, with `up` kept vertical: fitted in east and north only."""
    level = rotation_to_z(up)
    stood = source @ level.T
    fit = similarity(stood[:, :2], target[:, :2])
    if fit is None:
        return None
    turn = np.eye(3)
    turn[:2, :2] = fit.rotation
    heights = (target[:, 2] - fit.scale * stood[:, 2])[fit.inside]
    shift = np.array([*fit.translation, np.median(heights)])
    return SimilarityFit(fit.scale, turn @ level, shift, fit.inside)


def _spread_and_error(
    source: Float64[ndarray, "n 3"],
    target: Float64[ndarray, "n 3"],
    fit: SimilarityFit,
    level: bool = False,
) -> tuple[float, float]:
    """Root mean squares, metres: of the inliers about their centre, and of their residuals.

    The latter is corrected for the degrees of freedom of the fit: four level, seven in space.
    """
    axes, fitted = (2, 4) if level else (3, 7)
    inside = target[fit.inside, :axes]
    off = fit.errors(source, target)[fit.inside, :axes]
    spread = np.sqrt(((inside - inside.mean(0)) ** 2).sum() / len(inside))
    error = np.sqrt((off**2).sum() / max(1, off.size - fitted) * axes)
    return float(spread), float(error)


def _tilt_known(
    source: Float64[ndarray, "n 3"], target: Float64[ndarray, "n 3"], fit: SimilarityFit, only: bool
) -> bool:
    """Whether positions spread enough across their longest axis to determine the tilt of the scene.

    To a degree, or, where it is the `only` thing to go by, to within `SURE` of their error.
    """
    about = fit.scale * (source - source[fit.inside].mean(0))[fit.inside]
    second = float(np.linalg.svd(about, compute_uv=False)[1]) / np.sqrt(len(about))
    error = _spread_and_error(source, target, fit)[1]
    if not second > SURE * error:
        return False
    return only or error / np.sqrt(3 * len(about)) / second < TILT_ERROR


def _lengths(vectors: Float64[ndarray, "n d"]) -> Float64[ndarray, "n"]:
    result: Float64[ndarray, "n"] = np.linalg.norm(vectors, axis=1)
    return result
