"""What drawing on CUDA lacks here, if anything: the card, its driver, torch, our kernels, gsplat.

Each question is answered by `Lack`, a sentence with what to do, or by None. Nothing is compiled.
Our kernels' fat binary is for many cards, and brings a runtime of its own, which the driver has to
know: whether they run is found out by running one (`of_running`).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from splat.system.devices import has_driver, torch_build

GSPLAT_FROM, GSPLAT_BELOW = (1, 5, 3), (1, 6)
"""Versions of gsplat that are drawn with. 1.6 caps alpha elsewhere (0.99 in place of 0.999), which
makes other pictures, and other contributions than are computed here."""
KERNELS_FROM = (7, 5)
"""Compute capability that our CUDA kernels are built from on (`cuda/CMakeLists.txt`)."""
_PACKAGE = "splat-toolkit"


@dataclass(frozen=True)
class Lack:
    """Why something cannot be had, and what brings it."""

    found: str
    """A clause, such as `torch sees no CUDA device`."""
    remedy: str
    """A command, or what to do."""

    def __str__(self) -> str:
        return f"{self.found} ({self.remedy})"


_NO_DRIVER = Lack("there is no NVIDIA driver", "install one, if there is an NVIDIA card")


def of_cuda() -> Lack | None:
    """What torch lacks to compute on CUDA."""
    installed = torch_build()
    build = f"torch {installed.version}"
    if installed.cuda is None:
        if sys.platform == "darwin":
            return Lack("there is no CUDA on this system", "train on the CPU")
        return Lack(f"{build} is a build without CUDA", "install a CUDA build, see pytorch.org")
    # What pip installs on Linux is a build for CUDA: most machines answer without waiting for it.
    if "torch" not in sys.modules and (lack := _hidden() or (None if has_driver() else _NO_DRIVER)):
        return lack
    import torch

    if not torch.cuda.is_available():
        return _no_device(build)
    return _too_old(build)


def _no_device(build: str) -> Lack:
    """Why a CUDA build of torch sees no device."""
    import torch

    if lack := _hidden():
        return lack
    try:
        torch.cuda.init()
        why = ""
    except Exception as error:  # whatever torch says of a driver
        why = str(error)
    if version := re.search(r"driver on your system is too old \(found version (\d+)\)", why):
        number = int(version[1])
        return Lack(
            f"the NVIDIA driver is for CUDA {number // 1000}.{number % 1000 // 10}, too old for"
            f" {build} with CUDA {torch.version.cuda}",
            "update the driver, or install a torch built with a CUDA that the driver knows",
        )
    if "no NVIDIA driver" in why:
        return _NO_DRIVER
    return Lack("torch sees no CUDA device", "look at what `nvidia-smi` says of card and driver")


def _hidden() -> Lack | None:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is None or hidden.strip() not in ("", "-1"):
        return None
    return Lack(
        f"CUDA_VISIBLE_DEVICES is {hidden!r}, which hides every card",
        "unset it, or name a card",
    )


def _too_old(build: str) -> Lack | None:
    """Whether torch has code for the card: its own, or some to be compiled for newer ones."""
    import torch

    major, minor = torch.cuda.get_device_capability()
    known = [
        (kind, int(number[:-1]), int(number[-1]))
        for kind, number in re.findall(r"(sm|compute)_(\d+)", " ".join(torch.cuda.get_arch_list()))
    ]
    runs = [
        (kind == "sm" and m == major and n <= minor)
        or (kind == "compute" and (m, n) <= (major, minor))
        for kind, m, n in known
    ]
    if not known or any(runs):
        return None
    least = min((m, n) for _, m, n in known)
    old = (major, minor) < least
    return Lack(
        f"{torch.cuda.get_device_name()} has compute capability {major}.{minor}, and {build} has"
        f" code for {least[0]}.{least[1]} and {'newer' if old else 'some others'} only",
        "install a torch built with an older CUDA, or train on the CPU"
        if old
        else "install a newer torch",
    )


def of_gsplat() -> Lack | None:
    """What gsplat lacks to draw: to be installed, of a version that is known, with kernels."""
    install = f"pip install '{_PACKAGE}[cuda]'"
    try:
        import gsplat
    except ImportError as error:
        missing = find_spec("gsplat") is None
        why = "is not installed" if missing else f"cannot be imported ({error})"
        return Lack(f"gsplat {why}", install)
    version = str(gsplat.__version__)
    if not known_version(version):
        from_, below = (".".join(map(str, each)) for each in (GSPLAT_FROM, GSPLAT_BELOW))
        return Lack(
            f"gsplat is {version}, and splat draws with {from_} or later, below {below}",
            f"pip install 'gsplat>={from_},<{below}'",
        )
    if found_module("gsplat.csrc") or _compiled():
        return None
    tools = {"nvcc": _nvcc(), "ninja": found_module("ninja") or shutil.which("ninja") is not None}
    if lacking := [tool for tool, there in tools.items() if not there]:
        return Lack(
            f"gsplat {version} has no compiled kernels, and there is no {' and no '.join(lacking)}"
            " to build them with",
            "install the CUDA toolkit (nvcc) and ninja, or a prebuilt gsplat wheel for this torch",
        )
    return None


def gsplat_version() -> str:
    """The version of gsplat, which is installed, and whether its kernels are."""
    import gsplat

    built = found_module("gsplat.csrc") or _compiled()
    return str(gsplat.__version__) + ("" if built else ", which compiles its kernels at first use")


def known_version(text: str) -> bool:
    """Whether gsplat of a version, such as 1.5.3+pt26cu124, is one that is drawn with."""
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if numbers is None:
        return False
    version = tuple(int(each or 0) for each in numbers.groups())
    return GSPLAT_FROM <= version < GSPLAT_BELOW


def of_kernels() -> Lack | None:
    """What our own CUDA kernels lack, which every run on CUDA needs: to be built, for the card."""
    if found_module("splat._gpu"):
        import torch

        major, minor = torch.cuda.get_device_capability()
        if (major, minor) >= KERNELS_FROM:
            return None
        return Lack(
            f"{torch.cuda.get_device_name()} has compute capability {major}.{minor}, and our CUDA"
            f" kernels are for {KERNELS_FROM[0]}.{KERNELS_FROM[1]} (Turing, 2018) and newer",
            "train on the CPU",
        )
    nvcc = shutil.which("nvcc")
    return Lack(
        "splat was built without its CUDA kernels"
        f" ({f'nvcc is {nvcc}' if nvcc else 'nvcc is not on PATH'})",
        f"put nvcc on PATH, then: pip install --force-reinstall --no-deps --no-binary {_PACKAGE}"
        f" {_PACKAGE} -C cmake.define.SPLAT_CUDA=ON",
    )


@cache
def of_running() -> Lack | None:
    """Whether our CUDA kernels run here, found out by a picture of one pixel."""
    import torch

    from splat.kernels import photometric

    image = torch.zeros(1, 1, 3, device="cuda")
    try:
        photometric(image, image).item()
    except RuntimeError as error:
        why = str(error).strip().partition("\n")[0]
        return Lack(
            f"our CUDA kernels do not run on {torch.cuda.get_device_name()} ({why})",
            "update the NVIDIA driver, or build splat on this machine, with nvcc on PATH, or use"
            " --device cpu",
        )
    return None


def first(*questions: Callable[[], Lack | None]) -> Lack | None:
    """The first thing that lacks; the later ones are not asked then."""
    for question in questions:
        if (lack := question()) is not None:
            return lack
    return None


def found_module(module: str) -> bool:
    """Whether a module is there, which imports the package that it is in."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # its package is none, or is not there
        return False


def _compiled() -> bool:
    """Whether gsplat has compiled its kernels here before."""
    from torch.utils.cpp_extension import get_default_build_root

    chosen = os.environ.get("TORCH_EXTENSIONS_DIR")
    root = Path(chosen or get_default_build_root())
    python = f"py{sys.version_info.major}{sys.version_info.minor}_*"
    name = "gsplat_cuda/gsplat_cuda.*"
    found = root.glob(name if chosen else f"{python}/{name}")
    return any(path.suffix in (".so", ".pyd", ".lib") for path in found)


def _nvcc() -> bool:
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")] + ["/usr/local/cuda"]
    return shutil.which("nvcc") is not None or any(
        shutil.which("nvcc", path=os.path.join(home, "bin")) for home in homes if home
    )
