"""What the readers of sound folders share: JSON, numbers, and directions."""

from __future__ import annotations

import math

from splat.strategies.acoustic.sounds.types import Triple
from splat.system.foreign import Broken, Record, shown

EXPECTED = "sounds: correct the file, or copy it again"
"""What to say of a file that is broken in a way that nothing more is said of."""


def direction(record: Record, key: str) -> Triple:
    """Three numbers of a record, as a unit vector; raises `Broken`."""
    x, y, z = record.triple(key)
    length = math.sqrt(x * x + y * y + z * z)
    if not 1e-9 <= length < math.inf:
        raise Broken(f"has `{key}`: {shown(record[key])}; expected a direction")
    return x / length, y / length, z / length
