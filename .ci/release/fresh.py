"""From a wheel to the first picture of `splat demo` where nothing is installed, nor any compiler.

Prints seconds and megabytes of each step; `.ci/wheels-check --help` says what else is tried.

    python .ci/release/fresh.py dist/splat_toolkit-...whl --python python3.11
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "package", type=Path, help="a wheel, or the sdist where there is a compiler"
    )
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--compiler", action="store_true", help="leave PATH as it is")
    asked = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        venv, bare = place / "venv", dict(os.environ)
        done = _timed("an empty environment", [asked.python, "-m", "venv", venv], bare, place)
        bare = {"PATH": str(venv / "bin"), "HOME": str(place)} if not asked.compiler else bare
        bare |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        bare |= {"PIP_NO_CACHE_DIR": "1", "XDG_CACHE_HOME": str(place / "cache")}
        pip = [venv / "bin" / "pip", "-q", "--disable-pip-version-check"]
        files, package = place / "files", asked.package.resolve()
        done += _timed("downloads", [*pip, "download", "-d", files, package], bare, place)
        print(f"  {_bytes(files) / MB:.0f} MB of {len(list(files.iterdir()))} files")
        largest = sorted(files.iterdir(), key=lambda file: -file.stat().st_size)[:6]
        for file in largest:
            print(f"    {file.stat().st_size / MB:.0f} MB {file.name.partition('-')[0]}")
        words = [*pip, "install", "--no-index", "--find-links", files, package]
        before = _bytes(venv)
        if asked.compiler:  # what builds an sdist comes from the registry
            words.remove("--no-index")
        done += _timed("installation", words, bare, place)
        print(f"  {(_bytes(venv) - before) / MB:.0f} MB on disk")
        splat = venv / "bin" / "splat"
        done += _timed("splat demo", [splat, "demo", "--out", place / "run"], bare, place, "/look")
        print(f"first picture and all: {done:.0f} s of processors,", end=" ")
        print(f"{time.perf_counter() - begun:.0f} s by the clock")


def _timed(
    name: str, words: list[str | Path], environment: dict[str, str], folder: Path, first: str = ""
) -> float:
    """Seconds of processors of a command, which are printed with those by the clock."""
    before, begun = os.times(), time.perf_counter()
    words = list(map(str, words))
    process = subprocess.Popen(words, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    picture = None
    while process.poll() is None:
        if first and picture is None and any(folder.glob("run/**/*.png")):
            picture = time.perf_counter() - begun, _spent(process.pid)
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {process.returncode}")
    after, took = os.times(), time.perf_counter() - begun
    spent = after.children_user + after.children_system - before.children_user
    spent -= before.children_system
    print(f"{name}: {spent:.0f} s of processors, {took:.0f} s by the clock", flush=True)
    if picture is not None:
        print(f"  the first picture after {picture[1]:.0f} s of processors, {picture[0]:.0f} s")
    return spent


def _spent(process: int) -> float:
    """Seconds of processors of a process that runs, as Linux counts them; NaN elsewhere."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _bytes(folder: Path) -> int:
    files = (file for file in folder.rglob("*") if not file.is_symlink())
    return sum(file.stat().st_size for file in files if file.is_file())


if __name__ == "__main__":
    main()
