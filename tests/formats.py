"""Every format that is written, for the tests that all of them must pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from splat import formats
from splat.math import SH_C0
from splat.types import Gaussians


@dataclass(frozen=True)
class Quantum:
    """How far a value may be off once it is written and read; 0: not at all."""

    position: float
    """Share of the largest coordinate."""
    log_scale: float
    opacity: float
    constant: float
    """The constant coefficient, of colours between 0 and 1."""
    harmonics: float
    """The other coefficients, of those between -1 and 1."""
    degrees: float
    """Angle of the rotation."""
    half_turns: bool = False
    """Whether rotations may come back with half a turn about an axis of the ellipsoid."""
    most_degree: int = 3
    """Bands that the format has a place for."""


QUANTA = {
    ".ply": Quantum(0, 1e-6, 1e-6, 0, 0, 1e-3),
    ".compressed.ply": Quantum(2e-3, 6e-3, 1 / 255 + 1e-6, 8e-3, 0.0157, 0.25),
    ".glb": Quantum(0, 1e-6, 1e-6, 1e-6, 1e-6, 1e-3),
    ".spz.glb": Quantum(4e-5, 1 / 32 + 1e-5, 1 / 510 + 1e-6, 0.0132, 0.004, 1.6, half_turns=True),
    ".spz": Quantum(4e-5, 1 / 32 + 1e-5, 1 / 510 + 1e-6, 0.0132, 0.004, 0.25),
    ".html": Quantum(4e-5, 1 / 32 + 1e-5, 1 / 510 + 1e-6, 0.0132, 0.004, 0.25),
    ".sog": Quantum(4e-5, 0.02, 1 / 510 + 1e-6, 0.012, 0.015, 1.0),
    ".tsog": Quantum(4e-5, 0.02, 1 / 510 + 1e-6, 0.012, 0.015, 1.0),
    ".splat": Quantum(0, 1e-6, 1 / 510 + 1e-6, 0.007, 0, 1.0, most_degree=0),
}


def some(n: int = 300, degree: int = 3, seed: int = 0, spread: float = 3.0) -> Gaussians:
    """Plain Gaussians, within the range that every format has a place for."""
    draw = torch.Generator().manual_seed(seed)
    colors = 0.3 * torch.randn(n, (degree + 1) ** 2, 3, generator=draw).clamp(-3, 3)
    colors[:, 0] = (torch.rand(n, 3, generator=draw) - 0.5) / SH_C0
    return Gaussians(
        means=spread * torch.randn(n, 3, generator=draw),
        quats=torch.randn(n, 4, generator=draw),
        scales=torch.exp(torch.randn(n, 3, generator=draw) - 3),
        opacities=torch.rand(n, generator=draw) * 0.96 + 0.02,
        colors=colors,
        sh_degree=degree,
    )


def matched(found: Gaussians, like: Gaussians) -> Gaussians:
    """`found` in the order of `like`: formats put rows in an order of their own."""
    assert len(found) == len(like)
    near = cKDTree(_keys(found)).query(_keys(like))[1]
    assert len(set(near.tolist())) == len(like), "two rows were taken for one"
    return found.take(torch.from_numpy(near))


def assert_refused(path: Path, words: str, what: str) -> None:
    """Reading a file must end in one sentence that has these words and the name of the file."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        formats.read(path)
    message = str(caught.value)
    assert words in message and path.name in message and "\n" not in message, what


def _keys(gaussians: Gaussians) -> Tensor:
    extent = (gaussians.means.amax(0) - gaussians.means.amin(0)).max().clamp_min(1e-6)
    parts = [gaussians.means / extent, gaussians.scales.clamp_min(1e-12).log() / 300]
    parts += [gaussians.colors[:, 0] / 300, gaussians.opacities[:, None] / 30]
    return torch.cat(parts, 1)


def turned_by(a: Tensor, b: Tensor, half_turns: bool = False) -> Tensor:
    """Degrees between rotations given as quaternions of any length; `half_turns`: between the
    ellipsoids, which half a turn about an axis of theirs leaves as they are."""
    if half_turns:
        w, x, y, z = b.unbind(1)
        same = (b, (-x, w, z, -y), (-y, -z, w, x), (-z, y, -x, w))
        others = [each if isinstance(each, Tensor) else torch.stack(each, 1) for each in same]
        return torch.stack([turned_by(a, each) for each in others]).amin(0)
    unit = torch.nn.functional.normalize
    # From the chord, as the arc cosine of nearly 1 has no digits left.
    a, b = unit(a.double(), dim=1), unit(b.double(), dim=1)
    chord = torch.minimum((a - b).norm(dim=1), (a + b).norm(dim=1))
    return (4 * torch.asin((chord / 2).clamp(0, 1))).rad2deg()
