"""Pictures of the district: the first surface behind every pixel, its colour and its light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from splat.datasets.tracer.vectors import occurring
from splat.types import Camera
from worlds.district import grounds, walls
from worlds.district.layout import District, pieces
from worlds.district.light import Light, displayed, lit, sky
from worlds.district.pieces import FACES, GROUND, Codes, Floats, Pieces, Stuff
from worlds.district.trace import Lens, Seen, lens_of, look

FINER = 2
"""Rays through a pixel, along each side."""
SHARPNESS = 0.75
"""What a ray stands for is so many pixels wide: the four of a pixel overlap."""
CHUNK = 65_536
"""Rays coloured together: what fits the caches."""
PAINTS = {
    Stuff.WALL: walls.wall, Stuff.BRICK: walls.brick_wall, Stuff.TILES: walls.tiles,
    Stuff.FLAT_ROOF: walls.flat_roof, Stuff.PLAIN: walls.plain, Stuff.KERB: walls.plain,
    Stuff.LEAVES: walls.leaves, Stuff.BARK: walls.bark, Stuff.CAR: walls.car,
}  # fmt: skip
GROUNDS = {Stuff.YARD: grounds.yard, Stuff.PARK: grounds.park}
HAZE = 900.0
"""Distance at which meadows are lost in the haze, metres."""


@dataclass(frozen=True)
class DistrictView:
    """A picture of the district, and the surface that each pixel shows."""

    image: UInt8[Tensor, "h w 3"]
    """sRGB, each pixel the mean of 2 x 2 rays."""
    points: Float[Tensor, "h w 3"]
    """World, metres, where the first of the four rays ends; what is sky has no finite one."""


def depth(camera: Camera, district: District) -> Float[Tensor, "h w"]:
    """Camera z of the surface met through the pixel's centre, metres; infinite in the sky."""
    near = look(lens_of(camera), pieces(district)).near
    with np.errstate(divide="ignore"):
        return torch.from_numpy(1 / near)


def render(camera: Camera, district: District) -> DistrictView:
    """Draw the district as a camera sees it."""
    lens = lens_of(camera, FINER)
    seen, light = look(lens, pieces(district)), lit(district)
    h, w = camera.height, camera.width
    image, points = np.empty((h, w, 3), np.float32), np.empty((h, w, 3), np.float32)
    rows = max(CHUNK // (FINER * FINER * w), 1)
    for top in range(0, h, rows):
        part = slice(top, min(top + rows, h))
        colour, place = _coloured(district, light, lens, seen, part)
        fine = colour.reshape(part.stop - top, FINER, w, FINER, 3)
        image[part] = displayed(fine.mean((1, 3)))
        points[part] = place.reshape(fine.shape)[:, 0, :, 0]
    pixels = np.round(image * 255).astype(np.uint8)
    return DistrictView(torch.from_numpy(pixels), torch.from_numpy(points))


def _coloured(
    district: District, light: Light, lens: Lens, seen: Seen, part: slice
) -> tuple[Floats, Floats]:
    """Linear light and world places [n, 3] of some rows of rays."""
    rows = slice(part.start * FINER, part.stop * FINER)
    code, near = seen.code[rows].ravel(), seen.near[rows].ravel()
    v, u = (a.ravel() for a in np.mgrid[rows, : lens.width].astype(np.float32))
    by = lens.direction.astype(np.float32)
    direction = u[:, None] * by[0] + v[:, None] * by[1] + by[2]
    colour, point = sky(direction), np.full_like(direction, np.inf)
    met = np.flatnonzero(code >= GROUND)
    ray = direction[met]
    place = lens.start[2].astype(np.float32) + ray / near[met, None]
    point[met] = place
    length = np.sqrt((ray * ray).sum(1))
    normal = _normals(pieces(district), code[met], place)
    facing = np.abs((ray * normal).sum(1)) / length
    # A ray's share of the pixel, drawn out where it is seen at a slant, but not to the full.
    pixel = np.float32(SHARPNESS * FINER * np.linalg.norm(lens.direction[0]))
    span = pixel / near[met] / np.sqrt(np.maximum(facing, np.float32(0.06)))
    stuff = pieces(district).stuff[code[met]]
    found = np.empty_like(place)
    for kind, mine in occurring(stuff):
        found[mine] = _paint(
            district, Stuff(kind), code[met][mine], place[mine], span[mine], facing[mine]
        )
    through = (stuff == Stuff.LEAVES).astype(np.float32)
    found *= light.on(place, normal, through)
    far = np.where(code[met] == GROUND, np.clip(length / near[met] / HAZE, 0, 1) ** 1.5, 0)
    found += far[:, None].astype(np.float32) * (sky(ray * np.array([1, 1, 0], np.float32)) - found)
    colour[met] = found
    return colour, point


def _normals(made: Pieces, code: Codes, place: Floats) -> Floats:
    normal = made.normal[code]
    balls = np.flatnonzero((code > GROUND) & made.ball[(np.maximum(code, 1) - 1) // FACES])
    piece = (code[balls] - 1) // FACES
    low, high = made.low[piece], made.high[piece]
    slope = (place[balls] - (low + high) / 2) / (high - low) ** 2
    normal[balls] = slope / np.sqrt((slope * slope).sum(1, keepdims=True))
    return normal


def _paint(
    district: District, kind: Stuff, code: Codes, place: Floats, span: Floats, facing: Floats
) -> Floats:
    """Albedo of points on one kind of face, [n, 3]."""
    if kind == Stuff.STREET:
        return grounds.street(district, place, span)
    made = pieces(district)
    local = place - made.origin[code]
    u, v = ((local * axis[code]).sum(1) for axis in (made.across, made.along))
    seed = made.seed[code].astype(np.float32)
    if kind in GROUNDS:
        return GROUNDS[kind](u, v, span, seed)
    spot = walls.Spot(
        u, v, place, made.size[code], span, made.colour[code], made.second[code], seed, facing
    )
    return PAINTS[kind](spot)
