"""Arrays that end where memory does: a page that must not be touched follows them, or precedes.

While `Guards` is entered, every array whose address goes to native code lies in pages of its own.
What is beside it in its page is checked afterwards.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from sys import modules
from typing import Any, Literal

import torch
from torch import Tensor

from splat.kernels import crossing
from splat.kernels.native import cpu

Side = Literal["end", "begin"]
"""Where the page that must not be touched is: behind the end of an array, or before its begin."""

_PAGE = mmap.PAGESIZE
_MARK = 0xA5
"""What lies beside an array in its pages."""
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *([ctypes.c_int] * 3), ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_FAILED = ctypes.c_void_p(-1).value

OF_MODULES = ("activate", "adam", "frustum", "moment", "photometric", "pixels", "walk")
"""Modules of `splat.kernels` that call functions of the native module."""
OF_SCRATCH = ("rasterize", "decode", "field", "hexplane")
"""Those that call objects of it."""


class Overrun(AssertionError):
    """A kernel wrote beside an array that it was given."""


class Block:
    """Pages between two that must not be touched, with an array at one end of them."""

    def __init__(self, size: int, side: Side) -> None:
        room = max(1, -(-size // _PAGE)) * _PAGE
        self._whole = room + 2 * _PAGE
        both = mmap.PROT_READ | mmap.PROT_WRITE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        start = _libc.mmap(None, self._whole, both, flags, -1, 0)
        if start == _FAILED:
            raise MemoryError(f"mmap of {self._whole:,} bytes failed")
        self._start: int = start
        for page in (start, start + _PAGE + room):
            if _libc.mprotect(page, _PAGE, mmap.PROT_NONE if hasattr(mmap, "PROT_NONE") else 0):
                raise OSError(ctypes.get_errno(), "mprotect failed")
        first = start + _PAGE
        self.size = size
        self.address = first + (room - size if side == "end" else 0)
        self._beside = first if side == "end" else first + size, room - size
        ctypes.memset(self._beside[0], _MARK, self._beside[1])

    def check(self, name: str) -> None:
        """Raise `Overrun` where what lies beside the array was changed."""
        found = ctypes.string_at(*self._beside)
        if found.strip(bytes([_MARK])):
            raise Overrun(f"{name}: bytes beside its {self.size:,} were written")

    def free(self) -> None:
        """Give the pages back; nobody may know the address any more."""
        _libc.munmap(self._start, self._whole)


class Guards:
    """The arrays of the calls of one case."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._blocks: list[tuple[str, Block]] = []
        self._pending: list[tuple[Tensor, Block]] = []

    def addresses(
        self,
        like: Tensor,
        dtype: torch.dtype | None,
        fields: dict[str, tuple[Tensor | None, Any]],
        may_lack: bool,
    ) -> dict[str, int]:
        """What `crossing` makes of arrays, moved to where they are guarded."""
        plain = _ADDRESSES(like, dtype, fields, may_lack)
        for name in plain:
            tensor = fields[name][0]
            if tensor is None or tensor.device.type != "cpu":
                continue
            block = Block(tensor.numel() * tensor.itemsize, self._side)
            ctypes.memmove(block.address, tensor.data_ptr(), block.size)
            self._blocks.append((name, block))
            self._pending.append((tensor, block))
            plain[name] = block.address
        return plain

    def written(self) -> None:
        """Copy what a kernel wrote to where it was meant to be."""
        for tensor, block in self._pending:
            ctypes.memmove(tensor.data_ptr(), block.address, block.size)
        self._pending.clear()
        for name, block in self._blocks:
            block.check(name)

    def free(self) -> None:
        """Let all arrays go."""
        for _, block in self._blocks:
            block.free()
        self._blocks.clear()


_ADDRESSES = crossing._addresses


class _Called:
    """A native module or object that copies back what a call wrote."""

    def __init__(self, native: Any, guards: Guards) -> None:
        self._native, self._guards = native, guards

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._native, name)
        if not callable(function):
            return function

        def call(*given: Any) -> Any:
            found = function(*given)
            if name == "adam":
                cpu.finish(found)  # it may go on after the call
            self._guards.written()
            return found

        return call


@contextmanager
def guarded(side: Side) -> Iterator[Guards]:
    """Kernels read and write guarded arrays only; these go when the block ends."""
    guards = Guards(side)

    class Scratch:
        # One for each pass, and none handed on: it knows addresses that go.
        def __init__(self, kind: str, table: str) -> None:
            self.native = _Called(getattr(cpu, kind)(table), guards)

    kept: list[tuple[Any, str, Any]] = []

    def put(module: Any, name: str, value: Any) -> None:
        kept.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    put(crossing, "_addresses", guards.addresses)
    for name in OF_SCRATCH:
        put(modules[f"splat.kernels.{name}"], "Scratch", Scratch)
    for name in OF_MODULES:
        put(modules[f"splat.kernels.{name}"], "cpu", _Called(cpu, guards))
    try:
        yield guards
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
        guards.free()


def bits(tensors: Sequence[Tensor | None]) -> list[bytes]:
    """Contents of tensors, NaN included; nothing of those that have no memory here."""
    return [
        ctypes.string_at(t.contiguous().data_ptr(), t.numel() * t.itemsize)
        if t is not None and t.device.type == "cpu" and t.layout == torch.strided
        else b""
        for t in tensors
    ]
