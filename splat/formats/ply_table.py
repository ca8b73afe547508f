"""The rows of a `.ply` as NumPy has them; what its columns are is said in `splat.formats.ply`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splat.formats import AGAIN
from splat.formats.columns import Columns, Moving, logistic
from splat.formats.header import EXPECTED, Header
from splat.system import foreign
from splat.system.foreign import Broken

PART = 1 << 13
_LONGEST_LINE = 1 << 20
"""Bytes of a row that is text: what is longer counts as several, and is none."""
NO_ROWS = "has no element 'vertex'; expected a .ply of Gaussians or points"
POSITION = ("x", "y", "z")
CONSTANT = ("f_dc_0", "f_dc_1", "f_dc_2")
SHAPE = ("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")
MOTION = ("time", "log_duration", "velocity_0", "velocity_1", "velocity_2")
STILL = "use_velocity 0"
"""Comment of the FTGS layout: velocities are there, and not meant."""


def vertices(path: Path) -> NDArray[Any]:
    """The rows of `vertex`; of binary files they stay on disk until they are used."""
    header = Header.of(path)
    names = [table.name for table in header.tables]
    if "chunk" in names:
        raise Broken("is a compressed .ply, expected a plain one; convert it with `splat convert`")
    if "vertex" not in names:
        raise Broken(NO_ROWS)
    *before, table = header.tables[: names.index("vertex") + 1]
    order = header.order
    row = table.row(order)
    if not table.count or not row.itemsize:
        return np.empty(table.count, row)
    if order == "=":
        return _parsed(path, header.bytes, sum(each.count for each in before), table.count, row)
    start = header.bytes + sum(each.count * each.row(order).itemsize for each in before)
    there = (foreign.file_size(path) - start) // row.itemsize
    if there < table.count:
        raise Broken(f"is cut off: it has {max(0, there):,} rows, expected {table.count:,}")
    return np.memmap(path, row, "r", start, (table.count,))


def _parsed(path: Path, start: int, skipped: int, count: int, row: np.dtype[Any]) -> NDArray[Any]:
    """Rows of text, each of which is a line, from byte `start` on."""
    with path.open("rb") as file:
        file.seek(start)
        lines = iter(lambda: file.readline(_LONGEST_LINE), b"")
        rows: NDArray[Any] = np.loadtxt(
            islice(lines, skipped, skipped + count), row, comments=None, ndmin=1
        )
    if len(rows) < count:
        raise Broken(f"is cut off: it has {len(rows):,} rows, expected {count:,}")
    return rows


def table_of(
    there: NDArray[Any], names: tuple[str, ...], kind: type[np.floating[Any]] = np.float32
) -> NDArray[Any]:
    """Columns of rows, side by side."""
    kinds = {field[0] for field in (there.dtype.fields or {}).values()}
    table = np.empty((len(there), len(names)), kind)
    # Row by row as the file lies, a part at a time, so that each byte is fetched once.
    for start in range(0, len(there), PART):
        part = there[start : start + PART]
        into = table[start : start + PART]
        if kinds == {table.dtype}:
            columns = [(there.dtype.names or ()).index(name) for name in names]
            alike = part.view(kind).reshape(len(part), -1)
            np.take(alike, columns, axis=1, out=into, mode="clip")
        else:
            for column, name in enumerate(names):
                into[:, column] = part[name]
    return table


def coefficients(names: tuple[str, ...], path: Path) -> int:
    """SH coefficients a channel, once all columns of Gaussians are known to be there."""
    if not set(names) & {*CONSTANT, *SHAPE} and set(POSITION) <= set(names):
        raise ValueError(
            f"{path} is a point cloud (it has {', '.join(names[:6])}), not Gaussians; "
            "train from it with --init, or read it with read_points"
        )
    expect(names, (*POSITION, *CONSTANT, *SHAPE), path, "Gaussians")
    rest = sum(name.startswith("f_rest_") for name in names)
    if rest not in (0, 9, 24, 45):
        raise ValueError(
            f"{path} has {rest} columns f_rest_*, expected 0, 9, 24 or 45 (SH degree 0 to 3)"
        )
    expect(names, tuple(f"f_rest_{i}" for i in range(rest)), path, "Gaussians")
    return rest // 3 + 1


def expect(names: tuple[str, ...], wanted: tuple[str, ...], path: Path, what: str) -> None:
    """Raise ValueError where columns are missing that `what` need."""
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}, which {what} need")


class Rows:
    """The rows of a file of Gaussians, which stay on disk until they are asked for."""

    def __init__(self, path: Path) -> None:
        with foreign.reading(path, EXPECTED, AGAIN):
            self.there = vertices(path)
        names = self.there.dtype.names or ()
        self.moving = set(MOTION) <= set(names)
        self.still = self.moving and f"comment {STILL}" in Header.of(path).lines
        k = self.coefficients = coefficients(names, path)
        rest = tuple(f"f_rest_{c * (k - 1) + j}" for j in range(k - 1) for c in range(3))
        self.harmonics = (*CONSTANT, *rest)
        """Columns of harmonics, [k, 3]."""


@np.errstate(over="ignore")
def columns(path: Path) -> Columns:
    """What the rows hold, finite or not."""
    rows = Rows(path)
    antialiased, near = Header.of(path).drawn
    moving = None
    if rows.moving:
        motion = table_of(rows.there, MOTION)
        velocity = motion[:, 2:] * (not rows.still)
        moving = Moving(motion[:, 0], np.exp(motion[:, 1]), velocity)
    shape = table_of(rows.there, SHAPE)
    return Columns(
        means=table_of(rows.there, POSITION),
        scales=np.exp(shape[:, 1:4]),
        opacities=logistic(shape[:, 0]),
        sh=table_of(rows.there, rows.harmonics).reshape(-1, rows.coefficients, 3),
        quats=shape[:, 4:],
        moving=moving,
        antialiased=antialiased,
        near=near,
    )
