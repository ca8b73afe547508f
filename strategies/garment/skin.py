"""A garment on another pose and another body: its Gaussians follow the bones and the skin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from splat.formats.rotations import nearest_rotation
from splat.math import SH_C0, beyond_constant, quaternions, rotation_matrices
from splat.strategies.garment.body import Body, Turn, blended
from splat.strategies.garment.distance import Depths
from splat.strategies.garment.rows import sampled
from splat.types import Frame, Gaussians

POINTS = 4096
"""Points of the skin that a garment follows."""
SOFT = 0.5
"""Over what distance along the skin a row follows it, in its distance from the skin: cloth that
hangs far off follows both legs, and not the one that happens to be nearer."""
_LEAST = 0.5
"""The least of that, in distances between the points of the skin."""
_AVERTED = 0.1
"""What counts of skin that faces away from a row."""
_ROWS = 4096
"""Rows that are moved at once."""
_DIRECTIONS = 32
_STEP = 1e-3
"""Distance, in those between points of the skin, over which it is measured how cloth is drawn."""
_LEAST_STRETCH, _MOST_STRETCH = 0.7, 2.0
_UPS = 8
"""Times that rows which are too deep are moved up: the way up bends."""
_INPUT = Frame((0.0, 0.0, 0.0), 1.0)


@dataclass(frozen=True)
class Worn:
    """A garment as a body in a pose wears it."""

    gaussians: Gaussians
    inside: float
    """Share of the Gaussians whose centre was in the body, before they were moved out."""


@torch.no_grad()
def dressed(
    garment: Gaussians,
    body: Body,
    onto: Body,
    pose: Mapping[str, Turn],
    *,
    depths: Depths | None = None,
    off: float = 0.0,
) -> Worn:
    """A garment of `body`, which stands as it did in training, on `onto` in a pose.

    Each row follows the bones by the weights of the skin near it (linear blend skinning), turned by
    the nearest rotation and as long as the cloth is drawn out there, and, where both bodies have
    the same triangles, what that skin does beside the bones. With `depths` of `onto` in the pose,
    rows less than `off` from it are moved there.
    """
    posed = onto.posed(pose)
    moves = between(body, posed)
    scale = posed.span / body.span if body.span else 1.0
    samples = sampled(body.mesh, POINTS)
    skin = _Skin(
        torch.from_numpy(samples.on(body.mesh)),
        torch.from_numpy(samples.normals(body.mesh)),
        torch.from_numpy(samples.of(body.weights, body.mesh)),
        samples.spacing,
    )
    if len(onto.mesh.faces) == len(body.mesh.faces) and (onto.mesh.faces == body.mesh.faces).all():
        bent = blended(moves, skin.weights.numpy(), skin.places.numpy())
        beside = torch.from_numpy(samples.on(posed.mesh) - bent)
    else:
        beside = torch.zeros_like(skin.places)
    parts = [
        _moved(
            garment.take(torch.arange(i, min(i + _ROWS, len(garment)))), skin, moves, beside, scale
        )
        for i in range(0, len(garment), _ROWS)
    ]
    found = replace(
        garment,
        means=torch.cat([part.means for part in parts]),
        quats=torch.cat([part.quats for part in parts]),
        scales=torch.cat([part.scales for part in parts]),
        colors=torch.cat([part.colors for part in parts]),
    )
    if depths is None:
        return Worn(found, float("nan"))
    share = float((depths.at(found.means, _INPUT)[0] < 0).double().mean())
    means = found.means
    for _ in range(_UPS if off > 0 else 0):
        distance, outward = depths.at(means, _INPUT)
        means = means + (off - distance).clamp_min(0)[:, None] * outward
    return Worn(replace(found, means=means), share)


def between(body: Body, posed: Body) -> Float[ndarray, "b 4 4"]:
    """What each bone does from one body to another that has the same bones, the way it points and
    the size of all included; raises ValueError where they are others."""
    if {*body.names} != {*posed.names}:
        odd = sorted({*body.names} ^ {*posed.names})
        raise ValueError(
            f"the bodies have other bones: {', '.join(odd[:6])} are of one of them only; expected"
            " two bodies of one rig"
        )
    place = {name: i for i, name in enumerate(posed.names)}
    scale = posed.span / body.span if body.span else 1.0
    moves = np.tile(np.eye(4), (len(body.names), 1, 1))
    for bone, name in enumerate(body.names):
        before, after = body.joints[bone], posed.joints[place[name]]
        linear = scale * _turn(after) @ _turn(before).T
        moves[bone, :3, :3] = linear
        moves[bone, :3, 3] = after[:3, 3] - linear @ before[:3, 3]
    return moves


def _turn(joint: Float[ndarray, "4 4"]) -> Float[ndarray, "3 3"]:
    return nearest_rotation(joint[:3, :3])


@dataclass(frozen=True)
class _Skin:
    """Points of a body's skin."""

    places: Float[Tensor, "s 3"]
    normals: Float[Tensor, "s 3"]
    weights: Float[Tensor, "s b"]
    spacing: float

    def shares(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n s"]:
        """How much of each point's way is that of each point of the skin."""
        apart = torch.cdist(points, self.places, compute_mode="donot_use_mm_for_euclid_dist")
        nearest = apart.amin(1, keepdim=True)
        soft = (SOFT * nearest).clamp_min(_LEAST * self.spacing)
        shares = (-(apart.square() - nearest.square()) / (2 * soft.square())).exp()
        along = points @ self.normals.T - (self.places * self.normals).sum(1)
        facing = (along / apart.clamp_min(1e-12)).clamp_min(0)
        shares = shares * (_AVERTED + facing)
        return shares / shares.sum(1, keepdim=True)


def _moved(
    part: Gaussians,
    skin: _Skin,
    moves: Float[ndarray, "b 4 4"],
    beside: Float[Tensor, "s 3"],
    scale: float,
) -> Gaussians:
    def at(points: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 4 4"]]:
        shares = skin.shares(points)
        mixed = torch.tensordot(shares @ skin.weights, torch.from_numpy(moves), 1)
        turned_ones = (mixed[:, :3, :3] @ points[:, :, None])[..., 0]
        return turned_ones + mixed[:, :3, 3] + shares @ beside, mixed

    points = part.means.double().cpu()
    means, mixed = at(points)
    turns, quats = polar(mixed[:, :3, :3]), part.quats.double().cpu()
    # Cloth that is drawn out has no holes: each axis is as much longer as the way along it.
    axes, step = rotation_matrices(quats), _STEP * skin.spacing
    grown = [(at(points + step * axes[:, :, k])[0] - means).norm(dim=1) / step for k in range(3)]
    stretch = torch.stack(grown, 1).clamp(scale * _LEAST_STRETCH, scale * _MOST_STRETCH)
    return replace(
        part,
        means=means.to(part.means),
        quats=multiplied(quaternions(turns), quats).to(part.quats),
        scales=part.scales * stretch.to(part.scales),
        colors=part.colors if part.sh_degree is None else turned(part.colors, turns),
    )


def polar(matrices: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 3"]:
    """The nearest rotations, which are the polar factors of matrices that do not mirror."""
    left, _, right = torch.linalg.svd(matrices)
    sign = torch.ones_like(left[:, 0])
    sign[:, 2] = torch.linalg.det(left @ right).sign()
    turns: Tensor = (left * sign[:, None]) @ right
    return turns


def multiplied(a: Float[Tensor, "n 4"], b: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Products of quaternions (w, x, y, z): first `b`, then `a`."""
    scalar = a[:, :1] * b[:, :1] - (a[:, 1:] * b[:, 1:]).sum(1, keepdim=True)
    vector = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + torch.linalg.cross(a[:, 1:], b[:, 1:])
    return torch.cat([scalar, vector], 1)


def turned(sh: Float[Tensor, "n k 3"], turns: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n k 3"]:
    """Harmonics that each turn with a Gaussian: the colour seen along d is then seen along R d."""
    degree = round(sh.shape[1] ** 0.5) - 1
    if not degree:
        return sh
    draws = np.random.default_rng(0).normal(size=(_DIRECTIONS, 3))
    ways = torch.from_numpy(draws / np.linalg.norm(draws, axis=1, keepdims=True))
    back = torch.linalg.pinv(_basis(ways, degree))
    before = _basis(torch.einsum("nij,di->ndj", turns, ways), degree)
    found: Tensor = back @ (before @ sh.double().cpu())
    return found.to(sh)


def _basis(ways: Float[Tensor, "*n 3"], degree: int) -> Float[Tensor, "*n k"]:
    x, y, z = ways.unbind(-1)
    return torch.stack([torch.full_like(x, SH_C0), *beyond_constant(x, y, z, degree)], -1)
