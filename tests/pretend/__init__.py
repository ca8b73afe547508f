"""A CUDA device that is pretended, for tests of what runs on one where there is none.

    SPLAT_PRETEND_CUDA=1 python -m pytest -m gpu tests

Tensors say `cuda:0` and lie in the machine's memory (`device.cpp`); gsplat and our CUDA kernels are
stood in for by our kernels for the CPU (`gsplat`, `kernels`). Seen are tensors of several devices
in one operation, generators of the wrong one, memory that nobody has written (NaN), and all of
Python that runs on CUDA only; not seen are the CUDA kernels themselves, streams, memory and time.
"""

from __future__ import annotations

import ctypes
import glob
import importlib
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

WANTED = "SPLAT_PRETEND_CUDA"
"""Environment variable: how many GPUs are pretended, here and in processes started from here."""
HERE = Path(__file__).parent
STAND_INS = {
    "gsplat": "pretend.gsplat",
    "gsplat.csrc": "pretend.gsplat",
    "splat._gpu": "pretend.kernels",
}
"""By the name that is imported."""


class StandIn(ModuleType):
    """A module whose contents are those of another, loaded when it is used: that imports splat."""

    def __init__(self, name: str, source: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None, origin=source)
        self._source = source

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") and name != "__version__":
            raise AttributeError(name)
        return getattr(importlib.import_module(self._source), name)


def begin() -> str:
    """Pretend from here on, where it is asked for; "", or in a sentence why that cannot be.

    Call it before torch is imported, which asks once who stands for CUDA.
    """
    if os.environ.get(WANTED, "0") in ("", "0"):
        return ""
    if "torch" in sys.modules:
        return "" if _begun() else "torch was imported before CUDA could be pretended"
    from pretend.build import Unbuilt, library

    try:
        made = library()
    except Unbuilt as why:
        return str(why)
    _load(made)
    from pretend import torch_cuda

    torch_cuda.begin()
    for name, source in STAND_INS.items():
        sys.modules[name] = StandIn(name, source)
    _tell_children()
    return ""


def quick_renderer() -> str:
    """What to draw with on CUDA where a test takes many steps: pretended, our own kernels are
    emulated thread by thread, and gsplat is stood in for by those for the CPU."""
    return "gsplat" if _begun() else "auto"


def taken_counts() -> dict[str, int]:
    """How often each operator ran on the device since the last call, and each kind of copy."""
    given = _device().pretended_counts
    given.restype = ctypes.c_char_p
    lines = given().decode().splitlines()
    return {name: int(count) for name, count in (line.split("\t") for line in lines)}


def _begun() -> bool:
    return "pretend.torch_cuda" in sys.modules


def _device() -> ctypes.CDLL:
    from pretend.build import library

    return ctypes.CDLL(str(library()))


def _load(made: Path) -> None:
    """Load the device after the libraries of torch that it needs, and before torch itself."""
    found = importlib.util.find_spec("torch")
    assert found is not None and found.origin is not None
    below = os.path.join(os.path.dirname(found.origin), "lib")
    first = [*glob.glob(os.path.join(below, "libgomp*.so*"))]
    for path in (*first, os.path.join(below, "libc10.so"), os.path.join(below, "libtorch_cpu.so")):
        ctypes.CDLL(path, os.RTLD_GLOBAL | os.RTLD_LAZY)
    ctypes.CDLL(str(made), os.RTLD_GLOBAL | os.RTLD_LAZY)


def _tell_children() -> None:
    """Have Python processes that are started from here pretend, too."""
    site = str(HERE / "site")
    before = os.environ.get("PYTHONPATH", "")
    if site not in before.split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (site, before)))
