"""The sdist, and of it the wheels; `.ci/wheels` says how it is called."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import contents
import targets
import toolchain
from targets import Target

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ["pip>=24", "scikit-build-core>=1.1,<2", "nanobind==3.1.*", "setuptools-scm>=8"]
"""What builds a wheel, beside Zig."""
NATIVE = ("cuda", "tests/native")
"""Folders of an sdist that are compiled."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help="systems; all where none is named")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is between")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument(
        "--sdist", type=Path, help="of what; without it one is made of this checkout"
    )
    parser.add_argument("--python", type=int, nargs="+", default=targets.MINORS, metavar="MINOR")
    asked = parser.parse_args()
    work = asked.work.resolve()
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _epoch(asked.sdist), "PYTHONHASHSEED": "0"}
    environment |= {f"ZIG_{kind}_CACHE_DIR": str(work / "zig") for kind in ("GLOBAL", "LOCAL")}
    asked.out.mkdir(parents=True, exist_ok=True)
    sdist = asked.sdist or _sdist(asked.out, environment)
    source = _unpacked(sdist, work)
    pythons = {
        minor: _tools(python, work / f"py3{minor}")
        for minor, python in targets.interpreters().items()
        if minor in asked.python
    }
    for minor in sorted(set(asked.python) - set(pythons)):
        print(f"python3.{minor} with its headers is not here: no wheels for it", file=sys.stderr)
    for target in targets.of_names(asked.targets):
        for minor, python in sorted(pythons.items()):
            begun = time.perf_counter()
            wheel = _wheel(target, minor, python, source, work, asked.out, environment)
            took = time.perf_counter() - begun
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            print(f"{digest}  {wheel.name}  {wheel.stat().st_size} bytes, {took:.0f} s", flush=True)


def _epoch(sdist: Path | None) -> str:
    """What files of an archive are dated, in seconds: as those of the sdist, which are dated as the
    last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return given
    if sdist is not None:
        with tarfile.open(sdist) as archive:
            return str(max(int(member.mtime) for member in archive))
    words = ["git", "-C", ROOT, "log", "-1", "--format=%ct"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def _sdist(out: Path, environment: dict[str, str]) -> Path:
    """The sdist of this checkout, in `out`."""
    words = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "-o", out, ROOT]
    subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
    return max(out.glob("*.tar.gz"), key=lambda path: path.stat().st_mtime_ns)


def _unpacked(sdist: Path, work: Path) -> Path:
    """The sources, as the sdist has them: always in the same folder. What was compiled of C++ that
    is the same byte for byte is used again."""
    marked = work / "source.sha256"
    digest = hashlib.sha256(sdist.read_bytes()).hexdigest()
    source = work / "source"
    if source.exists() and marked.exists() and marked.read_text() == digest:
        return source
    fresh = work / "unpacking"
    shutil.rmtree(fresh, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(fresh, filter="data")
    (folder,) = fresh.iterdir()
    if source.exists() and _native(source) == _native(folder):
        for name in NATIVE:  # with its dates, by which Make sees that nothing has changed
            shutil.rmtree(folder / name)
            (source / name).rename(folder / name)
    else:  # files of an sdist are dated alike, so that Make would not see a change
        for target in targets.TARGETS:
            shutil.rmtree(work / target.name, ignore_errors=True)
    shutil.rmtree(source, ignore_errors=True)
    folder.rename(source)
    fresh.rmdir()
    marked.write_text(digest)
    return source


def _native(source: Path) -> dict[str, str]:
    """Every file that is compiled, by its digest."""
    return {
        str(path.relative_to(source)): hashlib.sha256(path.read_bytes()).hexdigest()
        for name in NATIVE
        for path in sorted((source / name).rglob("*"))
        if path.is_file()
    }


def _tools(python: Path, venv: Path) -> Path:
    """A Python of a virtual environment in which wheels are built."""
    inner = venv / "bin" / "python"
    if not inner.exists():
        subprocess.run([python, "-m", "venv", venv], check=True)
        words = [inner, "-m", "pip", "install", "-q", "--disable-pip-version-check", *TOOLS]
        subprocess.run(words, check=True)
    return inner


def _wheel(
    target: Target,
    minor: int,
    python: Path,
    source: Path,
    work: Path,
    out: Path,
    environment: dict[str, str],
) -> Path:
    """One wheel, with licences and the list of what it contains."""
    stable = minor >= targets.STABLE
    folder = work / target.name
    chain = toolchain.write(target, folder, source)
    defines = {
        "CMAKE_TOOLCHAIN_FILE": chain,
        "SPLAT_CUDA": "OFF",
        "SPLAT_DRIVER": "ON" if target.driver else "OFF",
        "NB_SUFFIX": target.ending(minor, stable=False),
        "NB_SUFFIX_S": target.ending(minor, stable=True),
    }
    if target.system == "Windows":
        code = "import sysconfig; print(sysconfig.get_path('include'))"
        asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        headers, own, any_ = toolchain.python_of_windows(Path(asked.stdout.strip()), folder, minor)
        defines |= {"Python_INCLUDE_DIR": headers, "Python_LIBRARY": own}
        defines |= {"Python_SABI_LIBRARY": any_} if stable else {}
    words: list[str | Path] = [python, "-m", "pip", "wheel", "-q", "--disable-pip-version-check"]
    words += ["--no-deps", "--no-build-isolation", "--no-index", "-w", folder / "wheel", source]
    words += ["-C", f"build-dir={folder / 'build'}", "-C", "install.strip=false"]
    for name, value in defines.items():
        words += ["-C", f"cmake.define.{name}={value}"]
    told = {
        "CMAKE_BUILD_PARALLEL_LEVEL": "2",
        "_PYTHON_HOST_PLATFORM": target.host,
        # The name of a module; nanobind takes NB_SUFFIX only where this has no two dashes.
        "SETUPTOOLS_EXT_SUFFIX": target.ending(minor, stable=False),
        "CMAKE_GENERATOR": "Unix Makefiles",
    }  # Ninja would scan for modules, by a tool that Zig lacks
    told["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
    shutil.rmtree(folder / "wheel", ignore_errors=True)
    # What was found for one Python is not for the next; what is compiled stays.
    (folder / "build" / "CMakeCache.txt").unlink(missing_ok=True)
    done = subprocess.run(words, env=environment | told, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{target.name}, Python 3.{minor}:\n{done.stdout}{done.stderr}")
    (built,) = (folder / "wheel").glob("*.whl")
    return contents.completed(built, out, target, int(environment["SOURCE_DATE_EPOCH"]))


if __name__ == "__main__":
    main()
