"""Stages of `splat.prep.sfm` run in a process of their own, with their progress."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from splat.system import machine
from splat.system.files import telling_faults

INSTALL = "pip install 'splat-toolkit[prep]'"
_WORDS = 300
"""Most characters of COLMAP's last line that are passed on."""


def check_installed() -> None:
    """Raise ImportError where pycolmap is not installed."""
    if find_spec("pycolmap") is None:
        raise ImportError(f"pycolmap is not installed, which finds the poses of photos: {INSTALL}")


def run_stage(
    stage: str, job: Mapping[str, Any], folder: Path, tick: Callable[[int, int], None]
) -> dict[str, Any]:
    """Run a stage in a process; its result. `folder` takes the job, its result and COLMAP's log.

    Raises RuntimeError where it failed. When this process is interrupted, the other is ended.
    """
    file, log = (folder / f"{stage}.json").resolve(), folder / "colmap.log"
    result = file.with_suffix(".result")
    result.unlink(missing_ok=True)
    with telling_faults(file):
        file.write_text(json.dumps({"stage": stage, **job}), "utf-8")
    command = [sys.executable, "-m", "splat.prep.sfm", str(file)]
    with open(log, "ab") as words:
        start = words.tell()
        # In its own folder, as -m imports from the one it runs in first.
        # Its stdin is closed when this process ends, however it does, and it ends with that.
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, cwd=folder
        )
        try:
            assert child.stdout is not None
            for line in child.stdout:
                _heard(line, tick)
            code = child.wait()
        finally:
            child.terminate()
            child.wait()
    if code or not result.is_file():
        raise RuntimeError(_failed(stage, code, log, start))
    outcome: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return outcome


def threads_for(pixels: int, side: int, longest: int, wanted: int | None) -> int:
    """Threads that may extract features at once from photos of so many `pixels`.

    A photo is decoded whole, then doubled in size and kept at about 16 degrees of smoothness, four
    bytes each.
    """
    shrink = min(1.0, side / longest)
    photo_bytes = 5 * pixels + 4 * 4 * 16 * int(pixels * shrink**2)
    memory = machine.memory()
    fit = machine.cores() if memory is None else int(0.8 * memory[1] / photo_bytes)
    return max(1, min(wanted or machine.cores(), fit))


def _heard(line: bytes, tick: Callable[[int, int], None]) -> None:
    """Pass a report of progress on to `tick`; COLMAP's own lines are ignored."""
    if line.startswith(b'{"done"'):
        progress = json.loads(line)
        tick(progress["done"], progress["total"])


def _failed(stage: str, code: int, log: Path, start: int) -> str:
    with open(log, "rb") as file:
        file.seek(start)
        lines = file.read().decode("utf-8", "replace").strip().splitlines()
    # Of a traceback of addresses the lines before it say what was wrong.
    error = next((line for line in reversed(lines) if "Error" in line or "Check" in line), "")
    last = f" ({(error or (lines[-1] if lines else ''))[-_WORDS:].strip()})" if lines else ""
    if code == -signal.SIGKILL:
        last = " (probably for want of memory: lower --max-side or --threads)"
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    return (
        f"COLMAP's {stage} ended {how}{last}; {log} has its words: run the command again to go on,"
        " or with --overwrite to start anew"
    )
