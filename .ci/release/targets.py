"""Systems that wheels are built for, and the Pythons that each is built with."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A system, as Zig, CMake and Python call it."""

    name: str
    triple: str
    """For `zig c++ --target`; with the oldest glibc, or macOS, that it is to run on."""
    system: str
    """CMAKE_SYSTEM_NAME."""
    processor: str
    host: str
    """Of Python's `sysconfig.get_platform()` there."""
    platform: str
    """Tag of the wheel."""
    suffix: str
    """Of a module for CPython 3.{minor}; that of the stable ABI is `stable`."""
    stable: str
    driver: bool = True
    """Whether something here can run what is built, so that the C++ driver is built, too."""

    def ending(self, minor: int, stable: bool) -> str:
        """Of a module's file, as the CPython 3.`minor` of that system looks for it."""
        return self.stable if stable else self.suffix.format(minor=minor)


CUDA = Target(
    "linux-x86_64-cuda",
    "x86_64-linux-gnu",
    "Linux",
    "x86_64",
    "linux-x86_64",
    "linux_x86_64",
    ".cpython-3{minor}-x86_64-linux-gnu.so",
    ".abi3.so",
)
"""What `.ci/wheels-cuda` builds: by nvcc and the system's compiler, for no older C library."""

TARGETS = (
    Target(
        "linux-x86_64",
        "x86_64-linux-gnu.2.28",
        "Linux",
        "x86_64",
        "linux-x86_64",
        "manylinux_2_28_x86_64",
        ".cpython-3{minor}-x86_64-linux-gnu.so",
        ".abi3.so",
    ),
    Target(
        "linux-aarch64",
        "aarch64-linux-gnu.2.28",
        "Linux",
        "aarch64",
        "linux-aarch64",
        "manylinux_2_28_aarch64",
        ".cpython-3{minor}-aarch64-linux-gnu.so",
        ".abi3.so",
    ),
    Target(
        "macos-arm64",
        "aarch64-macos.11.0",
        "Darwin",
        "arm64",
        "macosx-11.0-arm64",
        "macosx_11_0_arm64",
        ".cpython-3{minor}-darwin.so",
        ".abi3.so",
        driver=False,
    ),
    Target(
        "macos-x86_64",
        "x86_64-macos.11.0",
        "Darwin",
        "x86_64",
        "macosx-11.0-x86_64",
        "macosx_11_0_x86_64",
        ".cpython-3{minor}-darwin.so",
        ".abi3.so",
        driver=False,
    ),
    Target(
        "windows-x86_64",
        "x86_64-windows-gnu",
        "Windows",
        "AMD64",
        "win-amd64",
        "win_amd64",
        ".cp3{minor}-win_amd64.pyd",
        ".pyd",
    ),
)
MINORS = (10, 11, 12)
"""Of Python 3; the wheel of the last one serves all later ones (the stable ABI)."""
STABLE = 12


def of_names(names: list[str]) -> list[Target]:
    """Targets by name; all where none is named."""
    known = {target.name: target for target in TARGETS}
    for name in names:
        if name not in known:
            raise SystemExit(f"there is no target {name!r}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(TARGETS)


def interpreters() -> dict[int, Path]:
    """A CPython of each of `MINORS` that is found here, with its headers."""
    found = {}
    for minor in MINORS:
        for place in _places(minor):
            if _has_headers(place, minor):
                found[minor] = place
                break
    return found


def _places(minor: int) -> Iterator[Path]:
    on_path = shutil.which(f"python3.{minor}")
    if on_path:
        yield Path(on_path)
    if shutil.which("pyenv"):  # whose versions need not be on PATH
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True).stdout.strip()
        yield from sorted(Path(root).glob(f"versions/3.{minor}.*/bin/python3.{minor}"))


def _has_headers(python: Path, minor: int) -> bool:
    code = (
        "import os, sys, sysconfig;"
        "print(sys.version_info[1], os.path.exists(sysconfig.get_path('include') + '/Python.h'))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.split() == [str(minor), "True"]
