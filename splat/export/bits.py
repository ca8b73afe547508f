"""How many bits of a `.sog` each kind of number is worth, by what the views see of its rounding.

Numbers on even steps err by a twelfth of the square of a step, and each bit more makes that a
quarter. Bits lie best where a number more or less of any kind changes the pictures as much: where
the error of each kind, by the number of its numbers, is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from splat import formats
from splat.core.frame import gaussians_from_frame, gaussians_to_frame
from splat.export.search import PALETTED, Search
from splat.formats.settings import Settings
from splat.math import spread
from splat.types import Gaussians

Bits = tuple[int, int, int, int, int]

_PROBED: Bits = (12, 5, 6, 6, 4)
"""Bits that are looked at; what others would lose follows."""
_LEAST, _MOST = (9, 3, 4, 4, 3), (16, 8, 8, 8, 8)
_NUMBERS = (3, 3, 3, 3, 1)
"""Of each kind in a row."""
_GLANCES = 4
"""Views that are looked at."""
_DARKEST = 1e-4
"""Mean squared error of pictures against photos, at least: 40 dB."""

_Kind = Callable[[Gaussians, Gaussians], Gaussians]


def _color(whole: Gaussians, rounded: Gaussians) -> Gaussians:
    return replace(whole, colors=torch.cat([rounded.colors[:, :1], whole.colors[:, 1:]], 1))


_KINDS: Mapping[str, _Kind] = {
    "positions": lambda whole, rounded: replace(whole, means=rounded.means),
    "rotations": lambda whole, rounded: replace(whole, quats=rounded.quats),
    "scales": lambda whole, rounded: replace(whole, scales=rounded.scales),
    "colours": _color,
    "opacities": lambda whole, rounded: replace(whole, opacities=rounded.opacities),
}


def dealt_bits(search: Search, losses: tuple[float, ...]) -> list[Bits]:
    """Bits of positions, rotations, scales, colours and opacities for files whose rounding loses
    about so many dB each, without what harmonics lose."""
    whole = search.gaussians
    if whole.sh_degree is None:
        return []
    constant = replace(whole, colors=whole.colors[:, :1], sh_degree=0)
    given = gaussians_from_frame(constant, search.frame)
    settings = Settings(sog_bits=_PROBED)
    rounded = gaussians_to_frame(
        formats.quantiser(PALETTED[0], given, settings)(given), search.frame
    )
    views = list(spread(len(search.batches), _GLANCES))
    error = sum(max(_DARKEST, _mse(search.whole[i], search.truth(i)[0])) for i in views)
    worth = []
    for changed in _KINDS.values():
        part = changed(whole, rounded)
        worth.append(
            sum(_mse(search.drawn(part, search.batches[i]), search.whole[i]) for i in views)
        )
    return [_dealt(worth, error * (10 ** (loss / 10) - 1)) for loss in losses]


def _dealt(worth: list[float], most: float) -> Bits:
    """Bits by which the errors of all kinds, `worth` at those probed, add up to about `most`."""
    found = []
    for error, number, probed, low, high in zip(
        worth, _NUMBERS, _PROBED, _LEAST, _MOST, strict=True
    ):
        more = math.log(max(error, 1e-12) / (most * number / sum(_NUMBERS)), 4)
        found.append(min(high, max(low, probed + round(more))))
    position, rotation, scale, color, opacity = found
    return position, rotation, scale, color, opacity


def _mse(one: Tensor, other: Tensor) -> float:
    return float((one - other).square().mean())
