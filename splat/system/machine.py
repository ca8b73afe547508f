"""What this machine has: cores, memory, the name of its processor."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

GROUP = Path("/sys/fs/cgroup")
"""Folder in which Linux says what a container may use."""


def cores() -> int:
    """Cores that this process may use: containers and affinity masks often leave fewer."""
    if sys.platform == "linux":
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota, _, period = _text(GROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        count = min(count, max(1, round(int(quota) / int(period))))
    return count


def memory() -> tuple[int, int] | None:
    """Bytes of memory in all and free for us, or None where the system does not say."""
    table = {}
    for line in _text(Path("/proc/meminfo")).splitlines():
        name, _, value = line.partition(":")
        table[name] = int(value.split()[0]) * 1024
    if "MemTotal" in table:
        total, free = table["MemTotal"], table.get("MemAvailable", table["MemFree"])
        limit, used = _text(GROUP / "memory.max"), _text(GROUP / "memory.current")
        if limit.isdigit() and used.isdigit():
            total = min(total, int(limit))
            free = min(free, max(0, total - int(used)))
        return total, free
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    return total, total // 2


def peak_memory() -> int | None:
    """Most bytes this process has held in memory so far, or None where nobody counts."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def held_memory() -> int | None:
    """Bytes this process holds in memory now, or the most it held where only that is known."""
    pages = _text(Path("/proc/self/statm")).split()
    if len(pages) > 1:
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
    return peak_memory()


def user_cache() -> Path:
    """Where what can be made again is kept between runs: `splat` in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "splat"


def disk_free(folder: Path) -> int | None:
    """Bytes free on the disk of a folder, which need not be there yet; None: nobody knows."""
    for place in (folder, *folder.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return None


@dataclass(frozen=True)
class Toll:
    """What the machine has done since it was started; two of them tell what it did in between."""

    at: float
    """Seconds, of a clock that only goes forward."""
    swapped: int | None
    """Bytes that went to swap and came back; None: the system does not say."""
    busy: float | None
    """Seconds that its cores were busy, or kept from it by others; None: it does not say."""
    own: float
    """Seconds of them that were this process's."""
    cores: int
    """How many cores there are, those of others included."""


def toll() -> Toll:
    """What the machine has done so far."""
    own = os.times()
    return Toll(time.monotonic(), _swapped(), _busy(), own.user + own.system, os.cpu_count() or 1)


def _swapped() -> int | None:
    pages = [
        int(number)
        for name, _, number in (
            line.partition(" ") for line in _text(Path("/proc/vmstat")).splitlines()
        )
        if name in ("pswpin", "pswpout")
    ]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") if pages else None


def _busy() -> float | None:
    name, *numbers = _text(Path("/proc/stat")).partition("\n")[0].split()[:9] or [""]
    if name != "cpu" or len(numbers) < 8:
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, numbers)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def stand_back() -> None:
    """Lower the priority of this thread, where the system can."""
    if sys.platform == "linux":  # elsewhere priorities are the process's
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def processor() -> str:
    """The processor's name as it calls itself."""
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def description() -> str:
    """This machine and what runs on it in words, without its name."""
    return (
        f"{processor()}, {cores()} cores, {platform.system()}, Python {platform.python_version()},"
        f" torch {metadata.version('torch')}"
    )


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
