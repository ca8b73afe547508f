"""Builds the pretended device against the headers of the installed torch, once for each version."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

SOURCE = Path(__file__).with_name("device.cpp")
FOLDER = Path(__file__).parents[2] / "build" / "pretend"
"""Where libraries are kept; git ignores it."""


class Unbuilt(RuntimeError):
    """Why there is no library, in a sentence."""


def library() -> Path:
    """The library of the pretended device, built where that has not been done."""
    if sys.platform != "linux":
        raise Unbuilt(f"CUDA is pretended on Linux only, and this is {sys.platform}")
    version = metadata.version("torch")
    if "+cpu" not in version and _has_cuda():
        raise Unbuilt(f"torch {version} is a CUDA build: CUDA is pretended on a CPU build only")
    mark = hashlib.sha256(SOURCE.read_bytes() + version.encode()).hexdigest()[:16]
    made = FOLDER / f"device-{mark}.so"
    if not made.exists():
        _build(made)
    return made


def _has_cuda() -> bool:
    return any(_torch().joinpath("lib").glob("libtorch_cuda.*"))


def _torch() -> Path:
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        raise Unbuilt("torch is not installed")
    return Path(found.origin).parent


def _build(made: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise Unbuilt("no C++ compiler was found: install g++, or name one in CXX")
    torch = _torch()
    made.parent.mkdir(parents=True, exist_ok=True)
    draft = made.with_name(f"{made.name}.{os.getpid()}")
    command = [
        compiler, "-std=c++20", "-O1", "-g0", "-fPIC", "-shared", "-w", str(SOURCE), "-o",
        str(draft), f"-I{torch / 'include'}", f"-L{torch / 'lib'}", "-ltorch_cpu", "-lc10",
        f"-Wl,-rpath,{torch / 'lib'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        why = errors[0] if errors else f"the compiler ended with {done.returncode}"
        raise Unbuilt(f"the pretended CUDA device does not compile with this torch ({why})")
    draft.replace(made)
