"""`Shelf`: decoded photographs on disk, as training sees them, for scenes that memory cannot hold.

A folder of files, one a photo. A file appears whole, by a rename, and is never changed; its name
says all that it was made of, so that what is found is what would be decoded, to the byte. Many
processes may share a folder: what one of them removes, another makes anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Shaped

Part = Shaped[np.ndarray, "..."] | None
SUFFIX = ".photo"
KEPT_FREE = 1 << 30
"""Bytes of a disk that are left free."""
STALE = 3600
"""Seconds after which a draft is of a process that has died."""
_VERSION, _LINE = 1, 64
"""Version of what files hold, and alignment of arrays in them, bytes."""

_log = logging.getLogger(__name__)


class Shelf:
    """Disk cache: lists of arrays under keys (marks), in a folder of at most so many bytes.

    What does not fit is left out, first come first kept; what other scenes left there goes first,
    the longest unused before the rest (`make_room`). A folder that cannot be written gets one
    warning and is read only from then on. Call from any thread.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._room = folder, most
        self._most = most
        self._lock = threading.Lock()
        self._known: set[str] = set()

    def make_room(self, wanted: Mapping[str, int]) -> None:
        """Remove files of other scenes, until `wanted` (bytes by mark) fits."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            held = _files(self._folder)
            free = shutil.disk_usage(self._folder).free
        except OSError as error:
            self._close(error)
            return
        own = {mark: held.pop(mark)[1] for mark in wanted if mark in held}
        missing = sum(size for mark, size in wanted.items() if mark not in own)
        others = sum(size for _, size in held.values())
        room = min(self._most - sum(own.values()) - others, free - KEPT_FREE)
        for mark, (_, size) in sorted(held.items(), key=lambda item: item[1]):
            if room >= missing:
                break
            with suppress(OSError):
                (self._folder / f"{mark}{SUFFIX}").unlink()
                room += size
        self._room = max(0, room)

    def get(self, mark: str) -> list[Part] | None:
        """The arrays under a mark; None where there are none, or their file is damaged."""
        path = self._folder / f"{mark}{SUFFIX}"
        verified = mark in self._known
        try:
            with path.open("rb", buffering=0) as file:
                raw = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
                whole = file.readinto(raw.data) == raw.size
            if not verified:
                os.utime(path)  # it was of use, and is removed after others
        except OSError:
            return None
        parts = _parts(raw, checked=not verified) if whole else None
        if parts is None:
            with suppress(OSError):
                path.unlink()
            return None
        self._known.add(mark)
        return parts

    def put(self, mark: str, parts: Sequence[Part]) -> None:
        """Keep arrays under a mark, if there is room for them."""
        path = self._folder / f"{mark}{SUFFIX}"
        blocks = _blocks(parts)
        size = sum(len(block) for block in blocks)
        with self._lock:
            if size > self._room:
                return
            self._room -= size
        draft = path.with_name(f".{mark}.{os.getpid()}.{threading.get_ident()}")
        try:
            with draft.open("wb") as file:
                file.writelines(blocks)
            os.replace(draft, path)
        except OSError as error:
            self._close(error)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _close(self, error: OSError) -> None:
        """Write no more, with one warning."""
        with self._lock:
            warned, self._room, self._most = self._most == 0, 0, 0
        if not warned:
            _log.warning(
                "warning: no more photos are kept in %s (%s); they are decoded anew each time:"
                " free some space, or set XDG_CACHE_HOME to a folder elsewhere",
                self._folder,
                error.strerror or error,
            )


def mark_of(files: Sequence[Path], how: Sequence[Any]) -> str | None:
    """Key of what is made of files: it changes with their paths, sizes and times, and with `how`.

    None where a file is not there. The decoder's version counts too: its pixels may differ.
    """
    digest = hashlib.blake2b(f"{_VERSION}/{cv2.__version__}".encode(), digest_size=20)
    try:
        for file in files:
            status = file.stat()
            digest.update(f"/{file.resolve()}/{status.st_size}/{status.st_mtime_ns}".encode())
    except OSError:
        return None
    digest.update(repr(how).encode())
    return digest.hexdigest()


def _files(folder: Path) -> dict[str, tuple[float, int]]:
    """Time of last use (seconds) and bytes of each file, by mark; stale drafts are removed."""
    files = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another process removes files too
                status = entry.stat()
                if entry.name.endswith(SUFFIX):
                    files[entry.name.removesuffix(SUFFIX)] = (status.st_mtime, status.st_size)
                elif entry.name.startswith(".") and time.time() - status.st_mtime > STALE:
                    os.unlink(entry.path)
    return files


def _blocks(parts: Sequence[Part]) -> list[bytes | memoryview]:
    """A line that says what follows, and the arrays, each from a multiple of 64 bytes on."""
    arrays = [None if part is None else np.ascontiguousarray(part) for part in parts]
    crc, blocks = 0, list[bytes | memoryview]()
    for array in arrays:
        if array is not None:
            blocks += [array.reshape(-1).view(np.uint8).data, bytes(-array.nbytes % _LINE)]
    for block in blocks:
        crc = zlib.crc32(block, crc)
    kinds = [None if array is None else [array.dtype.str, list(array.shape)] for array in arrays]
    line = json.dumps({"parts": kinds, "crc": crc}).encode()
    return [line + b" " * (-(len(line) + 1) % _LINE) + b"\n", *blocks]


def _parts(raw: np.ndarray, *, checked: bool) -> list[Part] | None:
    """The arrays of a file, which share its memory; None where it is not whole."""
    line, _, _ = raw[:1024].tobytes().partition(b"\n")
    at = len(line) + 1
    try:
        contents = json.loads(line)
        if checked and zlib.crc32(raw[at:].data) != contents["crc"]:
            return None
        parts: list[Part] = []
        for described in contents["parts"]:
            if described is None:
                parts.append(None)
                continue
            kind, shape = np.dtype(described[0]), tuple(described[1])
            size = kind.itemsize * int(np.prod(shape))
            parts.append(raw[at : at + size].view(kind).reshape(shape))
            at += size + -size % _LINE
    except Exception:  # NumPy's own errors of kinds and shapes among them
        return None
    return parts if at == raw.size else None
