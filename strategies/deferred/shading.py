"""Colours of surfaces under a light: diffuse by irradiance, specular by the split sum."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from splat.strategies.deferred.brdf import LEAST_ROUGHNESS, reflectance
from splat.strategies.deferred.light import Lit

DIELECTRIC = 0.04
"""Reflectance along the normal of what is no metal."""
LEAST_COSINE = 1e-3
"""Of the angle between normal and eye: what faces away, as blended normals may, is seen edge on."""


def unit(vectors: Float[Tensor, "3 *n"]) -> Float[Tensor, "3 *n"]:
    """Vectors brought to length 1, channel by channel; 0 stays 0. Much faster so than by
    `torch.nn.functional.normalize`."""
    return vectors * torch.rsqrt((vectors * vectors).sum(0).clamp_min(1e-24))


def shade(
    albedo: Float[Tensor, "n 3"],
    roughness: Float[Tensor, "n"],
    metallic: Float[Tensor, "n"],
    normal: Float[Tensor, "n 3"],
    view: Float[Tensor, "n 3"],
    light: Lit,
) -> Float[Tensor, "n 3"]:
    """Radiance, linear RGB, towards an eye in the direction `view` from the surface.

    Metal and roughness as glTF has them, all in [0, 1]; normals and directions are unit vectors.
    Neither shadows nor light that was reflected before are in it.
    """
    diffuse, specular = parts(albedo.T, roughness, metallic, normal.T, view.T, light)
    return (diffuse + specular).T


def parts(
    albedo: Float[Tensor, "3 n"],
    roughness: Float[Tensor, "n"],
    metallic: Float[Tensor, "n"],
    normal: Float[Tensor, "3 n"],
    view: Float[Tensor, "3 n"],
    light: Lit,
) -> tuple[Float[Tensor, "3 n"], Float[Tensor, "3 n"]]:
    """The diffuse and the specular part of `shade`, channel by channel.

    Diffuse is (1 - metallic) albedo E / pi. Specular is what is reflected from around the mirrored
    direction, times F0 A + B (`splat.strategies.deferred.brdf`), F0 being 0.04 for what is no
    metal and the albedo for what is.
    """
    roughness = roughness.clamp_min(LEAST_ROUGHNESS)
    cosine = (normal * view).sum(0)
    # The rougher, the more of what is reflected comes from about the normal, as microfacets that
    # face away are hidden (Lagarde & de Rousiers 2014); the share is fitted to the whole integral.
    lean = roughness**4
    mirrored = (2 * cosine * (1 - lean) + lean) * normal - (1 - lean) * view
    around, reflected = light(normal, mirrored, roughness)
    scale, more = reflectance(cosine.clamp(LEAST_COSINE, 1), roughness)
    own = albedo * metallic
    facing = own + (DIELECTRIC - DIELECTRIC * metallic)
    return (albedo - own) * around, reflected * (facing * scale + more)
