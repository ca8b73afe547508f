"""Files appear whole or not at all, and outlive a power cut once they are there."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from splat.system.foreign import reading, record

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than this disk or its limits allow",
}


class DiskFull(OSError):
    """There is no room for what was to be written."""


def disk_full(error: OSError, path: Path) -> DiskFull | None:
    """The error in a sentence, if it says that there is no room; else None."""
    if error.errno not in _FULL:
        return None
    reason = _FULL[error.errno]
    return DiskFull(f"{reason}: {path} was not written; free some space or write elsewhere")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to beside `path`, with its suffix; it becomes `path` if nothing fails.

    The folder is made where it is missing. What stood at `path` stays until the new file is
    complete and on the disk, and stays if the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield draft
        synced(draft)
        os.replace(draft, path)
        synced(path.parent)
    except OSError as error:
        full = disk_full(error, path)
        if full is None:
            raise
        raise full from error
    finally:
        draft.unlink(missing_ok=True)


def synced(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders, and keeps names by itself
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
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
