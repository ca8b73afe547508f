"""Objects photographed under known light, whose shape and material are known exactly.

`mirror` is a rabbit of polished metal, `glossy` a glazed teapot, `diffuse` a matte dinosaur. The
pictures are drawn by Mitsuba 3 (`pip install 'splat-toolkit[studio]'`); what is known of shape and
material needs nothing but this package. World frame: z up, objects within `RADIUS` of the origin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from splat.datasets.tracer.vectors import Vector, columns
from worlds.command import named
from worlds.studio.files import cached, write
from worlds.studio.lights import HEIGHT, exposure, panorama
from worlds.studio.lights import LIGHTS as _LIGHTS
from worlds.studio.materials import FINISHES
from worlds.studio.poses import cameras
from worlds.studio.read import Card, card, relit, truth
from worlds.studio.shapes import RADIUS, SHAPES
from worlds.studio.trace import Maps, maps

__all__ = [
    "LIGHTS",
    "OBJECTS",
    "RADIUS",
    "Card",
    "Maps",
    "Material",
    "cached",
    "cameras",
    "card",
    "exposed",
    "light",
    "maps",
    "material",
    "relit",
    "sdf",
    "truth",
    "write",
]

OBJECTS = tuple(SHAPES)
LIGHTS = tuple(_LIGHTS)


@dataclass(frozen=True)
class Material:
    """What surfaces are made of at n points; see `materials` for the model."""

    albedo: Float[Tensor, "n 3"]
    """Base colour, linear."""
    roughness: Float[Tensor, "n"]
    metallic: Float[Tensor, "n"]


def sdf(name: str) -> Callable[[Float[Tensor, "n 3"]], Float[Tensor, "n"]]:
    """Signed distance to the object `name`, in the precision of its points, without gradients.

    Negative inside. Zero exactly on the surface; elsewhere its size never exceeds the distance to
    it, and falls short near fillets.
    """
    distance = named(SHAPES, name, "object")

    def at(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
        return torch.from_numpy(distance(*_apart(points))).to(points.device)

    return at


def material(name: str, points: Float[Tensor, "n 3"]) -> Material:
    """Of the object `name`, at points on its surface."""
    finish = named(FINISHES, name, "object")(*_apart(points))
    values = (np.stack(finish.albedo, 1), finish.roughness, finish.metallic)
    albedo, roughness, metallic = (torch.from_numpy(v).to(points) for v in values)
    return Material(albedo, roughness, metallic)


def light(name: str, height: int = HEIGHT) -> Float[Tensor, "h w 3"]:
    """The surroundings `name`, linear, twice as wide as high; float32.

    Pixel (row j, column i) is the light from direction (sin theta cos phi, sin theta sin phi,
    cos theta), z up, with theta = pi (j + 0.5) / h and phi = 2 pi (0.5 - (i + 0.5) / w): row 0 is
    +z, the middle column is +x, columns go on towards -y.
    """
    named(_LIGHTS, name, "light")
    return torch.from_numpy(panorama(name, height))


def exposed(surroundings: Float[Tensor, "h w 3"]) -> float:
    """The factor that pictures under a light are multiplied by before they are encoded.

    With it a white matte surface that faces the most light gets 0.8, linear.
    """
    return exposure(surroundings.cpu().numpy())


def _apart(points: Float[Tensor, "n 3"]) -> Vector:
    return columns(points.detach().cpu().numpy())
