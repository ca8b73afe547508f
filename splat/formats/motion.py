"""Motion of Gaussians as a page holds it: ten bytes a row, behind gzip.

Streams one after the other, little endian: times (u16, -0.5 to 1.5 clips), durations (u16,
logarithmic; the largest is always there), velocities (three i16, shares of the fastest).
"""

from __future__ import annotations

import gzip
import math
import zlib
from typing import TYPE_CHECKING

import numpy as np

from splat.formats.columns import Moving
from splat.math import ALWAYS, LASTING
from splat.system.foreign import Broken, unpacked

if TYPE_CHECKING:
    from splat.types import Motion

BYTES = 10
"""Of a row."""
FIRST, SPAN = -0.5, 2.0
"""Earliest time, and times from there on, in clips: what is farther off is drawn at the ends."""
SHORTEST, LONGEST = 0.004, 16.0
"""Durations between which steps are even in their logarithm."""
STEPS = 65535
HALF = 32767
GZIP = zlib.MAX_WBITS | 16


def coded(motion: Motion) -> tuple[bytes, float]:
    """The streams, and the speed along an axis that is the largest, units per clip."""
    lasts = (motion.duration >= LASTING).cpu().numpy()
    time = motion.time.double().cpu().numpy()
    velocity = motion.velocity.double().cpu().numpy()
    velocity[lasts] = 0
    fastest = max(float(np.abs(velocity).max(initial=0)), 1e-9)
    duration = motion.duration.double().cpu().numpy().clip(SHORTEST, LONGEST)
    share = np.log(duration / SHORTEST) / math.log(LONGEST / SHORTEST)
    steps = np.where(lasts, STEPS, (share * (STEPS - 1)).round())
    streams = (
        ((time - FIRST) / SPAN * STEPS).round().clip(0, STEPS).astype("<u2"),
        steps.astype("<u2"),
        (velocity / fastest * HALF).round().clip(-HALF, HALF).astype("<i2"),
    )
    data = b"".join(np.ascontiguousarray(each).tobytes() for each in streams)
    return gzip.compress(data, mtime=0), fastest


@np.errstate(over="ignore")  # of velocities beyond float32, which readers leave out
def decoded(data: bytes, n: int, fastest: float) -> Moving:
    """The motion of `n` rows; raises `Broken` where the streams are of others."""
    raw = unpacked(data, BYTES * n, GZIP)
    if len(raw) != BYTES * n:
        raise Broken(f"holds the motion of {len(raw) // BYTES:,} Gaussians; expected {n:,}")
    time, steps = np.frombuffer(raw, "<u2", 2 * n).reshape(2, n).astype(np.float64)
    velocity = np.frombuffer(raw, "<i2", 3 * n, 4 * n).reshape(n, 3).astype(np.float64)
    share = steps / (STEPS - 1)
    duration = SHORTEST * np.exp(share * math.log(LONGEST / SHORTEST))
    duration[steps == STEPS] = ALWAYS
    return Moving(
        time=(FIRST + SPAN * time / STEPS).astype(np.float32),
        duration=duration.astype(np.float32),
        velocity=(velocity * (fastest / HALF)).astype(np.float32),
    )
