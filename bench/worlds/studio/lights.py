"""Light from all around, made up: pictures of far surroundings over the whole sphere.

A light is [h, w, 3], linear, w = 2 h. In the world (z up), the middle of column i and row j is
the direction

    (sin theta cos phi, sin theta sin phi, cos theta),
    theta = pi (j + 0.5) / h,    phi = 2 pi (0.5 - (i + 0.5) / w):

row 0 is up, the middle column looks along +x, and columns go on towards -y, to the right of one who
stands inside.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from splat.datasets.tracer.colours import edge
from splat.datasets.tracer.vectors import Array, Triple, Vector, dot

HEIGHT = 128
WHITE = 0.8
"""Linear value, after exposure, of a white matte surface that faces the most light."""


def directions(height: int) -> Vector:
    """Of the pixels of a light, unit, three of [h, 2 h]; float64."""
    theta = np.pi * (np.arange(height)[:, None] + 0.5) / height
    phi = np.pi * (1 - (np.arange(2 * height)[None] + 0.5) / height)
    up = np.broadcast_to(np.cos(theta), (height, 2 * height))
    return np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), up


def towards(elevation: float, heading: float) -> Triple:
    """Unit direction at degrees above the ground and degrees from +x to +y."""
    up, turn = np.radians(elevation), np.radians(heading)
    return float(np.cos(up) * np.cos(turn)), float(np.cos(up) * np.sin(turn)), float(np.sin(up))


def _faded(share: Array, low: Triple, high: Triple) -> Array:
    """Colours [h, w, 3] between `low`, where the share is 0, and `high`."""
    return np.asarray(np.array(low) + share[..., None] * np.subtract(high, low))


def _box(d: Vector, middle: Triple, half: tuple[float, float], soft: float = 0.02) -> Array:
    """Share of a lit rectangle, upright, at distance 1 along `middle`; half sizes across and up."""
    across = np.cross(middle, (0.0, 0.0, 1.0))
    across /= np.linalg.norm(across)
    up = np.cross(across, middle)
    ahead = np.maximum(dot(d, middle), 1e-3)
    u, v = (dot(d, (float(a[0]), float(a[1]), float(a[2]))) / ahead for a in (across, up))
    inside = edge(half[0] - np.abs(u), soft) * edge(half[1] - np.abs(v), soft)
    return np.asarray(np.where(ahead > 0.05, inside, 0))


def _disc(d: Vector, middle: Triple, degrees: float) -> Array:
    """Share of a lit disc of that radius, with an edge a third as wide."""
    away = np.degrees(np.arccos(np.clip(dot(d, middle), -1, 1)))
    return edge(np.asarray(degrees - away), degrees / 3)


def _glow(d: Vector, middle: Triple, sharpness: float) -> Array:
    return np.asarray(np.exp(sharpness * (dot(d, middle) - 1)))


def _clouds(d: Vector, scale: float) -> Array:
    """Soft shapes in [0, 1]: sines bent by sines, in four sizes."""
    total = np.zeros_like(d[0])
    x, y, z = (scale * a for a in d)
    for octave in range(4):
        k = 1.9**octave
        bend = np.sin(k * (0.8 * y + 0.6 * z) + 1.3 * octave)
        total += np.sin(k * x + 1.7 * bend) * np.sin(k * (y - 0.7 * z) + 1.2 * bend + octave) / k
    return np.asarray(np.clip(0.5 + 0.45 * total, 0, 1))


def _studio(d: Vector) -> Array:
    """Soft boxes around a dark grey room: one large and warm, two strips, one blue, a ceiling."""
    x, y, z = d
    light = _faded(edge(z, 0.7), (0.2, 0.19, 0.18), (0.07, 0.075, 0.085))
    # Seams of the backdrop, so that the dark parts of a mirror are not empty.
    seams = edge(np.cos(12 * np.arctan2(y, x)) - 0.985, 0.012) * edge(0.75 - np.abs(z), 0.02)
    light = light * (1 + 1.6 * seams[..., None])
    for middle, half, colour in (
        (towards(38, 35), (0.5, 0.42), (7.0, 6.2, 5.2)),
        (towards(12, 125), (0.1, 0.75), (6.5, 6.6, 6.8)),
        (towards(12, 152), (0.1, 0.75), (6.5, 6.6, 6.8)),
        (towards(22, -105), (0.42, 0.3), (1.6, 2.6, 4.6)),
        (towards(-18, -150), (0.55, 0.13), (2.6, 1.2, 0.55)),
        (towards(5, -40), (0.07, 0.5), (4.5, 4.4, 4.2)),
        (towards(72, -120), (0.22, 0.22), (5.5, 5.5, 5.5)),
    ):
        light = light + _box(d, middle, half)[..., None] * np.array(colour)
    return light


def _sky(d: Vector) -> Array:
    """Noon over fields: blue, with clouds and a sun some degrees wide."""
    _, _, z = d
    sun = towards(52, 60)
    sky = _faded(np.clip(z, 0, 1) ** 0.5, (0.95, 1.0, 1.05), (0.18, 0.36, 0.85))
    cloud = edge(_clouds(d, 3.0) - 0.56, 0.14) * edge(z - 0.12, 0.12)
    sky = sky + cloud[..., None] * (np.array((1.3, 1.28, 1.25)) - sky)
    sky = sky + _glow(d, sun, 30.0)[..., None] * np.array((1.2, 1.0, 0.75))
    sky = sky + _disc(d, sun, 4.5)[..., None] * np.array((95.0, 88.0, 76.0))
    fields = _faded(edge(_clouds(d, 7.0) - 0.5, 0.2), (0.12, 0.2, 0.06), (0.33, 0.29, 0.15))
    return np.asarray(sky + edge(-z, 0.01)[..., None] * (fields - sky))


def _sunset(d: Vector) -> Array:
    """A low sun over dark hills, orange around it and violet above."""
    x, y, z = d
    sun = towards(9, -70)
    near = 0.5 + 0.5 * dot(d, (sun[0], sun[1], 0.0))
    low = _faded(near**2, (0.45, 0.3, 0.5), (2.3, 0.95, 0.3))
    sky = low + edge(z - 0.25, 0.35)[..., None] * (np.array((0.16, 0.15, 0.38)) - low)
    streaks = edge(_clouds((x, y, 4 * z), 2.5) - 0.55, 0.15) * edge(z - 0.08, 0.05)
    sky = sky + (0.7 * streaks * near)[..., None] * np.array((1.6, 0.6, 0.45))
    sky = sky + _glow(d, sun, 25.0)[..., None] * np.array((3.0, 1.3, 0.4))
    sky = sky + _disc(d, sun, 4.0)[..., None] * np.array((110.0, 62.0, 26.0))
    turn = np.arctan2(y, x)
    ridge = 0.03 + 0.03 * np.sin(3 * turn) + 0.02 * np.sin(7 * turn + 1) + 0.008 * np.sin(19 * turn)
    ground = _faded(edge(_clouds(d, 6.0) - 0.5, 0.3), (0.05, 0.04, 0.06), (0.16, 0.1, 0.08))
    return np.asarray(sky + edge(ridge - z, 0.01)[..., None] * (ground - sky))


def _room(d: Vector) -> Array:
    """A living room: windows in two walls, a lamp, boards on the floor, a red door."""
    x, y, z = d
    reach = np.stack([np.abs(x) / 3.2, np.abs(y) / 2.4, np.where(z > 0, z / 1.5, -z / 1.1)])
    wall = reach.argmax(0)
    u, v, w = (a / reach.max(0) for a in d)
    light = _faded(edge(w, 1.2), (0.3, 0.27, 0.23), (0.48, 0.45, 0.4))
    boards = 0.75 + 0.25 * np.sin(
        np.floor(v / 0.35) * 12.9 + np.floor(u / 1.3 + np.floor(v / 0.35))
    )
    seam = 0.5 + 0.5 * edge(np.abs(v / 0.35 - np.round(v / 0.35)) - 0.05, 0.03)
    wood = (boards * seam)[..., None] * np.array((0.3, 0.17, 0.08))
    light = np.where(((wall == 2) & (z < 0))[..., None], wood, light)
    light = np.where(((wall == 2) & (z > 0))[..., None], np.array((0.55, 0.53, 0.5)), light)

    def panel(
        on: Array, along: Array, middle: float, half: float, low: float, high: float
    ) -> Array:
        inside = edge(half - np.abs(along - middle), 0.03) * edge(w - low, 0.03)
        return np.asarray(np.where(on, inside * edge(high - w, 0.03), 0))

    for on, along, middle in (((wall == 0) & (x > 0), v, -0.9), ((wall == 0) & (x > 0), v, 1.0)):
        glass = panel(on, along, middle, 0.62, -0.35, 1.05)
        bars = edge(0.035 - np.abs(along - middle), 0.02) + edge(0.035 - np.abs(w - 0.4), 0.02)
        light = light + (glass * (1 - np.clip(bars, 0, 1)))[..., None] * np.array((8.5, 9.5, 11.0))
    far = panel((wall == 1) & (y < 0), u, -1.4, 0.5, -0.2, 0.95)
    light = light + far[..., None] * np.array((7.0, 7.6, 8.6))
    door = panel((wall == 1) & (y > 0), u, 0.9, 0.5, -1.2, 0.9)
    light = light + door[..., None] * (np.array((0.5, 0.06, 0.04)) - light)
    picture = panel((wall == 0) & (x < 0), v, 0.3, 0.75, -0.1, 0.8)
    light = light + picture[..., None] * (np.array((0.06, 0.25, 0.4)) - light)
    lamp = _disc(d, towards(63, 150), 9.0)[..., None] * np.array((26.0, 19.0, 11.0))
    return np.asarray(light + lamp)


LIGHTS: dict[str, Callable[[Vector], Array]] = {
    "studio": _studio,
    "sky": _sky,
    "sunset": _sunset,
    "room": _room,
}


def panorama(name: str, height: int = HEIGHT) -> Array:
    """The light `name` as float32 [h, 2 h, 3]: each pixel the mean of 3x3 directions in it."""
    fine = LIGHTS[name](directions(3 * height))
    return np.asarray(fine.reshape(height, 3, 2 * height, 3, 3).mean((1, 3)), np.float32)


def exposure(light: Array) -> float:
    """What to multiply pictures by so that a white matte surface does not exceed `WHITE`."""
    height = len(light)
    d = np.stack(directions(height), -1).reshape(-1, 3)
    # Solid angles of the pixels of each row: how much height their band takes of the sphere's.
    edges = np.cos(np.pi * np.arange(height + 1) / height)
    sizes = (edges[:-1] - edges[1:]) * np.pi / height
    power = (light.astype(np.float64).mean(-1) * sizes[:, None]).ravel()
    facing = np.stack(directions(16), -1).reshape(16, -1, 3)
    most = max(float((np.maximum(rows @ d.T, 0) @ power).max()) for rows in facing)
    # Six digits: sums differ in the last ones from machine to machine.
    return float(f"{WHITE * np.pi / most:.6g}")
