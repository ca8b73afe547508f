"""Files read as a machine with few instructions would: libraries that choose code by the processor
are told to take the plainest, in a process of their own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from splat.recipes.model_files import model_file

PLAINEST = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Prescott",
    "SPLAT_ISA": "base",
}


def digest(path: Path) -> str:
    """Of all numbers of the model in a file."""
    kind = model_file(path.suffix)
    assert kind is not None
    model, _, _ = kind.read(path)
    found = hashlib.blake2b()
    for values in _tensors(model.state_dict()):
        found.update(values.contiguous().numpy().tobytes())
    return found.hexdigest()


def digest_elsewhere(path: Path) -> str:
    """The same, of a process that has the plainest instructions only."""
    from numpy._core import _multiarray_umath as core

    known = [name for name in core.__cpu_dispatch__ if core.__cpu_features__.get(name)]
    environment = {**os.environ, **PLAINEST, "NPY_DISABLE_CPU_FEATURES": " ".join(known)}
    said = subprocess.run(
        [sys.executable, __file__, str(path)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    capability, found = said.stdout.split()
    assert capability == "DEFAULT"
    return found


def _tensors(state: Any) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state.detach()
    elif isinstance(state, dict):
        for name in sorted(state, key=str):
            yield from _tensors(state[name])
    elif isinstance(state, list | tuple):
        for each in state:
            yield from _tensors(each)
    elif isinstance(state, np.ndarray):
        yield torch.from_numpy(state)


if __name__ == "__main__":
    print(torch.backends.cpu.get_cpu_capability(), digest(Path(sys.argv[1])))
