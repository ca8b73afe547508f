"""How fast this machine is, as `splat doctor` found it: remembered in the user's cache."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

from splat.processor import isa
from splat.system import machine
from splat.system.devices import Device
from splat.system.files import read_json, write_json

LEAST, MOST = 0.25, 20.0
"""Bounds of the factor: what is beyond was measured while something else was wrong."""


def speed_file() -> Path:
    """Where it is remembered."""
    return machine.user_cache() / "speed.json"


def remember_factor(factor: float) -> None:
    """Remember how many times longer a step takes on this machine's CPU than is usual."""
    file = speed_file()
    with suppress(OSError):  # what is lost is a better guess
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {**_machine(), "factor": min(max(factor, LEAST), MOST)})


def remembered_factor(device: Device) -> float:
    """How many times longer a step takes than is usual; 1 where nobody measured it.

    It counts for predicted times only: what a run is like must not depend on what else the machine
    did when it was measured.
    """
    if device.type != "cpu" or not speed_file().is_file():
        return 1.0
    with suppress(OSError, ValueError):
        record = read_json(speed_file())
        factor = record.pop("factor", None)
        if record == _machine() and isinstance(factor, float) and math.isfinite(factor):
            return min(max(factor, LEAST), MOST)
    return 1.0


def _machine() -> dict[str, object]:
    """What it was measured with; of a home that several machines share."""
    return {"cores": machine.cores(), "isa": isa()}
