"""Which native code runs where: threads, and what every kernel's front needs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from splat.processor import cpu as cpu
from splat.processor import isa


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


@contextmanager
def threads_alone(count: int) -> Iterator[ThreadPoolExecutor]:
    """So many threads in each of which torch computes alone: sums that they shared would come out
    a little different with each number of them."""
    with one_torch_thread(), ThreadPoolExecutor(count, "", torch.set_num_threads, (1,)) as pool:
        yield pool


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
        return isa()
    raise ValueError(f"the kernels take float32 (or float64 in tests), not {tensor.dtype}")
