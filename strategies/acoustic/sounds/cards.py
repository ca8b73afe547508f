"""What the readers of sound folders share: JSON, numbers, and directions."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from splat.strategies.acoustic.sounds.types import Triple


def parsed(file: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        card = json.loads(file.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file}: is not JSON ({error}); expected a whole file: copy or export it again"
        ) from None
    if not isinstance(card, dict):
        raise ValueError(f"{file}: holds no JSON object; expected one: copy or export it again")
    return card


def triple(value: Any, where: str) -> Triple:
    """Three finite numbers, or an error that begins with `where`."""
    good = isinstance(value, list | tuple) and len(value) == 3
    good = good and all(isinstance(v, int | float) and not isinstance(v, bool) for v in value)
    if not good or not all(math.isfinite(v) for v in value):
        raise ValueError(f"{where} is {value!r}; expected three finite numbers: correct the file")
    return float(value[0]), float(value[1]), float(value[2])


def direction(value: Any, where: str) -> Triple:
    """Three numbers, as a unit vector."""
    x, y, z = triple(value, where)
    length = math.sqrt(x * x + y * y + z * z)
    if length < 1e-9:
        raise ValueError(f"{where} is {value!r}; expected a direction: correct the file")
    return x / length, y / length, z / length
