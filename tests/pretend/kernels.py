"""`splat._gpu` on the pretended device, by its functions and fields.

The loss and the optimizer are our kernels for the CPU; the rasterizer is its own sources as C++
(`tests/shim`), built when it is first asked for.
"""

from __future__ import annotations

import ctypes
import functools
from types import ModuleType
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_emulated(), name)


@functools.cache
def _emulated() -> ModuleType:
    from shim.build import module

    return module()


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
    _cpu.adam(_isa(), {**fields, "aside": False})


def walk(walk: dict[str, Any]) -> None:
    from splat import _cpu

    fields = dict(walk)
    del fields["stream"]
    _cpu.walk(_isa(), fields)
