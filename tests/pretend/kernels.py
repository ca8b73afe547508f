"""`splat._gpu` on the pretended device: our kernels for the CPU, by its functions and fields."""

from __future__ import annotations

import ctypes
from typing import Any


def _isa() -> str:
    from splat import kernels

    return kernels.isa()


def photometric_scratch_bytes(width: int, height: int) -> int:
    return 4 * width * height


def photometric(photometric: dict[str, Any]) -> None:
    from splat import _cpu

    fields = dict(photometric)
    loss, _, _ = (fields.pop(name) for name in ("loss", "scratch", "stream"))
    value = _cpu.photometric(_isa(), fields)
    ctypes.c_float.from_address(loss).value = value


def adam(adam: dict[str, Any]) -> None:
    from splat import _cpu

    fields = dict(adam)
    del fields["stream"]
    more = {"factors": 0, "degree": 0, "half_values": False, "aside": False}
    _cpu.adam(_isa(), {**fields, **more})
