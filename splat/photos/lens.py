"""Lens distortion of every camera model we read, as one function of points on the plane z = 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from splat.scene import Lens

Array = npt.NDArray[np.float64]
Distortion = Callable[[Array, Array, tuple[float, ...]], tuple[Array, Array]]

_DIRECTIONS, _RADII = 64, 512
_SMALL = 1e-12


def distort(lens: Lens, x: Array, y: Array) -> tuple[Array, Array]:
    """Where the lens puts the points (x, y) of the plane z = 1, on the same plane.

    Pixels follow as fx x' + cx, fy y' + cy. Coefficients left out are zero.
    """
    return directed(lens, x, y, np.ones(()))


def directed(lens: Lens, x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    """Where the lens puts the directions (x, y, z), on the plane z = 1.

    A fisheye sees beyond a right angle to its axis; for the others z must be above 0.
    """
    if lens.model in _FISHEYES:
        u, v = _equidistant(x, y, z)
        return _FISHEYES[lens.model](u, v, lens.coefficients)
    return _FAMILIES[lens.model](x / z, y / z, lens.coefficients)


def is_fisheye(lens: Lens) -> bool:
    """Whether the lens bends by angles, so that it may see beyond a right angle to its axis."""
    return lens.model in _FISHEYES


def angle_at(lens: Lens, radius: float) -> float:
    """Angle to the axis, radians, that a fisheye without decentring puts at `radius` of the plane.

    That from which on the lens folds back, or pi, where it reaches no further.
    """
    angles = np.linspace(0, np.pi, 1801)
    with np.errstate(all="ignore"):
        u, v = _FISHEYES[lens.model](angles, np.zeros_like(angles), lens.coefficients)
        radii = np.hypot(u, v)
    past = np.flatnonzero((radii[1:] >= radius) | ~(np.diff(radii) > 0))
    if len(past) == 0:
        return float(np.pi)
    first = int(past[0])
    low, high = radii[first], radii[first + 1]
    share = np.clip((radius - low) / (high - low), 0, 1) if high > low else 0.0
    return float(angles[first] + share * (angles[1] - angles[0]))


def reach(lens: Lens, radius: float) -> float:
    """Radius on the plane z = 1, at most `radius`, up to which the lens is one to one.

    Polynomials fitted to a photograph fold back beyond its border: points farther out would
    land inside the photograph a second time.
    """
    angles = np.linspace(0, 2 * np.pi, _DIRECTIONS, endpoint=False)[:, None]
    radii = np.linspace(0, radius, _RADII)[None]
    with np.errstate(all="ignore"):
        x, y = distort(lens, radii * np.cos(angles), radii * np.sin(angles))
        outward = np.diff(x * np.cos(angles) + y * np.sin(angles), axis=1) > 0
    good = outward.all(0)
    return radius if good.all() else float(radii[0, np.argmin(good)])


def _padded(coefficients: tuple[float, ...], count: int) -> tuple[float, ...]:
    return (*coefficients, *(0.0,) * count)[:count]


def _radial(x: Array, y: Array, coefficients: tuple[float, ...]) -> tuple[Array, Array]:
    """Brown's model in OpenCV's rational form: k1 k2 p1 p2 k3 k4 k5 k6."""
    k1, k2, p1, p2, k3, k4, k5, k6 = _padded(coefficients, 8)
    r2 = x * x + y * y
    scale = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return _tangential(x * scale, y * scale, x, y, p1, p2)


def _brown(x: Array, y: Array, coefficients: tuple[float, ...]) -> tuple[Array, Array]:
    """Brown's polynomial as Metashape and RealityCapture have it: k1 k2 k3 k4 p1 p2 skew.

    p1 and p2 in OpenCV's order; skew is how far right a point lies for how far down it is.
    """
    k1, k2, k3, k4, p1, p2, skew = _padded(coefficients, 7)
    r2 = x * x + y * y
    scale = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
    u, v = _tangential(x * scale, y * scale, x, y, p1, p2)
    return u + skew * v, v


def _fisheye(u: Array, v: Array, coefficients: tuple[float, ...]) -> tuple[Array, Array]:
    """Kannala and Brandt: the radius is a polynomial of the angle; k1 k2 k3 k4."""
    k1, k2, k3, k4 = _padded(coefficients, 4)
    t2 = u * u + v * v
    scale = 1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))
    return u * scale, v * scale


def _thin_prism_fisheye(u: Array, v: Array, coefficients: tuple[float, ...]) -> tuple[Array, Array]:
    """`fisheye` with terms of a tilted sensor: k1 k2 p1 p2 k3 k4 sx sy."""
    k1, k2, p1, p2, k3, k4, sx, sy = _padded(coefficients, 8)
    t2 = u * u + v * v
    scale = 1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4)))
    u1, v1 = _tangential(u * scale, v * scale, u, v, p1, p2)
    return u1 + sx * t2, v1 + sy * t2


def _rad_tan_thin_prism_fisheye(
    u: Array, v: Array, coefficients: tuple[float, ...]
) -> tuple[Array, Array]:
    """Project Aria's 16 parameters: k0 ... k5, p0 p1, s0 s1 s2 s3."""
    k0, k1, k2, k3, k4, k5, p0, p1, s0, s1, s2, s3 = _padded(coefficients, 12)
    t2 = u * u + v * v
    scale = 1 + t2 * (k0 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * (k4 + t2 * k5)))))
    u, v = u * scale, v * scale
    r2 = u * u + v * v
    # The order of p0 and p1 is the other way round than OpenCV's p1 and p2.
    u1, v1 = _tangential(u, v, u, v, p1, p0)
    return u1 + r2 * (s0 + s1 * r2), v1 + r2 * (s2 + s3 * r2)


def _fov(x: Array, y: Array, coefficients: tuple[float, ...]) -> tuple[Array, Array]:
    """Devernay and Faugeras: one angle omega, radians."""
    (omega,) = _padded(coefficients, 1)
    if abs(omega) < 1e-6:
        return x, y
    r = np.hypot(x, y)
    scale = np.arctan(2 * r * np.tan(omega / 2)) / (np.maximum(r, _SMALL) * omega)
    scale = np.where(r < _SMALL, 2 * np.tan(omega / 2) / omega, scale)
    return x * scale, y * scale


def _division(x: Array, y: Array, coefficients: tuple[float, ...]) -> tuple[Array, Array]:
    """Fitzgibbon: undistorted = distorted / (1 + k r^2), solved for the distorted point."""
    (k,) = _padded(coefficients, 1)
    scale = 2 / (1 + np.sqrt(1 - 4 * k * (x * x + y * y)))
    return x * scale, y * scale


def _eucm(x: Array, y: Array, coefficients: tuple[float, ...]) -> tuple[Array, Array]:
    """Enhanced unified camera model: alpha beta."""
    alpha, beta = _padded(coefficients, 2)
    scale = 1 / (alpha * np.sqrt(beta * (x * x + y * y) + 1) + 1 - alpha)
    return x * scale, y * scale


def _equidistant(x: Array, y: Array, z: Array) -> tuple[Array, Array]:
    """The point whose radius is the angle of (x, y, z) to the axis."""
    r = np.hypot(x, y)
    # Straight ahead the angle is the radius over z.
    scale = np.where(
        r < _SMALL, 1 / np.maximum(z, _SMALL), np.arctan2(r, z) / np.maximum(r, _SMALL)
    )
    return x * scale, y * scale


def _tangential(
    u: Array, v: Array, x: Array, y: Array, p1: float, p2: float
) -> tuple[Array, Array]:
    """(u, v) moved by the decentring that (x, y) suffers."""
    r2, xy = x * x + y * y, 2 * x * y
    return u + p1 * xy + p2 * (r2 + 2 * x * x), v + p2 * xy + p1 * (r2 + 2 * y * y)


_FAMILIES: dict[str, Distortion] = {
    "radial": _radial,
    "brown": _brown,
    "fov": _fov,
    "division": _division,
    "eucm": _eucm,
}
"""Distortion by model, of points on the plane z = 1."""
_FISHEYES: dict[str, Distortion] = {
    "fisheye": _fisheye,
    "brown_fisheye": _brown,
    "thin_prism_fisheye": _thin_prism_fisheye,
    "rad_tan_thin_prism_fisheye": _rad_tan_thin_prism_fisheye,
}
"""Distortion of fisheyes by model, of points whose radius is their angle to the axis."""
