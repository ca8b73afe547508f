"""What kernels write into: large outputs lie where those of the step before lay."""

from __future__ import annotations

import math
import threading
import weakref

import numpy as np
import torch
from torch import Tensor

LARGE = 1 << 22
"""Bytes from which memory is kept. What is smaller torch's own allocator keeps."""
ROOM = 1.25
"""Kept memory serves for what is up to so many times smaller."""
_ALIGNED = 64
_KINDS = {torch.float32: np.float32, torch.float64: np.float64}
_idle: list[np.ndarray] = []
"""Memory that was lent and that no tensor holds any longer."""
_one_at_a_time = threading.Lock()


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """A tensor on the CPU, not initialised, for a kernel to write.

    What is large and given back, the system clears page by page when it is asked for anew, which
    is a quarter of a step of three million Gaussians. So it is kept until something of another
    size is asked for: then the scene has grown, and what fitted it is let go.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or dtype not in _KINDS:
        return torch.empty(shape, dtype=dtype)
    memory = _kept(size)
    lent = memory[:size].view(_KINDS[dtype]).reshape(shape)
    # Of all that looks at the memory the array ends last: the tensor's storage holds it.
    weakref.finalize(lent, _idle.append, memory).atexit = False
    return torch.from_numpy(lent)


def empty_like(tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """One of a tensor's shape, in its type where no other is said; not on the CPU torch's."""
    if tensor.device.type != "cpu":
        return torch.empty_like(tensor, dtype=dtype)
    return empty(*tensor.shape, dtype=dtype or tensor.dtype)


def forget() -> None:
    """Let go what is kept."""
    _idle.clear()


def _kept(size: int) -> np.ndarray:
    with _one_at_a_time:
        fitting = [i for i, memory in enumerate(_idle) if size <= len(memory) <= size * ROOM]
        if fitting:
            return _idle.pop(min(fitting, key=lambda i: len(_idle[i])))
        _idle.clear()
    whole = np.empty(size + _ALIGNED, np.uint8)
    first = -whole.ctypes.data % _ALIGNED
    return whole[first : first + size]
