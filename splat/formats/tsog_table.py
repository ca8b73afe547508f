"""What a `.tsog` holds as NumPy has it: what a `.sog` does, and how its Gaussians move."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from splat.formats.columns import Columns, Floats, Moving
from splat.formats.limits import LEVELS
from splat.formats.sog_meta import COEFFICIENTS, STEPS, Doubles, Meta, Values, lerped
from splat.formats.sog_table import (
    Codes,
    codes_in,
    decoded,
    document_in,
    opened,
    rows_in,
    words,
)
from splat.formats.tsog_meta import TimedMeta
from splat.math import ALWAYS
from splat.system.foreign import Broken, shown

SUFFIX = ".tsog"
LASTS = 16.0
"""Longest standard deviation that is written, in clips: that of what is always there. What stands
still with it is so when it is read; half a clip away its opacity is lower by a 2,000th."""


def columns(path: Path) -> Columns:
    """What the rows of a file hold, finite or not; see `splat.formats.tsog.read`."""
    with content(path) as (meta, values, codes, moving):
        return decoded(values, codes, meta.drawn, moving)


@contextmanager
def content(path: Path) -> Iterator[tuple[TimedMeta, Values, Codes, Moving | None]]:
    """The document of a file, what its bytes stand for, the bytes, and how its rows move."""
    with opened(path, SUFFIX) as archive:
        meta = TimedMeta.of(document_in(archive))
        meta.check_images(archive)
        codes = codes_in(archive, meta)
        values = meta.values()
        _check_codes(meta, codes)
        moving = _motion(archive, meta, len(codes.means)) if meta.moves else None
        yield meta, values, codes, moving


def _check_codes(meta: TimedMeta, codes: Codes) -> None:
    """Raise `Broken` where a Gaussian has the number of a level that there is none of."""
    used = [("scales", codes.scales), ("sh0", codes.colors[:, :3])]
    if codes.palette is not None:
        used.append(("shN", codes.palette.entries[np.unique(codes.palette.labels)]))
        k = COEFFICIENTS[meta.part("shN")["bands"] - 1]
        if codes.palette.entries.shape[1] != k:
            raise Broken(
                f"has a palette of {codes.palette.entries.shape[1]} coefficients, expected {k}"
            )
    for name, levels in used:
        if levels.max() >= meta.levels_in(name):
            raise Broken(
                f"has level {levels.max()} in {name!r}, whose codebook has {meta.levels_in(name)}"
            )


def _motion(archive: zipfile.ZipFile, meta: TimedMeta, n: int) -> Moving:
    """The motion of `n` rows; raises `Broken`."""
    low, high = meta.range_of(meta.part("timeline"), 2)
    if not np.float32(low[1]) > 0:
        raise Broken(f"has a duration of {low[1]:g}, expected one above 0")
    codes = _pairs(archive, meta.files("timeline", 2), n)[:, :2]
    time, duration = lerped(low, high, codes / STEPS).T
    velocity = np.zeros((n, 3), np.float32)
    if "temporal" in meta.document:
        velocity = _velocities(archive, meta, n)
    still = (velocity == 0).all(1) & (time >= 0) & (time <= 1)
    lasts = still & (duration >= LASTS * (1 - 1 / STEPS))
    return Moving(
        time=time.astype(np.float32),
        duration=np.where(lasts, ALWAYS, duration).astype(np.float32),
        velocity=velocity,
    )


def _velocities(archive: zipfile.ZipFile, meta: TimedMeta, n: int) -> Floats:
    """Units per clip [n, 3]."""
    temporal = Meta(meta.part("temporal"))
    part = temporal.part("means")
    flat: dict[str, Any] = {}
    for end in ("mins", "maxs"):
        rows: Any = part.get(end)
        if not isinstance(rows, list) or len(rows) != 1:
            raise Broken(f"has {shown(rows)} as {end!r} of velocities, expected one list of 3")
        flat[end] = rows[0]
    low, high = meta.range_of(flat, 3)
    files = part.get("files")
    count = len(files) if isinstance(files, list) else 0
    if count not in (1, 2):
        raise Broken(f"has {shown(files)} as files of velocities, expected one or two")
    names = temporal.files("means", count)
    codes, steps = (
        (_pairs(archive, names, n)[:, :3], STEPS)
        if count == 2
        else (rows_in(archive, names[0], n)[:, :3].astype(np.float64), LEVELS - 1)
    )
    velocity = lerped(low, high, codes / steps)
    # Rounding leaves next to nothing of what is a velocity of 0.
    nothing = 1e-9 * np.maximum(np.abs(low), np.abs(high))
    return np.where(np.abs(velocity) > nothing, velocity, 0).astype(np.float32)


def _pairs(archive: zipfile.ZipFile, names: list[str], n: int) -> Doubles:
    """Numbers of 16 bits in two images, the lower bytes first [n, 4]."""
    low, high = (rows_in(archive, name, n) for name in names)
    return words(low, high).astype(np.float64)
