"""Colours: those that people write, how they cover each other, and how a picture shows light."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from splat.datasets.tracer.vectors import Array, Triple, Vector


def linear(colour: str) -> Triple:
    """Linear light of an sRGB colour written `rrggbb`."""
    values = np.array([int(colour[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    r, g, b = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(r), float(g), float(b)


def mixed(share: Array, first: str, second: str) -> Vector:
    """`first` where `share` is 0, `second` where it is 1."""
    return blended(linear(first), linear(second), share)


def over(base: Vector, share: Array, colour: str | Vector) -> Vector:
    """`base` covered by `colour` where `share` is 1."""
    return blended(base, linear(colour) if isinstance(colour, str) else colour, share)


def blended(base: Vector | Triple, top: Vector | Triple, share: Array) -> Vector:
    """`base` where `share` is 0, `top` where it is 1."""
    pairs: Any = zip(base, top, strict=True)
    r, g, b = (low + share * (high - low) for low, high in pairs)
    return r, g, b


def dimmed(colour: Vector, by: Array) -> Vector:
    """A colour with a share of its light."""
    return colour[0] * by, colour[1] * by, colour[2] * by


def edge(value: Array, width: float) -> Array:
    """0 below -width, 1 above width, smooth between: a painted edge that is no step."""
    t: Array = np.clip(value * (0.5 / width) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def srgb(light: Array) -> Array:
    """Display values of linear light in [0, 1]."""
    # Below the curve's straight part a root of what is negative would warn.
    curve = 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, 12.92 * light, curve)


def encoded(light: Array) -> Array:
    """Display values in [0, 1] of linear light: a gentle shoulder, then the sRGB curve."""
    return srgb(1 - np.exp(-light))


def stored(display: Array) -> npt.NDArray[np.uint8]:
    """Display values in [0, 1] as a picture of 8 bits has them."""
    return np.asarray(np.round(display * 255).astype(np.uint8))
