"""The numbers of a `.sog`: how Gaussians become the bytes of its images, and what these stand for.

Positions are logarithms of 16 bits within bounds. Rotations are their three smallest components,
8 bits each, and the number of the largest. Scales, constant coefficients and those of the palette
are numbers of levels in a codebook of 256. Opacities are bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from splat.formats.codebook import averages, nearest_level
from splat.formats.rows import Rows, unit_quats
from splat.formats.sog_meta import FIRST_KIND, STEPS

_OTHERS = ((1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2))
"""Components of a quaternion that are kept, by which is the largest."""
_PART = 1 << 16
"""Rows whose harmonics are looked up at a time."""


@dataclass(frozen=True)
class Levels:
    """The values that bytes stand for."""

    bounds: Float[Tensor, "2 3"]
    """Least and greatest of sign(x) log(1 + |x|) of positions, float64."""
    log_scales: Float[Tensor, "256 3"]
    """Levels of logarithms of scales."""
    constant: Float[Tensor, "256 3"]
    """Levels of the constant SH coefficient."""
    opacities: Float[Tensor, "256"]
    """Levels of opacities."""
    harmonics: Float[Tensor, "256"] | None
    """Levels of all SH coefficients beyond the constant one; None: there are none."""

    def to(self, device: torch.device) -> Levels:
        """The levels on `device`."""
        return Levels(
            self.bounds.to(device),
            self.log_scales.to(device),
            self.constant.to(device),
            self.opacities.to(device),
            None if self.harmonics is None else self.harmonics.to(device),
        )


@dataclass(frozen=True)
class Multiples:
    """What codes are multiples of: those of 16 bits of positions, and the bytes of the three
    components of rotations and of opacities."""

    means: int = 1
    quats: int = 1
    opacities: int = 1


@dataclass(frozen=True)
class Palette:
    """Coefficients beyond the constant one, in entries that Gaussians share."""

    labels: Int[Tensor, "n"]
    """Number of the entry of each Gaussian."""
    entries: UInt8[Tensor, "m k 3"]
    """Numbers of levels."""


@dataclass(frozen=True)
class Texels:
    """The bytes of the images, a row each Gaussian."""

    means: Int[Tensor, "n 3"]
    """Positions as codes of 16 bits."""
    quats: UInt8[Tensor, "n 4"]
    scales: UInt8[Tensor, "n 3"]
    colors: UInt8[Tensor, "n 4"]
    """The constant coefficient, and opacity."""
    palette: Palette | None


def logarithms(means: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """sign(x) log(1 + |x|), float64."""
    means = means.double()
    return means.sign() * means.abs().log1p()


def encode(
    rows: Rows,
    levels: Levels,
    labels: Int[Tensor, "n"] | None,
    entries: int,
    multiples: Multiples = Multiples(),
    weights: Float[Tensor, "n"] | None = None,
) -> Texels:
    """The bytes of rows; harmonics become the mean of those with the same label, by `weights`."""
    low, high = levels.bounds
    extent = (high - low).where(high > low, torch.inf)
    means = (logarithms(rows.means) - low) / extent * STEPS
    opacities = _multiple(rows.opacities * 255, multiples.opacities).clamp(0, 255).to(torch.uint8)
    constant = nearest_level(levels.constant[:, 0], rows.sh[:, 0])
    palette = None
    if labels is not None and levels.harmonics is not None:
        shared = averages(rows.sh[:, 1:], labels, entries, weights)
        palette = Palette(labels, nearest_level(levels.harmonics, shared).unflatten(1, (-1, 3)))
    return Texels(
        means=_multiple(means, multiples.means).clamp(0, STEPS).int(),
        quats=_encoded(rows.quats, multiples.quats),
        scales=nearest_level(levels.log_scales[:, 0], rows.log_scales),
        colors=torch.cat([constant, opacities[:, None]], 1),
        palette=palette,
    )


def decode(texels: Texels, levels: Levels) -> Rows:
    """The rows that bytes stand for."""
    low, high = levels.bounds
    means = torch.lerp(low, high, texels.means.double() / STEPS)
    means = means.sign() * means.abs().expm1()
    most = torch.finfo(torch.float32).max
    return Rows(
        means=means.clamp(-most, most).float(),
        log_scales=levels.log_scales.gather(0, texels.scales.long()),
        quats=_decoded(texels.quats),
        opacities=levels.opacities[texels.colors[:, 3].long()],
        sh=_harmonics(texels, levels),
    )


def _multiple(codes: Tensor, step: int) -> Tensor:
    """Codes rounded to multiples of a step."""
    return codes.round() if step == 1 else (codes / step).round() * step


def smallest_three(quats: Float[Tensor, "n 4"]) -> tuple[Float[Tensor, "n 3"], Int[Tensor, "n 1"]]:
    """The three smallest components of unit quaternions as bytes have them, 0 to 255, not rounded,
    and which one is the largest."""
    largest = quats.detach().abs().argmax(dim=1, keepdim=True)
    others = quats.gather(1, quats.new_tensor(_OTHERS, dtype=torch.int64)[largest[:, 0]])
    others = others * quats.gather(1, largest).sign()
    return (others * math.sqrt(0.5) + 0.5) * 255, largest


def _encoded(quats: Float[Tensor, "n 4"], step: int) -> UInt8[Tensor, "n 4"]:
    steps, largest = smallest_three(quats)
    # The byte next to no rotation is among those that are taken.
    steps = steps.round() if step == 1 else _multiple(steps - 127, step) + 127
    steps = steps.clamp(127 % step, 255 - (255 - 127) % step)
    return torch.cat([steps.to(torch.uint8), (largest + FIRST_KIND).to(torch.uint8)], 1)


def _decoded(code: UInt8[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    others = (code[:, :3].float() / 255 - 0.5) * math.sqrt(2)
    largest = code[:, 3:].long() - FIRST_KIND
    rest = (1 - others.square().sum(1, keepdim=True)).clamp_min(0).sqrt()
    quats = torch.empty(len(code), 4, device=code.device)
    quats.scatter_(1, torch.tensor(_OTHERS, device=code.device)[largest[:, 0]], others)
    return unit_quats(quats.scatter_(1, largest, rest))


def _harmonics(texels: Texels, levels: Levels) -> Float[Tensor, "n k 3"]:
    constant = levels.constant.gather(0, texels.colors[:, :3].long())
    if texels.palette is None or levels.harmonics is None:
        return constant[:, None]
    labels = texels.palette.labels
    entries = levels.harmonics[texels.palette.entries.long()]
    sh = constant.new_empty(len(labels), 1 + entries.shape[1], 3)
    sh[:, 0] = constant
    # In parts, as the whole of it would be there twice.
    for part, numbers in zip(sh[:, 1:].split(_PART), labels.split(_PART), strict=True):
        part.copy_(entries[numbers.long()])
    return sh
