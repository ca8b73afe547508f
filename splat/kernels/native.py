"""Which native code runs where: instruction sets, threads, and what every kernel's front needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

try:
    from splat import _cpu
except ImportError as error:
    raise ImportError(
        "splat's native kernels are not built: install the package with `pip install .`"
        f" (or `pip install -e .`) from its source folder ({error})"
    ) from error

cpu = _cpu
"""The CPU kernels' own module."""
_ISAS = ("avx512", "avx2", "neon", "base")
_isa: str = os.environ.get("SPLAT_ISA") or cpu.best_isa()
if _isa not in _ISAS or not cpu.has_isa(_isa):
    raise ImportError(
        f"SPLAT_ISA={_isa!r} cannot run here; this machine has"
        f" {', '.join(name for name in _ISAS if cpu.has_isa(name))}"
    )
if os.name == "posix":
    os.register_at_fork(after_in_child=cpu.forget_threads)


def isas() -> tuple[str, ...]:
    """Instruction sets that were built and can run here, the fastest first."""
    return tuple(name for name in _ISAS if cpu.has_isa(name))


def isa() -> str:
    """The instruction set in use for float32."""
    return _isa


@contextmanager
def use_isa(name: str) -> Iterator[None]:
    """Run with another instruction set (tests, benchmarks)."""
    global _isa
    if name not in isas():
        raise ValueError(f"instruction set {name!r} cannot run here; there are {isas()}")
    before, _isa = _isa, name
    try:
        yield
    finally:
        _isa = before


def threads() -> int:
    """Threads of the kernels' own pool."""
    return int(cpu.threads())


def set_threads(count: int) -> None:
    """Use `count` threads; results do not depend on it."""
    if count < 1:
        raise ValueError(f"{count} threads asked for; at least 1 is needed")
    cpu.set_threads(count)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Leave the cores to our kernels: torch's own threads would spin on them in between.

    What torch sums is then the same, too, whatever the number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def stage_seconds() -> dict[str, float]:
    """Wall-clock seconds that the CPU kernels have spent on each stage since the process began."""
    return dict(cpu.stage_seconds())


def seconds() -> float:
    """The sum of `stage_seconds`, for a fraction of what asking for each costs."""
    return float(cpu.seconds())


class Scratch:
    """What native code keeps of one forward pass, handed to the next once its backward is gone."""

    idle: dict[tuple[str, str], list[Any]] = {}  # noqa: RUF012
    """By the class of the native module and the table of functions that it is for."""

    def __init__(self, kind: str, table: str) -> None:
        """`kind` is a class of `_cpu`; `table` is what `table_of` says."""
        self._key = kind, table
        waiting = self.idle.setdefault(self._key, [])
        self.native = waiting.pop() if waiting else getattr(cpu, kind)(table)

    def __del__(self) -> None:
        waiting = self.idle.setdefault(self._key, [])
        if len(waiting) < 2:
            waiting.append(self.native)


def cuda() -> Any:
    try:
        from splat import _gpu
    except ImportError as error:
        raise RuntimeError(
            "splat was built without its CUDA kernels: reinstall with a CUDA compiler on PATH,"
            " `pip install . -C cmake.define.SPLAT_CUDA=ON`, or train with --device cpu"
        ) from error
    return _gpu


def single(tensor: Tensor) -> None:
    if tensor.dtype != torch.float32:
        raise ValueError(f"the CUDA kernels take float32, not {tensor.dtype}")


def stream(tensor: Tensor) -> int:
    return int(torch.cuda.current_stream(tensor.device).cuda_stream)


def table_of(tensor: Tensor) -> str:
    if tensor.device.type != "cpu":
        raise ValueError(f"the CPU kernels were given a tensor on {tensor.device}")
    if tensor.dtype == torch.float64:
        return "f64"
    if tensor.dtype == torch.float32:
        return _isa
    raise ValueError(f"the kernels take float32 (or float64 in tests), not {tensor.dtype}")
