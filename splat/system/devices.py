"""Devices by their kind, for those who plan and wait for no torch; what torch was built for."""

from __future__ import annotations

import ast
import ctypes
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol


class Device(Protocol):
    """A device of torch, or a `Kind` of them."""

    @property
    def type(self) -> str:
        """cpu or cuda."""
        ...


@dataclass(frozen=True)
class Kind:
    """A kind of device."""

    type: str


@dataclass(frozen=True)
class Build:
    """What torch says of itself."""

    version: str
    """Such as 2.9.1+cpu."""
    cuda: str | None
    """The version of CUDA that it was built for; None: it is a build without."""


def torch_build() -> Build:
    """The build of torch that is installed; where nothing has loaded it, read from its
    `version.py`."""
    if "torch" not in sys.modules and (build := _build_on_disk()) is not None:
        return build
    import torch

    return Build(torch.__version__, torch.version.cuda)


def has_driver() -> bool:
    """Whether there is NVIDIA's driver, by the library that torch asks for it."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _build_on_disk() -> Build | None:
    spec = find_spec("torch")
    file = None if spec is None or spec.origin is None else Path(spec.origin).parent / "version.py"
    try:
        tree = ast.parse("" if file is None else file.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    said: dict[str, object] = {}
    for line in tree.body:
        targets = line.targets if isinstance(line, ast.Assign) else []
        targets = [line.target] if isinstance(line, ast.AnnAssign) else targets
        value = line.value if isinstance(line, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Constant):
            said |= {each.id: value.value for each in targets if isinstance(each, ast.Name)}
    version, cuda = said.get("__version__"), said.get("cuda", "")
    if not isinstance(version, str) or cuda == "" or not isinstance(cuda, str | None):
        return None
    return Build(version, cuda)
