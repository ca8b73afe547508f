"""What a surface makes of even light: the second half of the split sum (Karis 2013)."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_ROUGHNESSES, _COSINES = 17, 65
"""Rows and columns of the table, evenly from 0 to 1."""
_RINGS, _SPOKES = 48, 16
"""Half vectors integrated over: by their tilt, and by their turn on one side."""
LEAST_ROUGHNESS = 0.02
"""A surface is never smoother than this."""


def reflectance(
    cosine: Float[Tensor, "n"], roughness: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """A and B: a surface whose reflectance along its normal is F0 sends F0 A + B of even light to
    an eye at this cosine to the normal."""
    grid = torch.stack([2 * cosine - 1, 2 * roughness - 1], -1)[None, None]
    table = _on(cosine.dtype, cosine.device)
    found = F.grid_sample(table, grid, padding_mode="border", align_corners=True)[0, :, 0]
    return found[0], found[1]


@functools.lru_cache(maxsize=4)
def _on(dtype: torch.dtype, device: torch.device) -> Float[Tensor, "1 2 r c"]:
    return table().to(device, dtype)[None]


@functools.lru_cache(maxsize=1)
def table() -> Float[Tensor, "2 r c"]:
    """A and B by roughness and cosine; float64.

    Microfacets of GGX with alpha = roughness^2, hidden from light and eye independently of each
    other (the separable form of Smith's term, Walter et al. 2007), and Schlick's Fresnel term
    F0 + (1 - F0)(1 - v.h)^5. Half vectors h are spread by D(h) (n . h), so that each counts
    G (v . h) / ((n . h)(n . v)).
    """
    rough = torch.linspace(0, 1, _ROUGHNESSES, dtype=torch.float64).clamp_min(LEAST_ROUGHNESS)
    squared = (rough**4)[:, None, None, None]  # alpha^2
    seen = torch.linspace(0, 1, _COSINES, dtype=torch.float64).clamp_min(1e-3)
    nv = seen[:, None, None]
    tilt = ((torch.arange(_RINGS, dtype=torch.float64) + 0.5) / _RINGS)[:, None]
    turn = torch.pi * (torch.arange(_SPOKES, dtype=torch.float64) + 0.5) / _SPOKES
    nh = ((1 - tilt) / (1 + (squared - 1) * tilt)).sqrt()
    vh = (1 - nv**2).sqrt() * (1 - nh**2).sqrt() * turn.cos() + nv * nh
    nl = 2 * vh * nh - nv
    counted = _shown(nl.clamp_min(1e-9), squared) * _shown(nv, squared) * vh / (nh * nv)
    counted = counted.where((nl > 0) & (vh > 0), 0)
    fresnel = (1 - vh.clamp(0, 1)) ** 5
    return torch.stack([(counted * (1 - fresnel)).mean((2, 3)), (counted * fresnel).mean((2, 3))])


def _shown(cosine: Tensor, squared: Tensor) -> Tensor:
    """Share of the microfacets that is not hidden from a direction."""
    tangent = (1 - cosine**2) / cosine**2
    return 2 / (1 + (1 + squared * tangent).sqrt())
