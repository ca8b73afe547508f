"""What a stage of USD holds as NumPy has it; see `splat.formats.usd`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.formats.columns import Columns, Floats
from splat.formats.gltf_table import UP, placing_of, unit
from splat.formats.limits import MOST_FOLD
from splat.system.confined import Bounds, Heard, begun, told
from splat.system.foreign import Broken, Record, allowance, check_claim, file_size

STAGE = "splat.formats.usd_stage"
"""Module whose `main` says what lies in a file, in a process of its own."""
_FROM_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From a stage that is z-up to one that is y-up."""
_SECONDS, _RATE = 20.0, 1e6
"""Seconds that usd-core may take for any file, and bytes for which it may take one more. Text is
taken apart at 50 MB a second, in 10 to 20 times its size of memory."""
_WIDTHS = {
    "positions": 3,
    "orientations": 4,
    "scales": 3,
    "opacities": 1,
    "radiance:sphericalHarmonicsCoefficients": 3,
}
"""Attributes, in the order in which they are heard, and numbers of each of their values."""
_CHANGING = ("PXR_", "USD_", "USDC_", "SDF_", "AR_", "TF_", "VT_", "PYTHON")
"""What names of variables begin with that change what usd-core loads, or where it looks."""


def columns(path: Path) -> Columns:
    """The rows of a stage, finite or not, with unit quaternions."""
    most = _Claims(file_size(path))
    with _hearing(path) as heard:
        head, parts = heard.record(), []
        up = np.eye(4) if head.text("up") == "Y" else _FROM_Z_UP
        for _ in range(head.whole("prims")):
            record = heard.record()
            sizes = record.record("counts")
            counts = {name: sizes.whole(name) for name in _WIDTHS if name in sizes}
            most.add(counts)
            given = {name: heard.floats(n, _WIDTHS[name]) for name, n in counts.items()}
            parts.append(_part(record, given, up))
    antialiased, near = _drawing(head)
    return replace(_together(parts), antialiased=antialiased, near=near)


def drawn(path: Path) -> tuple[bool, float | None]:
    """How the file says that it is meant to be drawn: antialiased, and the near plane."""
    with _hearing(path) as heard:
        return _drawing(heard.record())


@contextmanager
def _hearing(path: Path) -> Iterator[Heard]:
    """What usd-core finds in a file, in a process of its own."""
    size = file_size(path)
    bounds = Bounds(allowance(size, MOST_FOLD), _SECONDS + size / _RATE)
    variables = {k: v for k, v in os.environ.items() if not k.startswith(_CHANGING)}
    process = begun(STAGE, [os.path.abspath(path)], bounds, variables)
    with told(process, "usd-core", bounds) as heard:
        yield heard


class _Claims:
    """What the prims of a file need, many of which may show the same numbers."""

    def __init__(self, size: int) -> None:
        self._size, self._bytes, self._rows, self._sh = size, 0, 0, 1

    def add(self, counts: dict[str, int]) -> None:
        """Raise `Broken` where a prim with so many values makes it more than it may be."""
        n, sh = counts.get("positions", 0), counts.get("radiance:sphericalHarmonicsCoefficients", 0)
        self._bytes += sum(4 * _WIDTHS[name] * count for name, count in counts.items())
        self._rows, self._sh = self._rows + n, max(self._sh, min(16, sh // max(n, 1)))
        needed = max(self._bytes, 4 * self._rows * (11 + 3 * self._sh))
        check_claim(needed, self._size, f"{self._rows:,} Gaussians", MOST_FOLD)


def _drawing(head: Record) -> tuple[bool, float | None]:
    near = head.get("near")
    near = near if isinstance(near, float) and 0 < near < 1e30 else None
    return head.flag("antialiased"), near


def _part(record: Record, given: dict[str, Floats], up: NDArray[Any]) -> Columns:
    """The Gaussians of a prim, placed."""
    at = record.text("at")
    if "positions" not in given:
        raise Broken(f"has no positions at {at}, expected some")
    means = given["positions"]
    n, degree = len(means), record.whole("degree", 3, least=-(1 << 31))
    if not 0 <= degree <= 3:
        raise Broken(f"has harmonics of degree {degree} at {at}, expected 0 to 3")
    k = (degree + 1) ** 2
    sh = given.get("radiance:sphericalHarmonicsCoefficients")
    if sh is None or len(sh) < n * k:
        # As the schema says of rows without: a constant one of 0.5.
        sh, k = np.full((n, 3), 0.5, np.float32), 1
    for name in ("orientations", "scales", "opacities"):
        if len(given.get(name, means)) < n:
            raise Broken(f"has {len(given[name]):,} {name} and {n:,} positions at {at}")
    scales = given.get("scales", np.ones((n, 3), np.float32))
    opacities = given.get("opacities", np.ones((n, 1), np.float32))
    # As memory of theirs has it, the real part is last.
    quats = given.get("orientations", np.tile(np.array([0, 0, 0, -1], np.float32), (n, 1)))
    part = Columns(
        means=means,
        scales=scales[:n],
        opacities=opacities[:n, 0],
        sh=sh[: n * k].reshape(n, k, 3),
        quats=unit(-np.roll(quats[:n], 1, 1)),
    )
    if (part.scales < 0).any() or (abs(part.opacities - 0.5) > 0.5 + 1e-3).any():
        raise Broken("has scales below 0 or opacities outside 0 to 1, expected linear ones")
    local = record.numbers("matrix", 4, 4).T
    placed = placing_of(UP @ up @ local).placed(part)
    return replace(placed, opacities=part.opacities.clip(0, 1))


def _together(parts: list[Columns]) -> Columns:
    k = max(part.sh.shape[1] for part in parts)
    wide = [np.pad(part.sh, ((0, 0), (0, k - part.sh.shape[1]), (0, 0))) for part in parts]
    return Columns(
        means=np.concatenate([part.means for part in parts]),
        scales=np.concatenate([part.scales for part in parts]),
        opacities=np.concatenate([part.opacities for part in parts]),
        sh=np.concatenate(wide),
        quats=np.concatenate([part.quats for part in parts if part.quats is not None]),
    )
