"""What the wheels in dist/ are: whom their modules ask for what, and whether they run.

Prints a table of what could be tried here and what could not, with how.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import targets
from targets import Target

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = (
    "tests/test_kernels.py",
    "tests/test_adam.py",
    "tests/test_decode.py",
    "tests/test_export_spz.py",
    "tests/test_mcmc.py",
    "tests/test_checkpoint.py",
)
"""Tests that need no other files of `tests` than what lies beside them, of each layer."""
TESTING = ("pytest>=8", "plyfile>=1.0", "beartype>=0.18", "jsonschema>=4.18", "constriction")
OF_MACOS = ("/usr/lib/libSystem.B.dylib", "/usr/lib/libc++.1.dylib")
OF_WINDOWS = re.compile(r"(python3\d*|KERNEL32|ntdll|ADVAPI32|msvcrt|api-ms-win-crt-.*)\.dll", re.I)
TRAINED = "--steps 50 --cap 3000"


@dataclass
class Row:
    """A wheel and what was done with it."""

    wheel: str
    done: dict[str, str] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument(
        "--whole",
        type=int,
        nargs="*",
        default=[11],
        metavar="MINOR",
        help="Pythons for which all of it is installed, PyTorch too: where the registry's build for"
        " CPUs is not to be had, that is gigabytes of CUDA",
    )
    parser.add_argument(
        "--every-test",
        action="store_true",
        help="all tests for these Pythons, not a sample: a quarter of an hour of two cores each",
    )
    asked = parser.parse_args()
    rows = []
    for target in targets.TARGETS:
        wheels = sorted(asked.out.glob(f"*-{target.platform}.whl"))
        if not wheels:
            continue
        ran = _driver(target, asked.work)
        for wheel in wheels:
            row = Row(wheel.name, {"symbols": _symbols(target, wheel), "kernels": ran})
            if target.name == "linux-x86_64":
                row.done |= _installed(wheel, asked.work, asked.whole, asked.every_test)
            rows.append(row)
    print(_table(rows))
    return 0


def _symbols(target: Target, wheel: Path) -> str:
    """Whom the module asks for what; raises where it is what not every such system has."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if re.fullmatch(r"splat/_cpu\..*(so|pyd)", n))
        module = archive.extract(name, folder)
        if target.system == "Linux":
            return _of_linux(wheel)
        words = ["--macho", "--dylibs-used"] if target.system == "Darwin" else ["-p"]
        said = _said(["llvm-objdump", *words, module])
        if target.system == "Darwin":
            asked = re.findall(r"^\s+(/\S+|@\S+)", said, re.MULTILINE)
            others = [library for library in asked if library not in OF_MACOS]
        else:
            asked = re.findall(r"DLL Name: (\S+)", said)
            others = [library for library in asked if not OF_WINDOWS.fullmatch(library)]
        if others or not asked:
            raise SystemExit(f"{wheel.name}: {name} asks for {others or 'nothing'}")
        return f"asks for {', '.join(sorted({Path(each).name for each in asked}))}"


def _of_linux(wheel: Path) -> str:
    said = _said([_tool("auditwheel"), "show", wheel])
    found = re.search(r'"(manylinux_2_\d+)_\w+"', said)
    if found is None:
        raise SystemExit(f"{wheel.name}: {said}")
    if int(found[1].rpartition("_")[2]) > 28:
        raise SystemExit(f"{wheel.name} needs {found[1]}")
    return f"auditwheel: fits {found[1]}"


def _driver(target: Target, work: Path) -> str:
    """The C++ driver of the kernels, every instruction set against the double build."""
    build = work / target.name / "build"
    if not target.driver:
        return "no: nothing here runs it"
    program = build / ("splat_driver.exe" if target.system == "Windows" else "splat_driver")
    if not program.exists():
        return "no: not built here"
    before: list[str] = []
    arguments: list[str] = []
    if target.name == "linux-aarch64":
        if shutil.which("qemu-aarch64") is None or not Path("/usr/aarch64-linux-gnu").exists():
            return "no: qemu-aarch64 and AArch64's C library are not here"
        before, arguments = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"], ["neon", "base"]
    elif target.system == "Windows":
        wine = shutil.which("wine") or shutil.which("wine64")
        if wine is None:
            return "no: wine is not here"
        before = [wine]
    words = [*before, str(program), *arguments]
    environment = {**os.environ, "WINEDEBUG": "-all", "WINEPREFIX": str(work / "wine")}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    passed = re.findall(r"^(\w+): ok", done.stdout, re.MULTILINE)
    how = Path(before[0]).name if before else "here"
    return f"yes: C++ driver ({how}): {', '.join(passed)}"


def _installed(wheel: Path, work: Path, whole: list[int], every_test: bool) -> dict[str, str]:
    """Into an empty environment, with nothing on PATH but its own programs."""
    minor = int(re.search(r"-cp3(\d+)-", wheel.name)[1])  # type: ignore[index]
    python = targets.interpreters().get(minor)
    if python is None:
        return {"installed": f"no: python3.{minor} is not here"}
    venv = work / f"installed-3{minor}"
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([python, "-m", "venv", venv], check=True)
    bare = {
        "PATH": str(venv / "bin"),
        "HOME": str(venv),
        "OMP_NUM_THREADS": "1",
        **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
    }
    inside = venv / "bin" / "python"
    words = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    found = {"installed": f"yes: Python 3.{minor}, no compiler on PATH"}
    if minor not in whole:
        _ran([*words, "--no-deps", wheel], bare, venv)
        code = "import splat, splat._cpu as c; print(splat.__version__, c.best_isa())"
        said = _ran([inside, "-c", code], bare, venv)
        return found | {"imported": f"yes, without PyTorch: {said.strip()}"}
    _ran(
        [*words, *([f"{wheel}[test,viewer,rooms]"] if every_test else [wheel, *TESTING])],
        bare,
        venv,
    )
    said = _ran([inside, "-c", "import splat.kernels as k; print(*k.isas())"], bare, venv)
    found["imported"] = f"yes: {said.strip()}"
    # Not in the checkout, where what tests start would take its `splat` for the installed one.
    words = [venv / "bin" / "pytest", "-q", "-o", f"cache_dir={venv / 'pytest'}"]
    words += ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT]
    if every_test:
        words += ["-n", "2", "--dist", "loadfile", ROOT / "tests"]
    else:
        words += [ROOT / name for name in SAMPLE]
    said = _ran(words, bare, venv)
    found["tests"] = f"yes: {said.strip().splitlines()[-1]}"
    words = [inside, "-m", "splat", "demo", *TRAINED.split(), "--out", str(venv / "run")]
    _ran(words, bare, venv)
    found["trained"] = "yes: splat demo, 50 steps"
    return found


def _ran(words: list[str | Path], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        told = f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
        raise SystemExit(f"{' '.join(map(str, words))}:\n{told}")
    return done.stdout


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _said(words: list[str | Path]) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def _table(rows: list[Row]) -> str:
    columns = ("symbols", "installed", "imported", "kernels", "tests", "trained")
    lines = [f"| wheel | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = (row.done.get(column, "no") for column in columns)
        lines.append(f"| `{row.wheel}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
