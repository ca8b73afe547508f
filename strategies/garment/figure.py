"""A body of our own, made of capsules that run into each other, and garments for it.

It stands for a real body where there is none: in tests, in measurements and to try the part out.
Nobody's measures; its proportions are round numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from splat.mesh import Mesh, from_distance
from splat.strategies.garment.body import Body, blended
from splat.strategies.garment.rig import UP

BONES: dict[str, tuple[str, tuple[float, float, float], tuple[float, float, float], float, float]]
BONES = {
    "pelvis": ("", (0, 0.95, 0), (0, 1.05, 0), 0.125, 0.12),
    "spine": ("pelvis", (0, 1.05, 0), (0, 1.22, 0), 0.12, 0.115),
    "chest": ("spine", (0, 1.22, 0), (0, 1.38, 0), 0.125, 0.12),
    "neck": ("chest", (0, 1.45, 0), (0, 1.54, 0), 0.06, 0.055),
    "head": ("neck", (0, 1.58, 0.01), (0, 1.66, 0.01), 0.085, 0.09),
    "upperarm_l": ("chest", (0.17, 1.40, 0), (0.33, 1.17, 0), 0.058, 0.045),
    "forearm_l": ("upperarm_l", (0.33, 1.17, 0), (0.48, 0.96, 0.01), 0.043, 0.034),
    "hand_l": ("forearm_l", (0.48, 0.96, 0.01), (0.55, 0.85, 0.02), 0.034, 0.03),
    "thigh_l": ("pelvis", (0.11, 0.90, 0), (0.165, 0.50, 0), 0.088, 0.062),
    "shin_l": ("thigh_l", (0.165, 0.50, 0), (0.20, 0.10, -0.01), 0.058, 0.04),
    "foot_l": ("shin_l", (0.20, 0.07, -0.01), (0.22, 0.045, 0.14), 0.042, 0.035),
}
"""Of each bone: its parent, head and tail in metres (y up, facing +z), and its radius at both."""
SIZES = {"usual": (1.0, 1.0), "large": (1.06, 1.22)}
"""Bodies by name: factors on heights and on girths."""
_BLEND = 0.03
"""Metres over which capsules run into each other."""
_OFF = 0.01
"""Metres from the skin within which garments end, as at an armhole."""
_SOFT = 0.025
"""Metres over which weights of bones fall off."""


@dataclass(frozen=True)
class Capsule:
    """A line with a radius at each end."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    first: float
    last: float

    def distance(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        """Signed distance, about: radii change slowly along it."""
        a, b = points.new_tensor(self.start), points.new_tensor(self.end)
        way = b - a
        along = (((points - a) @ way) / way.dot(way)).clamp(0, 1)
        radius = self.first + along * (self.last - self.first)
        away: Tensor = (points - a - along[:, None] * way).norm(dim=1) - radius
        return away


def _both(name: str) -> Sequence[tuple[str, int]]:
    return [(name, 1), (f"{name[:-2]}_r", -1)] if name.endswith("_l") else [(name, 1)]


def capsules() -> dict[str, tuple[str, Capsule]]:
    """All bones, both sides, each after its parent: the parent's name, and its capsule."""
    found = {}
    for given, (parent, a, b, first, last) in BONES.items():
        for name, side in _both(given):
            over = parent if side == 1 or not parent.endswith("_l") else f"{parent[:-2]}_r"
            ends = [(side * x, y, z) for x, y, z in (a, b)]
            found[name] = (over, Capsule(ends[0], ends[1], first, last))
    return found


def blend(parts: Sequence[Float[Tensor, "n"]], over: float = _BLEND) -> Float[Tensor, "n"]:
    """Distances as one, smooth where two meet."""
    return -over / 2 * torch.logsumexp(-torch.stack(list(parts)) * 2 / over, 0)


def distance(points: Float[Tensor, "n 3"], names: Sequence[str] = ()) -> Float[Tensor, "n"]:
    """Of the body, or of parts of it; shoulders and hips included."""
    bones = capsules()
    parts = [part.distance(points) for name, (_, part) in bones.items() if name in (names or bones)]
    if not names or "chest" in names:
        for x in (0.07, -0.07):  # the chest is wider than deep
            parts.append(Capsule((x, 1.20, 0), (1.6 * x, 1.37, 0), 0.10, 0.085).distance(points))
    if not names or "pelvis" in names:
        for x in (0.06, -0.06):
            parts.append(Capsule((x, 0.93, 0), (x, 1.0, 0), 0.11, 0.105).distance(points))
    return blend(parts)


def weights(points: Float[ndarray, "n 3"]) -> Float[ndarray, "n b"]:
    """How much each bone moves points at the surface; four bones at most."""
    places = torch.from_numpy(points)
    near = torch.stack([part.distance(places) for _, part in capsules().values()], 1).numpy()
    near = np.exp(-(near - near.min(1, keepdims=True)) / _SOFT)
    few = np.argsort(-near, axis=1, kind="stable")[:, 4:]
    np.put_along_axis(near, few, 0, 1)
    near[near < 1e-3] = 0
    return np.asarray(near / near.sum(1, keepdims=True))


def body(size: str = "usual", resolution: int = 110) -> Body:
    """The body, standing with its arms away from it; both sizes have the same triangles."""
    mesh = from_distance(distance, (-0.65, -0.02, -0.25), (0.65, 1.8, 0.25), resolution)
    bones = capsules()
    names = list(bones)
    joints = np.tile(np.eye(4), (len(names), 1, 1))
    joints[:, :3, 3] = [part.start for _, part in bones.values()]
    parents = np.array([names.index(over) if over else -1 for over, _ in bones.values()])
    own = weights(mesh.vertices)
    taller, wider = SIZES[size]
    grown = np.tile(np.eye(4), (len(names), 1, 1))
    for bone, (_, part) in enumerate(bones.values()):
        a, b = np.array(part.start), np.array(part.end)
        way = (b - a) / np.linalg.norm(b - a)
        stretch = wider * np.eye(3) + (taller - wider) * np.outer(way, way)
        grown[bone, :3, :3] = stretch
        grown[bone, :3, 3] = a * taller - stretch @ a
    joints[:, :3, 3] *= taller
    vertices = blended(grown, own, mesh.vertices) @ UP[:3, :3].T
    return Body(
        Mesh(vertices, mesh.faces), tuple(names), parents, UP @ joints, own, UP[:3, :3].copy()
    )


def shirt(resolution: int = 110, off: float = 0.018) -> Mesh:
    """Over trunk and upper arms, open below, in the scene's coordinates."""
    names = ("pelvis", "spine", "chest", "upperarm_l", "upperarm_r", "forearm_l", "forearm_r")
    mesh = _shell(names, off, resolution)
    x, y, _ = mesh.vertices.T
    elbow = np.abs(x) * 0.82 - (y - 1.17) * 0.57 < 0.20
    neck = (y < 1.445) | (np.abs(x) > 0.09)
    return _cut(mesh, (y > 0.93) & elbow & neck)


def trousers(resolution: int = 110, off: float = 0.018) -> Mesh:
    """Over hips and legs, down to the ankles."""
    names = ("pelvis", "spine", "thigh_l", "thigh_r", "shin_l", "shin_r")
    mesh = _shell(names, off, resolution)
    y = mesh.vertices[:, 1]
    return _cut(mesh, (y > 0.13) & (y < 1.06))


def skirt(off: float = 0.15, folds: int = 9, top: float = 1.04, hem: float = 0.42) -> Mesh:
    """A cone with folds from the waist to the knees, whose hem hangs about `off` the legs."""
    around, down = 160, 48
    t = np.linspace(0, 1, down)[:, None]
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)[None]
    waist, leg = 0.19, 0.24
    radius = waist + (leg + off - waist) * t**0.8
    radius = radius * (1 + 0.06 * t * np.cos(folds * angle))
    depth = 0.80 + 0.20 * t
    y = np.broadcast_to(top - (top - hem) * t, radius.shape)
    vertices = np.stack([radius * np.sin(angle), y, depth * radius * np.cos(angle)], -1)
    i, j = np.indices((down - 1, around))
    k = (j + 1) % around
    a, b, c, d = i * around + j, (i + 1) * around + j, (i + 1) * around + k, i * around + k
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], 2).reshape(-1, 3)
    return Mesh(vertices.reshape(-1, 3) @ UP[:3, :3].T, faces)


def dress(resolution: int = 110) -> Mesh:
    """A bodice without sleeves, and a skirt."""
    mesh = _shell(("pelvis", "spine", "chest"), 0.018, resolution)
    x, y, _ = mesh.vertices.T
    bodice = _cut(mesh, (y > 1.02) & (y < 1.40 - 0.9 * np.maximum(np.abs(x) - 0.1, 0)))
    below = skirt()
    faces = np.concatenate([bodice.faces, below.faces + len(bodice.vertices)])
    return Mesh(np.concatenate([bodice.vertices, below.vertices]), faces)


GARMENTS = {"shirt": shirt, "trousers": trousers, "dress": dress}


def _shell(names: Sequence[str], off: float, resolution: int) -> Mesh:
    box = (-0.7, -0.02, -0.3), (0.7, 1.8, 0.3)
    return from_distance(lambda points: distance(points, names) - off, *box, resolution)


def _cut(mesh: Mesh, kept: Float[ndarray, "v"]) -> Mesh:
    """The faces all of whose corners are kept and off the body, in the scene's coordinates."""
    kept = kept & (distance(torch.from_numpy(mesh.vertices)).numpy() > _OFF)
    part = mesh.with_faces(kept[mesh.faces].all(1))
    return Mesh(part.vertices @ UP[:3, :3].T, part.faces)


def capsule(
    start: Sequence[float], end: Sequence[float], radius: float, around: int = 24, along: int = 12
) -> Mesh:
    """One capsule as a closed mesh, without a grid."""
    a, b = np.array(start, np.float64), np.array(end, np.float64)
    way = (b - a) / np.linalg.norm(b - a)
    side = np.cross(way, np.eye(3)[np.abs(way).argmin()])
    side /= np.linalg.norm(side)
    other = np.cross(way, side)
    caps = np.linspace(-np.pi / 2, np.pi / 2, 2 * along)[1:-1]
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)
    lines = [(a, tilt) for tilt in caps[caps < 0]]
    lines += [(a + t * (b - a), 0.0) for t in np.linspace(0, 1, along)]
    lines += [(b, tilt) for tilt in caps[caps > 0]]
    rings = []
    for centre, tilt in lines:
        ring = np.cos(angle)[:, None] * side + np.sin(angle)[:, None] * other
        rings.append(centre + radius * (np.sin(tilt) * way + np.cos(tilt) * ring))
    vertices = np.concatenate([*rings, [a - radius * way], [b + radius * way]])
    n = len(rings)
    i, j = np.indices((n - 1, around))
    k = (j + 1) % around
    p, q, r, s = i * around + j, i * around + k, (i + 1) * around + k, (i + 1) * around + j
    sides = np.stack([np.stack([p, q, r], -1), np.stack([p, r, s], -1)], 2).reshape(-1, 3)
    ring = np.arange(around)
    after = (ring + 1) % around
    low = np.stack([after, ring, np.full(around, n * around)], 1)
    up = (n - 1) * around
    high = np.stack([up + ring, up + after, np.full(around, n * around + 1)], 1)
    return Mesh(vertices, np.concatenate([sides, low, high]))


def two_capsules() -> Body:
    """Two capsules in a row with a bone each, of 1.2 units together: the least body that bends."""
    lower, upper = capsule((0, 0, 0), (0, -0.5, 0), 0.1), capsule((0, -0.5, 0), (0, -1, 0), 0.1)
    n = len(lower.vertices)
    mesh = Mesh(
        np.concatenate([lower.vertices, upper.vertices]),
        np.concatenate([lower.faces, upper.faces + n]),
    )
    part = np.clip((-mesh.vertices[:, 1] - 0.4) / 0.2, 0, 1)
    joints = np.tile(np.eye(4), (2, 1, 1))
    joints[1, 1, 3] = -0.5
    own = np.stack([1 - part, part], 1)
    return Body(mesh, ("lower", "upper"), np.array([-1, 0]), joints, own)
