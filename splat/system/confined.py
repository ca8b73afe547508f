"""Libraries that are not made for files of strangers meet them in a process of their own.

That process may take so much memory and time, starts no core dump, writes no file, and opens
nothing more, files as connections, once it has called `shut`. What it says are lines of JSON, and
numbers as bytes behind them; nothing of it is believed before it is looked at. Limits are those of
the system: Linux has all of them, macOS all but that of memory, Windows none but that of time,
which is held from here.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol

from splat.system.foreign import Broken, Record, parsed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NO_MEMORY = 3
"""Exit code of a process that needed more memory than it may take."""
_LINE = 1 << 16
"""Bytes of a line, at most."""
_WORDS = 240
"""Characters of what a process says that does not begin."""
_LONGER = 5
"""Seconds after which the system ends what nobody is left to end."""
_BEGUN = b"{}\n"
"""What a process says once it is confined."""


class Bounds(NamedTuple):
    """What a process may take."""

    memory: int
    """Bytes, beside what it has once all is imported."""
    seconds: float


class Process(Protocol):
    """What is needed of `subprocess.Popen`."""

    stdout: IO[bytes] | None
    stderr: IO[bytes] | None

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int:
        """Its exit code; negative: the signal that ended it."""


class Heard:
    """What a process says."""

    def __init__(self, process: Process, library: str, bounds: Bounds) -> None:
        assert process.stdout is not None
        self._process, self._stream = process, process.stdout
        self._library, self._bounds = library, bounds
        self._begun = False
        self.late = False
        """Whether its time was up."""

    def record(self) -> Record:
        """The next line; raises `Broken` for what it says is wrong, or where it has ended."""
        if not self._begun:
            self._begun = self._stream.readline(_LINE) == _BEGUN
        line = self._stream.readline(_LINE) if self._begun else b""
        if not line.endswith(b"\n"):
            raise self._ended()
        said = Record.of(parsed(line))
        if "broken" in said:
            raise Broken(said.text("broken"))
        return said

    def floats(self, *shape: int) -> npt.NDArray[np.float32]:
        """The next numbers of float32, of which there are to be as many as in `shape`."""
        import numpy as np

        values = np.empty(shape, np.float32)
        rest = values.data.cast("B") if values.size else memoryview(b"")
        while rest:
            count = self._stream.readinto(rest)  # type: ignore[attr-defined]
            if not count:
                raise self._ended()
            rest = rest[count:]
        return values

    def _ended(self) -> Exception:
        """Why there is no more to be heard."""
        process, name = self._process, self._library
        process.kill()  # one that closed its stdout has not ended for sure
        code = process.wait()
        if self.late:
            return Broken(f"takes {name} more than {self._bounds.seconds:.0f} s; expected less")
        most = f"{self._bounds.memory / 1e9:.3g} GB of memory"
        if code == NO_MEMORY:
            return Broken(f"takes {name} more than {most}; expected less")
        if not self._begun and process.stderr is not None:
            words = process.stderr.read(_LINE).decode("utf-8", "replace").strip()
            last = words.splitlines()[-1][:_WORDS] if words else f"exit code {code}"
            return ImportError(
                f"{name} does not load in a process of its own ({last}); import it in Python to see"
                " why"
            )
        how = f"exit code {code}"
        with suppress(ValueError):
            how = signal.Signals(-code).name if code < 0 else how
        return Broken(f"ends {name} ({how}): it is broken, or needs more than {most}")


def begun(
    module: str, arguments: Sequence[str], bounds: Bounds, variables: Mapping[str, str]
) -> Process:
    """Start a process that calls a module's `main` with these arguments, after its bounds."""
    # With -m a folder named splat where one works would be found before the one in use.
    code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main;"
    bounding = (str(bounds.memory), str(math.ceil(bounds.seconds)))
    return subprocess.Popen(
        [sys.executable, "-I", "-c", f"{code} sys.exit(main(sys.argv[1:]))", *bounding, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**variables, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


@contextmanager
def told(process: Process, library: str, bounds: Bounds) -> Iterator[Heard]:
    """What a process says, until its time is up; it has ended afterwards."""
    heard = Heard(process, library, bounds)

    def end() -> None:
        heard.late = True
        process.kill()

    timer = threading.Timer(bounds.seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield heard
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


# What follows is called within the process.


def confine(bounds: Bounds) -> None:
    """Take no more from here on than what is allowed, and say nothing to the terminal."""
    say({})
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    _limit("CORE", 0)
    _limit("FSIZE", 0)
    _limit("CPU", math.ceil(bounds.seconds) + _LONGER)
    with suppress(OSError):  # who counts pages otherwise than Linux knows no such limit
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        _limit("AS", pages * os.sysconf("SC_PAGE_SIZE") + bounds.memory)


def shut() -> None:
    """Open nothing more: no file, and no connection."""
    _limit("NOFILE", 0)


def say(record: Mapping[str, Any], *arrays: bytes | memoryview) -> None:
    """A line, and numbers behind it."""
    stream = sys.stdout.buffer
    stream.write(json.dumps(record).encode() + b"\n")
    for array in arrays:
        stream.write(array)
    stream.flush()


def _limit(name: str, value: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    kind = getattr(resource, f"RLIMIT_{name}")
    with suppress(ValueError, OSError):
        hard = resource.getrlimit(kind)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (least, least))
