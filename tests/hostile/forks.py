"""Commands in children forked from a process that has imported all, one operation of theirs failed.

The process that forks is started with the shim (`shim.c`) preloaded, computes nothing itself, and
so has no threads that a child would miss.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# `python -m tests.hostile...` puts the checkout first, where the folder `splat` is no package.
sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != ROOT]
sys.path += [str(ROOT / "tests"), str(ROOT)]

COUNT, KILL, HALF, ERROR, FULL = range(5)
"""Ways of the shim; see `how` in `shim.c`."""
KINDS = ("open", "write", "fsync", "rename", "unlink", "mkdir", "truncate", "link", "close")
"""Kinds of operations, in the order of the shim."""
_SHIM = "SPLAT_HOSTILE_SHIM"
_PATIENCE = 180.0
"""Seconds after which a child hangs."""
_FORKED_TOO = ("splat", "torch", "numpy", "cv2", "PIL", "scipy", "skimage", "json", "html", "csv")
"""Packages whose modules the parent imports before it forks."""


class Unavailable(Exception):
    """Why operations cannot be failed here."""


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    code: int
    """Its exit code; negative: the signal that ended it."""
    said: str
    """What it wrote to stderr."""
    seen: int
    """Operations that were counted."""
    hit: bool
    """Whether the operation to be failed was reached."""

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Shim:
    """The library that this process was started with."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(os.environ[_SHIM])
        self._library.shim_share.restype = ctypes.c_void_p
        self._library.shim_name.restype = ctypes.c_char_p
        self._library.shim_name.argtypes = [ctypes.c_long]
        self._library.shim_kind.argtypes = [ctypes.c_long]
        self._library.shim_seen.restype = ctypes.c_long
        self._library.shim_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, *[ctypes.c_int] * 2]
        if not self._library.shim_share():
            raise Unavailable("memory cannot be shared with children")

    def arm(self, folder: Path, number: int, way: int, error: int) -> None:
        """Count operations below a folder in this process, and fail one of them."""
        self._library.shim_arm(os.fsencode(folder), number, way, error)

    @property
    def seen(self) -> int:
        return int(self._library.shim_seen())

    @property
    def hit(self) -> bool:
        return bool(self._library.shim_hit())

    def operation(self, number: int) -> tuple[str, str]:
        """Kind of an operation that was counted, and its path below the folder."""
        name = os.fsdecode(self._library.shim_name(number))
        return KINDS[self._library.shim_kind(number)], name.lstrip("/")


def with_shim(module: str) -> Shim:
    """The shim; where this process was started without, it is started anew with it.

    Raises Unavailable where the shim cannot be.
    """
    if _SHIM in os.environ:
        return Shim()
    if not sys.platform.startswith("linux"):
        raise Unavailable("operations are failed on Linux only, by LD_PRELOAD")
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable("there is no C compiler (cc), which the shim needs")
    with tempfile.TemporaryDirectory(prefix="splat-shim-") as folder:
        shim = Path(folder) / "shim.so"
        source = Path(__file__).with_name("shim.c")
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"]
        built = subprocess.run(command, capture_output=True, text=True)
        if built.returncode:
            raise Unavailable(f"the shim does not compile: {built.stderr[:300]}")
        more = {"LD_PRELOAD": str(shim), _SHIM: str(shim), "XDG_CACHE_HOME": f"{folder}/cache"}
        again = [sys.executable, "-m", module, *sys.argv[1:]]
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
        raise SystemExit(
            subprocess.run(again, env={**os.environ, "PYTHONPATH": path, **more}).returncode
        )


def forked(
    call: Callable[[], int],
    *,
    shim: Shim | None = None,
    folder: Path | None = None,
    number: int = 0,
    way: int = COUNT,
    error: int = 0,
    kill_after: float | None = None,
) -> Ended:
    """What becomes of `call` in a child whose operation `number` below `folder` is failed.

    `kill_after` kills it after so many seconds instead. All processes that it started are gone
    when this returns.
    """
    with tempfile.TemporaryFile() as said:
        sys.stdout.flush(), sys.stderr.flush()
        child = os.fork()
        if not child:
            _be_child(call, said.fileno(), shim, folder, number, way, error)
        code = _waited(child, kill_after)
        with suppress(ProcessLookupError, PermissionError):
            while True:
                os.killpg(child, signal.SIGKILL)
                time.sleep(0.002)
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    counted = shim is not None
    return Ended(code, text, shim.seen if counted else 0, shim.hit if counted else False)


def _be_child(
    call: Callable[[], int],
    said: int,
    shim: Shim | None,
    folder: Path | None,
    number: int,
    way: int,
    error: int,
) -> None:
    code = 70
    try:
        os.setsid()
        os.dup2(said, 2)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0), os.dup2(nowhere, 1)
        if shim is not None and folder is not None:
            shim.arm(folder, number, way, error)
        code = call()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def _waited(child: int, kill_after: float | None) -> int:
    end = time.monotonic() + (_PATIENCE if kill_after is None else kill_after)
    while True:
        number, status = os.waitpid(child, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            return -signal.SIGALRM if kill_after is None else code
        time.sleep(0.002)


def splat(words: Sequence[str]) -> int:
    """A verb, in this process."""
    from splat.cli import main

    return main(words)


def still(call: Callable[[], int]) -> int:
    """Carry out in a process in which no time passes and no memory is taken: what it writes is the
    same bytes for the same work.

    Charts stay empty, as drawing them is what takes longest.
    """
    import time

    from matplotlib.figure import Figure

    from splat.system import machine

    time.monotonic = time.perf_counter = lambda: 0.0
    machine.peak_memory = lambda: None
    Figure.draw = lambda figure, renderer: None
    return call()


def import_ahead(call: Callable[[], int]) -> None:
    """Import here what `call` imports in a child, so that later children need not."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "modules"

        def listing() -> int:
            code = call()
            listed.write_text("\n".join(sys.modules))
            return code

        ended = forked(listing)
        if ended.code:
            raise RuntimeError(f"a child that was left alone ended with {ended.code}: {ended.said}")
        for name in listed.read_text().splitlines():
            if name not in sys.modules and name.partition(".")[0] in _FORKED_TOO:
                with suppress(Exception):
                    importlib.import_module(name)


Tree = Mapping[str, bytes]


def tree(folder: Path) -> Tree:
    """Bytes of all files below a folder, by their paths in it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() or path.is_symlink()
    }


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for files of a trial, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="splat-hostile-") as folder:
        yield Path(folder).resolve()
