"""What the benchmarks share and that needs no torch: children, medians, tables, files."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
KERNEL_STAGES = (
    "project", "sort", "bin", "blend", "loss", "blend_backward", "rows_backward", "adam", "aside",
    "decode", "other",
)  # fmt: skip
"""Stages of the native kernels in the order of a step; `splat.kernels.stage_seconds` has them.
`aside` is Adam on all threads but the caller's, which is in Python meanwhile."""


def by_caller(stages: Mapping[str, float]) -> dict[str, float]:
    """Stages with what goes on aside booked for the caller, who is in Python meanwhile: whatever
    the number of threads, and without any loop aside. Adam is the shorter by it."""
    return {
        name: ms + (stages.get("aside", 0.0) if name == "outside" else 0.0)
        for name, ms in stages.items()
        if name != "aside"
    }


class Failed(RuntimeError):
    """A command that ended with an error, or printed what was not expected."""


def script(name: str, *arguments: str) -> list[str]:
    """The command that runs another script of this folder with this Python."""
    return [sys.executable, str(HERE / name), *arguments]


def output_of(
    command: Sequence[str] | str, *, environment: Mapping[str, str] | None = None
) -> tuple[str, float]:
    """What a command prints, its errors included in `Failed`, and its wall clock in seconds.

    A text is given to the shell, a list is not.
    """
    start = time.perf_counter()
    found = subprocess.run(
        command, shell=isinstance(command, str), capture_output=True, text=True, env=environment
    )
    seconds = time.perf_counter() - start
    if found.returncode:
        last = "\n".join((found.stderr or found.stdout).strip().splitlines()[-8:])
        raise Failed(f"exit code {found.returncode}: {last}")
    return found.stdout, seconds


def json_of(
    command: Sequence[str] | str, *, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The JSON that a command prints as its last line."""
    lines = output_of(command, environment=environment)[0].strip().splitlines()
    try:
        found: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, json.JSONDecodeError) as error:
        raise Failed(f"printed no JSON: {lines[-1:]}") from error
    return found


def program() -> str:
    """Where the command `splat` is."""
    found = shutil.which("splat")
    if found is None:
        raise Failed("the command `splat` is not on PATH; install the package first: pip install .")
    return found


def trained(folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """The metrics of the run in a folder, which `splat` makes by these arguments unless it has
    finished earlier; what it prints goes to `FOLDER.log`."""
    if not (folder / "metrics.json").is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        log, start = folder.with_name(f"{folder.name}.log"), time.perf_counter()
        with log.open("w") as sink:
            command = [program(), *arguments]
            code = subprocess.run(command, stdout=sink, stderr=subprocess.STDOUT).returncode
        if code or not (folder / "metrics.json").is_file():
            raise Failed(f"splat {' '.join(arguments)}: exit code {code}, see {log}")
        print(f"{folder.name}: {time.perf_counter() - start:.0f} s", flush=True)
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def medians(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of results of one shape, number by number; other values are those of the first."""
    merged: dict[str, Any] = {}
    for name, first in rounds[0].items():
        values = [found[name] for found in rounds if name in found]
        if isinstance(first, Mapping):
            merged[name] = medians(values)
        elif isinstance(first, bool) or not isinstance(first, int | float):
            merged[name] = first
        else:
            middle = median(values)
            merged[name] = int(middle) if all(isinstance(v, int) for v in values) else middle
    return merged


def markdown(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    rows = [list(heads), ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def write_json(path: Path, results: Mapping[str, Any]) -> None:
    """Replace a file of results in one go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(results, indent=1) + "\n")
    os.replace(temporary, path)


def machine() -> dict[str, Any]:
    """Where figures come from: absolute times compare on one machine only."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
            break
    return {
        "processor": name,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "system": platform.system(),
    }
