"""Kept rows of a .ply copied to the byte, and new ones after them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from torch import Tensor

from splat import formats
from splat.formats.header import BINARY, Header
from splat.system.files import replacing
from splat.types import Drawing, Frame, Gaussians, joined


def write_left(
    source: Path | None,
    gaussians: Gaussians,
    keep: Bool[Tensor, "n"],
    new: Gaussians | None,
    out: Path,
    frame: Frame | None,
    drawing: Drawing,
) -> bool:
    """Write the rows to keep, and new ones behind them; whether bytes of `source` were copied.

    `source` is the file that `gaussians`, in `frame`, were read from or exported to; where it and
    `out` are plain .ply, rows that stay are copied byte by byte. Else they are written anew.
    """
    if source is not None and _plain(source) and formats.suffix_of(out, written=True) == ".ply":
        head = Header.of(source)
        if head.tables[0].count == len(keep):
            table = _rows(source, head)[keep.cpu().numpy()]
            added = _written(new, frame, drawing, head)
            if added is not None:
                _write(out, head, np.concatenate([table, added]))
                return True
    left = gaussians.take(keep)
    formats.write(left if new is None else joined([left, new]), out, frame, drawing)
    return False


def _plain(path: Path) -> bool:
    """Whether a file is a .ply of one table of binary rows of Gaussians."""
    if not path.name.lower().endswith(".ply") or not path.is_file():
        return False
    head = Header.of(path)
    return (
        BINARY in head.lines
        and len(head.tables) == 1
        and head.tables[0].fixed
        and path.stat().st_size == head.bytes + head.tables[0].bytes
    )


def _rows(path: Path, head: Header) -> UInt8[np.ndarray, "n b"]:
    count, width = head.tables[0].count, head.tables[0].row().itemsize
    return np.fromfile(path, np.uint8, count * width, offset=head.bytes).reshape(count, width)


def _written(
    new: Gaussians | None, frame: Frame | None, drawing: Drawing, like: Header
) -> UInt8[np.ndarray, "m b"] | None:
    """New rows as a file has them whose header is `like`; None where its columns are others."""
    if new is None or not len(new):
        return np.empty((0, like.tables[0].row().itemsize), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.ply"
        formats.write(new, path, frame, drawing)
        head = Header.of(path)
        return _rows(path, head) if head.tables[0].columns == like.tables[0].columns else None


def _write(path: Path, head: Header, table: UInt8[np.ndarray, "n b"]) -> None:
    count = f"element vertex {len(table)}"
    lines = [count if line.startswith("element vertex ") else line for line in head.lines]
    with replacing(path) as draft, draft.open("wb") as file:
        file.write("\n".join([*lines, ""]).encode("ascii", "replace"))
        file.write(np.ascontiguousarray(table).data)
