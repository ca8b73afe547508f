"""What the streams of an `.spz` hold as NumPy has it; see `splat.formats.spz_streams`.

Rotations, which are finite whatever their bytes are, are left out unless they are asked for.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splat.formats.columns import Columns, Floats
from splat.formats.settings import Settings
from splat.formats.spz_container import ANTIALIASED, Contents, axes_of, coefficients, unpacked
from splat.formats.spz_layout import COLOR, Layout, Signs, signs_of_harmonics


def columns(path: Path) -> Columns:
    """What a file holds along the axes of a .ply, finite or not, of bands up to the third."""
    return columns_of(unpacked(path), path)


def columns_of(contents: Contents, path: Path, *, turned: bool = False) -> Columns:
    """As `columns`, of what `path` holds or what lies within it; `turned`: with rotations."""
    header, layout = contents.header, contents.header.layout
    positions, opacities, colors, scales, rotations, harmonics = (
        np.frombuffer(stream, np.uint8).reshape(header.n, width)
        for stream, width in zip(contents.streams, layout.widths, strict=True)
    )
    k = coefficients(header, path)
    sh = np.empty((header.n, k, 3), np.float32)
    sh[:, 0] = (colors / np.float32(255) - np.float32(0.5)) / np.float32(COLOR)
    sh[:, 1:] = harmonics[:, : 3 * (k - 1)].reshape(header.n, k - 1, 3)
    sh[:, 1:] = (sh[:, 1:] - 128) / 128
    signs = axes_of(contents, path, Settings())
    sh *= np.array(signs_of_harmonics(signs, k), np.float32)[:, None]
    return Columns(
        means=_positions(positions, layout) * np.array(signs, np.float32),
        scales=np.exp(scales / np.float32(16) - 10),
        opacities=opacities[:, 0] / np.float32(255),
        sh=sh,
        quats=_quats(rotations, signs) if turned else None,
        antialiased=bool(header.flags & ANTIALIASED),
    )


def _quats(stream: NDArray[np.uint8], signs: Signs) -> Floats:
    """Unit quaternions (w, x, y, z)."""
    if stream.shape[1] == 3:
        xyz = stream / np.float32(127.5) - 1
        quats = np.concatenate([_remaining(xyz), xyz], 1)
    else:
        word = np.ascontiguousarray(stream).view("<u4")
        largest = (word >> 30).astype(np.int64)
        codes = word >> np.array([20, 10, 0], np.uint32)
        three = (codes & 511).astype(np.float32) * np.float32(0.5**0.5 / 511)
        three = np.where(codes & 512, -three, three)
        slots = np.arange(3)
        xyzw = np.empty((len(stream), 4), np.float32)
        np.put_along_axis(xyzw, slots + (slots >= largest), three, 1)
        np.put_along_axis(xyzw, largest, _remaining(three), 1)
        quats = np.roll(xyzw, 1, 1)
    x, y, z = signs
    quats = quats * np.array([1, y * z, x * z, x * y], np.float32)
    unit: Floats = quats / np.linalg.norm(quats, axis=1, keepdims=True)
    return unit


def _remaining(three: Floats) -> Floats:
    left: Floats = np.sqrt(np.maximum(1 - np.square(three).sum(1, keepdims=True), 0))
    return left


def _positions(stream: NDArray[np.uint8], layout: Layout) -> Floats:
    if layout.version == 1:
        return stream.view("<f2").astype(np.float32)
    # Three bytes each, the highest of which has the sign: above a byte of nothing.
    whole = np.zeros((len(stream), 3, 4), np.uint8)
    whole[..., 1:] = stream.reshape(-1, 3, 3)
    fixed = whole.view("<i4")[..., 0] >> 8
    means: Floats = fixed.astype(np.float32) / np.float32(2.0**layout.point)
    return means
