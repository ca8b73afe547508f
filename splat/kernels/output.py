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


class Outputs:
    """Memory of one kind of outputs, kept from step to step.

    What is large and given back, the system clears page by page when it is asked for anew, which
    is a quarter of a step of three million Gaussians. So it is kept, until something is asked for
    that nothing kept fits: then all that is kept is of a size that is over, and let go.
    """

    def __init__(self) -> None:
        self.idle: list[np.ndarray] = []
        """What was lent and no tensor holds any longer."""
        self._one_at_a_time = threading.Lock()

    def empty(self, *shape: int, dtype: torch.dtype, device: torch.device | None = None) -> Tensor:
        """A tensor, not initialised, for a kernel to write; not on the CPU torch's own."""
        if device is not None and device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=device)
        size = math.prod(shape) * dtype.itemsize
        if size < LARGE or dtype not in _KINDS:
            return torch.empty(shape, dtype=dtype)
        memory = self._kept(size)
        lent = memory[:size].view(_KINDS[dtype]).reshape(shape)
        # Of all that looks at the memory the array ends last: the tensor's storage holds it.
        weakref.finalize(lent, self.idle.append, memory).atexit = False
        return torch.from_numpy(lent)

    def empty_like(self, tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """One of a tensor's shape, in its type where no other is said; not on the CPU torch's."""
        return self.beside(tensor, *tensor.shape, dtype=dtype)

    def beside(self, tensor: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """One where a tensor lies, in its type where no other is said; not on the CPU torch's."""
        if tensor.device.type != "cpu":
            return torch.empty(shape, dtype=dtype or tensor.dtype, device=tensor.device)
        return self.empty(*shape, dtype=dtype or tensor.dtype)

    def _kept(self, size: int) -> np.ndarray:
        with self._one_at_a_time:
            fits = [i for i, memory in enumerate(self.idle) if size <= len(memory) <= size * ROOM]
            if fits:
                return self.idle.pop(min(fits, key=lambda i: len(self.idle[i])))
            self.idle.clear()
        whole = np.empty(size + _ALIGNED, np.uint8)
        first = -whole.ctypes.data % _ALIGNED
        return whole[first : first + size]


rows = Outputs()
"""Memory of outputs that have a row for each Gaussian."""
pictures = Outputs()
"""Memory of outputs of pixels, apart: pictures of several sizes do not evict those of Gaussians."""


def forget() -> None:
    """Let go what is kept."""
    rows.idle.clear()
    pictures.idle.clear()
