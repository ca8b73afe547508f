"""The objects as signed distances: smooth blends of balls, round cones and rings.

World frame: z up, the objects face +x and lie within `RADIUS` of the origin. Numpy throughout, in
the precision that is given.
"""

from __future__ import annotations

import numpy as np

from splat.datasets.tracer.solids import across, ball, ring, round_cone, smooth_min
from splat.datasets.tracer.vectors import Array, Distance, Triple, Vector, dot, unit

RADIUS = 1.1
"""Every object lies within this distance of the origin."""


def limb(
    x: Array, y: Array, z: Array, start: Triple, end: Triple, low: float, high: float
) -> Array:
    """Hull of a ball of radius `low` at `start` and one of radius `high` at `end`."""
    along = np.subtract(end, start)
    length = float(np.linalg.norm(along))
    u, v, w = (float(a) / length for a in along)
    point = (x - start[0], y - start[1], z - start[2])
    height = dot(point, (u, v, w))
    # Closer to the axis than by squares and a difference, which cancel there.
    a, b, c = point[0] - height * u, point[1] - height * v, point[2] - height * w
    return round_cone(np.sqrt(a * a + b * b + c * c), height, low, high, length)


def blended(parts: tuple[Array, ...], width: float) -> Array:
    """The union of parts, one after the other, with fillets of that width."""
    whole = parts[0]
    for part in parts[1:]:
        whole = smooth_min(whole, part, width)
    return whole


def _lens(x: Array, y: Array, z: Array, radius: float, half: float) -> Array:
    """Where two equal balls overlap: a disc across y, `radius` wide and `half` thick at most.

    Its rim is rounded, which makes it a little smaller than that.
    """
    ball_radius = (radius * radius + half * half) / (2 * half)
    offset = ball_radius - half
    first, second = ball(x, y - offset, z, ball_radius), ball(x, y + offset, z, ball_radius)
    return -smooth_min(-first, -second, 0.06)


def rabbit(x: Array, y: Array, z: Array) -> Array:
    """A sitting rabbit with upright ears, as if blown up of foil."""
    side = np.abs(y)
    body = blended(
        (
            limb(x, y, z, (-0.06, 0.0, -0.44), (0.04, 0.0, -0.04), 0.43, 0.29),
            limb(x, y, z, (0.1, 0.0, 0.3), (0.24, 0.0, 0.24), 0.27, 0.2),
        ),
        0.1,
    )
    rest = (
        limb(x, side, z, (0.02, 0.12, 0.5), (-0.14, 0.27, 0.87), 0.095, 0.06),
        limb(x, side, z, (0.08, 0.23, -0.71), (0.46, 0.3, -0.76), 0.17, 0.12),
        limb(x, side, z, (0.14, 0.27, -0.1), (0.45, 0.17, -0.2), 0.1, 0.085),
        ball(x + 0.52, y, z + 0.58, 0.15),
    )
    return blended((body, *rest), 0.07)


def teapot(x: Array, y: Array, z: Array) -> Array:
    """A pot with spout, handle, foot, and a lid with a knob."""
    axis = across(x, y)
    body = blended(
        (
            round_cone(axis, z + 0.16, 0.56, 0.42, 0.26),
            limb(x, y, z, (0.42, 0.0, -0.22), (0.72, 0.0, 0.08), 0.19, 0.105),
            limb(x, y, z, (0.72, 0.0, 0.08), (0.93, 0.0, 0.38), 0.105, 0.065),
        ),
        0.12,
    )
    rest = (
        ring(across(x + 0.56, z - 0.02), y, 0.3, 0.07),
        ring(axis, z + 0.66, 0.3, 0.075),
        ring(axis, z - 0.44, 0.3, 0.055),
        round_cone(axis, z - 0.45, 0.13, 0.05, 0.14),
        ball(x, y, z - 0.69, 0.11),
    )
    return blended((body, *rest), 0.06)


PLATES: tuple[tuple[float, float, float], ...] = (
    (-0.52, 0.12, 0.13),
    (-0.3, 0.28, 0.17),
    (-0.04, 0.33, 0.19),
    (0.2, 0.29, 0.16),
    (0.41, 0.33, 0.12),
)
"""x, z and radius of the plates on the dinosaur's back."""


def dinosaur(x: Array, y: Array, z: Array) -> Array:
    """Four legs, a long neck and tail, and thin plates along the back."""
    side = np.abs(y)
    body = blended(
        (
            limb(x, y, z, (-0.22, 0.0, -0.1), (0.18, 0.0, -0.06), 0.34, 0.28),
            limb(x, y, z, (0.32, 0.0, 0.02), (0.6, 0.0, 0.5), 0.19, 0.11),
            limb(x, y, z, (0.6, 0.0, 0.56), (0.82, 0.0, 0.5), 0.135, 0.085),
            limb(x, y, z, (-0.45, 0.0, -0.16), (-0.76, 0.12, -0.34), 0.21, 0.1),
            limb(x, y, z, (-0.76, 0.12, -0.34), (-0.93, 0.3, -0.33), 0.1, 0.045),
            limb(x, side, z, (-0.3, 0.2, -0.3), (-0.34, 0.25, -0.68), 0.17, 0.125),
            limb(x, side, z, (0.22, 0.17, -0.28), (0.26, 0.22, -0.68), 0.14, 0.11),
        ),
        0.12,
    )
    plates = tuple(_lens(x - at, y, z - high, size, 0.07) for at, high, size in PLATES)
    return blended((body, *plates), 0.05)


SHAPES: dict[str, Distance] = {"mirror": rabbit, "glossy": teapot, "diffuse": dinosaur}


def gradient(distance: Distance, point: Vector) -> Vector:
    """By central differences; exact to about 1e-9 in float64. Shorter than 1 in fillets."""
    step = 1e-5
    found = []
    for axis in range(3):
        low, high = list(point), list(point)
        low[axis], high[axis] = point[axis] - step, point[axis] + step
        found.append((distance(*high) - distance(*low)) / (2 * step))
    u, v, w = found
    return u, v, w


def normal(distance: Distance, point: Vector) -> Vector:
    """Unit gradient of a distance: outward, on its surface."""
    return unit(gradient(distance, point))
