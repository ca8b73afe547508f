"""What a wheel with CUDA kernels holds, and what it does where there is no card that it can use.

Prints a line for each thing tried; ends with an error where one of them failed. `.ci/wheels-cuda`
calls it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CARDS = {75, 80, 86, 89, 90, 100, 120}
"""Compute capabilities that there is code for (`cuda/CMakeLists.txt`)."""
PTX = {120}
OF_SYSTEM = re.compile(r"(lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so\.\d+|ld-linux-\S+)")
TESTS = ("tests/test_available.py", "tests/test_adam.py", "tests/test_checkpoint.py")
"""Those that need no card and, beside them, no other files than those of `tests`."""
TESTING = ("pytest>=8", "plyfile>=1.0", "beartype>=0.18", "jsonschema>=4.18", "constriction")
OLD_CARD = """\
import torch
torch.cuda.is_available = lambda: True
torch.cuda.get_device_name = lambda *_: "GeForce GTX 1060"
torch.cuda.get_device_capability = lambda *_: (6, 1)
import splat.cli
raise SystemExit(splat.cli.main(["doctor"]))
"""
KERNEL = """\
import torch  # before, as every run has it: two runtimes of CUDA get on
from splat import _gpu
assert _gpu.rows_bytes(1000) > 64 * 1000 and _gpu.most_pairs > 1 << 31
fields = dict.fromkeys(("values", "gradient", "first", "second", "factors", "degree", "visible"), 0)
fields |= {"rows": 1, "columns": 1, "head": 1, "begin": 0, "end": 1, "rate": 0.1, "tail_rate": 0.1}
fields |= {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-15, "correction1": 0.1, "stream": 0}
fields |= {"correction2": 0.001, "half": False, "half_values": False, "seed": 1}
try:
    _gpu.adam(fields)
except RuntimeError as error:
    print(error)
else:
    raise SystemExit("a kernel was launched without a card")
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="folder for what is between")
    parser.add_argument("--venv", type=Path, help="one that has torch, in place of an empty one")
    asked = parser.parse_args()
    wheel, work = asked.wheel.resolve(), asked.work.resolve()
    venv = asked.venv.resolve() if asked.venv else work / "installed"
    bare = {
        "PATH": str(venv / "bin"),
        "HOME": str(work),
        "OMP_NUM_THREADS": "1",
        **{name: value for name, value in os.environ.items() if name.startswith("PIP_")},
    }
    module = _module(wheel, work)
    _installed(wheel, venv, bare, fresh=asked.venv is None)
    _contents(module, venv)
    _doctor(venv, bare, work)
    _trained(venv, bare, work)
    return 0


def _module(wheel: Path, work: Path) -> Path:
    """The module out of the wheel, which the wheel's tag has to fit."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if re.fullmatch(r"splat/_[cg]pu\..*so", n)]
        if sorted(names) != ["splat/_cpu.abi3.so", "splat/_gpu.abi3.so"]:
            raise SystemExit(f"{wheel.name} holds {names}; expected _cpu and _gpu, both abi3")
        if "-cp312-abi3-" not in wheel.name:
            raise SystemExit(f"{wheel.name} is not tagged cp312-abi3")
        for name in sorted(names):
            entry = archive.getinfo(name)
            _tell(name, f"{entry.file_size:,} bytes, {entry.compress_size:,} of the wheel")
        _tell(wheel.name, f"{wheel.stat().st_size:,} bytes")
        return Path(archive.extract("splat/_gpu.abi3.so", work / "module"))


def _installed(wheel: Path, venv: Path, bare: Mapping[str, str], *, fresh: bool) -> None:
    begun = time.perf_counter()
    if fresh:
        shutil.rmtree(venv, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    words = [venv / "bin" / "pip", "install", "-q", "--disable-pip-version-check"]
    _ran([*words, "--force-reinstall", "--no-deps", wheel], bare, venv)
    _ran([*words, wheel, *TESTING], bare, venv)
    code = "import torch; print(torch.__version__, torch.version.cuda)"
    torch = _ran([venv / "bin" / "python", "-c", code], bare, venv).strip()
    _tell("installed", f"beside torch {torch}, {time.perf_counter() - begun:.0f} s")


def _contents(module: Path, venv: Path) -> None:
    """Code for which cards, and whom the module asks for what."""
    found = shutil.which("cuobjdump") or next(
        map(str, venv.glob("lib/python*/site-packages/triton/backends/nvidia/bin/cuobjdump")), None
    )
    if found is None:
        raise SystemExit("cuobjdump is neither on PATH nor beside Triton: install CUDA's")
    for option, kind, expected in (("--list-elf", "sm", CARDS), ("--list-ptx", "ptx", PTX)):
        said = subprocess.run([found, option, module], capture_output=True, text=True, check=True)
        listed = re.findall(r"sm_(\d+)[a-z]?\.(?:cubin|ptx)", said.stdout)
        if set(map(int, listed)) != expected:
            raise SystemExit(f"{module.name} has {kind} for {set(listed)}; expected {expected}")
        counts = ", ".join(f"{each}: {listed.count(str(each))}" for each in sorted(expected))
        _tell(f"cuobjdump {option}", f"files by card: {counts}")
    said = subprocess.run(["readelf", "-dV", module], capture_output=True, text=True, check=True)
    needed = re.findall(r"\(NEEDED\).*\[(\S+)\]", said.stdout)
    if others := [name for name in needed if not OF_SYSTEM.fullmatch(name)]:
        raise SystemExit(f"{module.name} asks for {others}; expected the system's libraries only")
    versions = {tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_([\d.]+)", said.stdout)}
    newest = ".".join(map(str, max(versions)))
    _tell("asks for", f"{', '.join(sorted(needed))}; glibc {newest}")


def _doctor(venv: Path, bare: Mapping[str, str], work: Path) -> None:
    """What is said where there is no driver, an old one, one without a card, and an old card."""
    python, splat = venv / "bin" / "python", venv / "bin" / "splat"
    _expected("no driver", [splat, "doctor"], bare, work, "there is no NVIDIA driver")
    said = _ran([python, "-c", KERNEL], bare, work).strip()
    if not said.startswith("CUDA: "):
        raise SystemExit(f"a kernel without a card said {said!r}; expected CUDA's reason")
    _tell("a kernel without a card", said)
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        print("no C compiler: no driver is pretended")
    else:
        fake = work / "driver"
        fake.mkdir(exist_ok=True)
        source = Path(__file__).with_name("driver.c")
        words = [compiler, "-shared", "-fPIC", source, "-o", fake / "libcuda.so.1"]
        subprocess.run(words, check=True)
        old = {**bare, "LD_LIBRARY_PATH": str(fake), "SPLAT_PRETEND_DRIVER": "11040"}
        told = "the NVIDIA driver is for CUDA 11.4, too old for torch"
        _expected("old driver", [splat, "doctor"], old, work, told)
        _expected(
            "driver without a card",
            [splat, "doctor"],
            {**old, "SPLAT_PRETEND_DRIVER": "99990"},
            work,
            "torch sees no CUDA device",
        )
        words = [splat, "demo", "--device", "cuda", "--steps", "5", "--out", work / "none"]
        said = _ran(words, old, work, fails=True)
        if "--device cuda cannot be had: the NVIDIA driver is for CUDA 11.4" not in said:
            raise SystemExit(f"--device cuda with an old driver said:\n{said}")
        _tell("--device cuda with it", said.strip().splitlines()[-1])
    told = "GeForce GTX 1060 has compute capability 6.1"
    _expected("old card", [python, "-c", OLD_CARD], bare, work, told)


def _trained(venv: Path, bare: Mapping[str, str], work: Path) -> None:
    splat = venv / "bin" / "splat"
    _ran([splat, "demo", "--help"], bare, work)
    begun, out = time.perf_counter(), work / "run"
    words = [splat, "demo", "--steps", "50", "--cap", "3000", "--out", out, "--overwrite"]
    said = _ran(words, bare, work)
    if not (out / "point_cloud.ply").is_file():
        raise SystemExit(f"splat demo left no point_cloud.ply:\n{said}")
    _tell("splat demo, 50 steps on the CPU", f"{time.perf_counter() - begun:.0f} s")
    # Not in the checkout, where what tests start would take its `splat` for the installed one.
    words = [venv / "bin" / "pytest", "-q", "-o", f"cache_dir={work / 'pytest'}"]
    words += ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, *[ROOT / test for test in TESTS]]
    _tell("tests", _ran(words, bare, work).strip().splitlines()[-1])


def _expected(
    name: str, words: list[str | Path], environment: Mapping[str, str], folder: Path, told: str
) -> None:
    """A command's output, in which a clause has to be."""
    said = " ".join(_ran(words, environment, folder, fails=None).split())
    if told not in said:
        raise SystemExit(f"{name}: expected {told!r} in what doctor says:\n{said}")
    sentence = re.search(rf"{re.escape(told)}.*?(?= (?:ok|--|!!) |$)", said)
    _tell(name, sentence[0].strip() if sentence else told)


def _ran(
    words: list[str | Path],
    environment: Mapping[str, str],
    folder: Path,
    *,
    fails: bool | None = False,
) -> str:
    """What a command says; ends the program where it fails and should not, or the other way."""
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True)
    told = done.stdout + (done.stderr if fails is not False else "")
    if fails is not None and bool(done.returncode) != fails:
        said = f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
        raise SystemExit(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{said}")
    return told


def _tell(what: str, found: str) -> None:
    print(f"{what}: {found}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
