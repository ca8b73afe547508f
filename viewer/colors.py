"""Colour maps, the ranges of numbers that they cover, and legends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

Pixels = NDArray[np.uint8]
"""A picture [h, w, 3], RGB."""

MAPS = {
    "turbo": cv2.COLORMAP_TURBO,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "magma": cv2.COLORMAP_MAGMA,
    "cividis": cv2.COLORMAP_CIVIDIS,
    "grey": None,
}
SAMPLED = 200_000
"""Most numbers from which percentiles are estimated."""
WIDTH, BAR, TEXT = 360, 14, 20
"""Width of a legend, heights of its bar and of its text, pixels."""
BUTTON = 32
"""Width on the right of a picture that viser lays a button over, pixels."""


@lru_cache(maxsize=16)
def table(name: str) -> Float[Tensor, "256 3"]:
    """The 256 colours of a map, RGB in [0, 1]."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    kind = MAPS[name]
    bgr = cv2.cvtColor(ramp, cv2.COLOR_GRAY2BGR) if kind is None else cv2.applyColorMap(ramp, kind)
    return torch.from_numpy(np.ascontiguousarray(bgr[:, 0, ::-1])).float() / 255


@dataclass(frozen=True)
class Span:
    """The range of numbers that the colours cover, linear or logarithmic."""

    low: float
    high: float
    log: bool = False

    def shares(self, values: Tensor) -> Tensor:
        """Position of numbers in the range: 0 at the low end, 1 at the high one, clamped."""
        low, high = self.low, self.high
        if self.log:
            values = values.clamp_min(low).log()
            low, high = math.log(low), math.log(high)
        return ((values - low) / max(high - low, 1e-30)).clamp(0, 1)

    def at(self, share: float) -> float:
        """The number at a position in [0, 1] of the range."""
        if self.log:
            return math.exp((1 - share) * math.log(self.low) + share * math.log(self.high))
        return (1 - share) * self.low + share * self.high


def span(values: Tensor, percent: tuple[float, float] = (0, 100), log: bool = False) -> Span:
    """The range between two percentiles of numbers.

    By logarithms only those above 0 count, and the low end is at least a millionth of the high one.
    """
    some = values.detach().flatten().float()
    some = some[some.isfinite()]
    if log:
        some = some[some > 0]
    some = some[:: 1 + len(some) // SAMPLED]
    if not len(some):
        return Span(1e-6, 1.0, log) if log else Span(0.0, 1.0)
    shares = some.new_tensor(percent) / 100
    low, high = (float(value) for value in some.quantile(shares.clamp(0, 1)))
    if log:
        low = max(low, 1e-6 * high)
    if not low < high:
        high = low + (abs(low) or 1.0) * 1e-3
    return Span(low, high, log)


def colours_of(values: Tensor, within: Span, name: str) -> Tensor:
    """Colours [..., 3] in [0, 1] of numbers [...]."""
    index = (within.shares(values) * 255).round().nan_to_num_(0).long()
    return table(name).to(values.device)[index]


def legend(within: Span, name: str, title: str) -> Pixels:
    """A bar of the colours with numbers under it."""
    ramp = (table(name).numpy() * 255).astype(np.uint8)
    picture = np.full((TEXT + BAR + TEXT, WIDTH, 3), 36, np.uint8)
    width = WIDTH - BUTTON
    picture[TEXT : TEXT + BAR, :width] = ramp[np.linspace(0, 255, width).astype(int)]
    _text(picture, title + (" (logarithmic)" if within.log else ""), 0, TEXT - 6)
    for share in (0.0, 0.5, 1.0):
        number = f"{within.at(share):.3g}"
        wide = cv2.getTextSize(number, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
        _text(picture, number, round(share * (width - wide)), TEXT + BAR + TEXT - 5)
    return picture


def swatches(entries: dict[str, tuple[float, float, float]]) -> Pixels:
    """A legend of named colours."""
    picture = np.full((TEXT * ((len(entries) + 1) // 2) + 6, WIDTH, 3), 36, np.uint8)
    for i, (name, color) in enumerate(entries.items()):
        x, y = (i % 2) * WIDTH // 2, (i // 2) * TEXT + 4
        picture[y : y + 12, x : x + 12] = np.round(np.array(color) * 255)
        _text(picture, name, x + 18, y + 11)
    return picture


def waiting() -> Pixels:
    """What a browser shows until it is sent its first picture."""
    picture = np.full((400, 640, 3), 20, np.uint8)
    text = "drawing the first picture ..."
    wide = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
    _text(picture, text, (picture.shape[1] - wide) // 2, picture.shape[0] // 2)
    return picture


def _text(picture: Pixels, text: str, x: int, y: int) -> None:
    light = (220, 220, 220)
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, light, 1, cv2.LINE_AA)
