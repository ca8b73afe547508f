"""Files appear whole or not at all, and outlive a power cut once they are there."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from splat.system.foreign import reading, record

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than this disk or its limits allow",
}
_DRAFT_HOURS = 1.0
"""Hours after which a draft whose process is gone here is none that another machine writes."""


class NotWritten(OSError):
    """What was to be written is not on the disk, by a fault of the disk."""


class DiskFull(NotWritten):
    """There is no room for what was to be written."""


def at_fault(error: OSError) -> str:
    """What is wrong with the disk, if the error says so; else empty."""
    if error.errno == errno.EIO:
        return "the disk reports an error"
    return _FULL.get(error.errno or 0, "")


def not_written(error: OSError, path: Path) -> NotWritten | None:
    """The error in a sentence, if it is the disk that is at fault; else None."""
    reason = at_fault(error)
    if not reason:
        return None
    if error.errno in _FULL:
        full = f"{reason}: {path} was not written; free some space or write elsewhere"
        fault: NotWritten = DiskFull(full)
    else:
        fault = NotWritten(
            f"{reason}: {path} was not written for sure; see what the system says of that disk, or"
            " write elsewhere"
        )
    # Which tells it from what libraries raise as OSError about the contents of files.
    fault.errno = error.errno
    return fault


@contextmanager
def telling_faults(path: Path) -> Iterator[None]:
    """Within, a fault of the disk is one of `path`, in a sentence."""
    try:
        yield
    except NotWritten:
        raise
    except OSError as error:
        fault = not_written(error, path)
        if fault is None:
            raise
        raise fault from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to beside `path`, with its suffix; it becomes `path` if nothing fails.

    The folder is made where it is missing. What stood at `path` stays until the new file is
    complete and on the disk, and stays if the block raises.
    """
    with telling_faults(path), drafted(path) as draft:
        yield draft
        synced(draft)
        os.replace(draft, path)
        synced(path.parent)


@contextmanager
def drafted(path: Path) -> Iterator[Path]:
    """A name to write to beside `path`, with its suffix; what is there afterwards is removed.

    The folder is made where it is missing. What a kill leaves goes with `sweep_drafts`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    draft.unlink(missing_ok=True)  # of a killed process of this number: it may be a link
    try:
        yield draft
    finally:
        # A disk that fails here fails what is written next; what was written before stands.
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def sweep_drafts(path: Path) -> None:
    """Delete what processes left that were killed while they wrote `path`."""
    if not path.parent.is_dir():
        return
    # A library may have its own draft of a draft: usd-core puts six letters in the suffix's place.
    endings = rf"(?:{re.escape(path.suffix)}|\.[A-Za-z0-9]{{6}})"
    pattern = re.compile(rf"\.{re.escape(path.stem)}\.(\d+){endings}")
    before = time.time() - 3600 * _DRAFT_HOURS
    for draft in path.parent.iterdir():
        named = pattern.fullmatch(draft.name)
        with suppress(OSError):  # another process may sweep too
            if named and not _runs(int(named[1])) and draft.lstat().st_mtime < before:
                draft.unlink()


def _runs(process: int) -> bool:
    """Whether a process is there, on this machine."""
    if os.name == "nt":
        return True  # where os.kill would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def synced(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders, and keeps names by itself
    # A photo that is linked may be one that can only be read; Windows wants to write what it syncs.
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # File systems that cannot say so (some network ones) have no better answer.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_json(path: Path, record: Any) -> None:
    """Write a record as indented JSON."""
    with replacing(path) as draft:
        draft.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The record in a JSON file of ours, which somebody may have changed; raises ValueError."""
    with reading(path, "a record of splat: it was changed or cut off"):
        return {**record(path)}
