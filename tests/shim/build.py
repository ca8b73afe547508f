"""The CUDA kernels' own sources as a Python module for the CPU: `cuda/gpu` over the shim."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from ctypes import CDLL
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
SHIM, CUDA = ROOT / "tests" / "shim", ROOT / "cuda"
FOLDER = ROOT / "build" / "shim"
"""Where modules are kept; git ignores it."""
# Nothing may be contracted: what two kernels compute must agree to the bit, as it does on a GPU.
_FLAGS = ("-std=c++20", "-O2", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-w")
_KERNELS = ("-fvisibility=hidden", "-x", "c++")
_SANITIZED = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-g1",
)


class Unbuilt(RuntimeError):
    """Why there is no such module, in a sentence."""


def module(*, sanitized: bool = False) -> ModuleType:
    """The module `_gpu` for the CPU, built where that has not been done.

    Its function `set_order` says in which order a block's threads take turns (`cuda_runtime.h`).
    One that is `sanitized` is for a process that began with the sanitizers' libraries (`fuzz.py`).
    """
    if sys.platform != "linux":
        raise Unbuilt(f"CUDA is emulated on Linux only, and this is {sys.platform}")
    more = _SANITIZED if sanitized else ()
    library = FOLDER / _key(more) / f"_gpu{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not library.exists():
        _build(library, more)
    loader = importlib.machinery.ExtensionFileLoader("_gpu", str(library))
    spec = importlib.util.spec_from_loader("_gpu", loader)
    assert spec is not None
    found = importlib.util.module_from_spec(spec)
    loader.exec_module(found)
    found.set_order = CDLL(str(library)).shim_order  # type: ignore[attr-defined]
    return found


def sources() -> list[Path]:
    """What is compiled: all but what has CUB."""
    kernels = [path for path in sorted((CUDA / "gpu").glob("*.cu")) if path.name != "sorting.cu"]
    return [*kernels, CUDA / "gpu" / "bind.cpp", SHIM / "shim.cpp", SHIM / "sorting.cpp"]


def _key(more: tuple[str, ...]) -> str:
    read = [*(CUDA / "gpu").iterdir(), *(CUDA / "include" / "splat").iterdir(), *SHIM.iterdir()]
    whole = hashlib.sha256(" ".join((*_FLAGS, *_simd(), *more, sysconfig.get_platform())).encode())
    for path in sorted(path for path in read if path.is_file()):
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def _simd() -> tuple[str, ...]:
    """What makes a fused multiplication and addition one instruction and not a call."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ()
    return ("-mavx2", "-mfma") if " fma " in flags and " avx2 " in flags else ()


def compiler() -> str:
    """The C++ compiler."""
    found = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if found is None:
        raise Unbuilt("no C++ compiler was found: install g++, or name one in CXX")
    return found


def _build(library: Path, more: tuple[str, ...]) -> None:
    cxx = compiler()
    try:
        import nanobind
    except ImportError as error:
        raise Unbuilt("nanobind is missing: install splat-toolkit[test]") from error
    python = sysconfig.get_paths()["include"]
    if not Path(python, "Python.h").exists():
        raise Unbuilt("the headers of Python are missing")
    library.parent.mkdir(parents=True, exist_ok=True)
    folder = library.parent / f"build-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    binding = Path(nanobind.include_dir()).parent
    include = [SHIM, CUDA, CUDA / "include", CUDA / "gpu", python]
    include += [binding / "include", binding / "ext" / "robin_map" / "include"]
    flags = [*_FLAGS, *_simd(), *more, *(f"-I{path}" for path in include)]
    objects = []
    running = []
    for path in (*sources(), binding / "src" / "nb_combined.cpp"):
        target = folder / f"{path.stem}.o"
        objects.append(target)
        command = [cxx, *flags, *_KERNELS, "-c", str(path), "-o", str(target)]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, said = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(map(str, process.args))}\n{said}")
    made = folder / library.name
    subprocess.run([cxx, "-shared", *more, "-o", made, *objects], check=True)
    made.replace(library)
    shutil.rmtree(folder)
