"""The `.ply` of 3DGS (Kerbl et al. 2023): float32 rows with named columns.

Columns: x y z, nx ny nz (zeros), f_dc_0..2, f_rest_* (channel-major: all of red, then green, then
blue), opacity (logit), scale_0..2 (natural logarithm), rot_0..3 (w, x, y, z). A set that moves has
those of the FTGS layout, version 1, behind them: time, log_duration, velocity_0..2, in parts of the
clip. Who does not know these sees all of it at once.
"""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from splat.core.frame import finite
from splat.formats import AGAIN
from splat.formats.header import EXPECTED, Header, Table, header_bytes
from splat.formats.rows import FAINTEST, kept, rows_of, unit_quats, warn_left_out
from splat.formats.settings import Settings
from splat.math import LASTING, rgb_from_sh
from splat.system import foreign
from splat.system.files import replacing
from splat.system.foreign import Broken, Unreadable
from splat.types import Drawing, Gaussians, Motion, Points

_CHUNK = 1 << 13
_LONGEST_LINE = 1 << 20
"""Bytes of a row that is text: what is longer counts as several, and is none."""
_NO_ROWS = "has no element 'vertex'; expected a .ply of Gaussians or points"
_POSITION = ("x", "y", "z")
_CONSTANT = ("f_dc_0", "f_dc_1", "f_dc_2")
_SHAPE = ("opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")
_MOTION = ("time", "log_duration", "velocity_0", "velocity_1", "velocity_2")
_STILL = "use_velocity 0"
"""Comment of the FTGS layout: velocities are there, and not meant."""
_COLORS = (("red", "green", "blue"), ("r", "g", "b"))

TAKES_MOTION = True
"""Whether what moves can be written."""

_Floats = NDArray[np.float32]

_log = logging.getLogger(__name__)


def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
) -> None:
    """Write Gaussians as they are, 56 + 12 k bytes each for k SH coefficients, and 20 for a motion.

    Rows that hold NaN or infinite values are left out, with a warning.
    """
    del settings
    rows = rows_of(gaussians, path)
    logits = rows.opacities.double().clamp(FAINTEST, 1 - FAINTEST).logit().float()
    shape = torch.cat([logits[:, None], rows.log_scales, rows.quats], dim=1)
    moving = gaussians.motion is not None
    if moving:
        shape = torch.cat([shape, _motion_columns(kept(gaussians, finite(gaussians), path))], 1)
    means, sh, rest = rows.means.numpy(), rows.sh.numpy(), shape.numpy()
    n, k = sh.shape[:2]
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(_header(n, k, drawing, moving))
        for start in range(0, n, _CHUNK):
            part = slice(start, start + _CHUNK)
            file.write(_records(means[part], sh[part], rest[part]).data)


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes, with the longest header."""
    del settings
    k = (sh_degree + 1) ** 2
    return len(_header(n, k, Drawing(True, -1.0000000000000002e-300))) + n * (56 + 12 * k)


def read(path: Path) -> Gaussians:
    """The Gaussians of a file; rows with NaN or infinite values are left out, with a warning."""
    gaussians = Opened(path).part()
    return kept(gaussians, finite(gaussians), path)


class Opened:
    """A file of Gaussians whose rows stay on disk until they are asked for."""

    def __init__(self, path: Path) -> None:
        with foreign.reading(path, EXPECTED, AGAIN):
            self._rows = _vertices(path)
        names = self._rows.dtype.names or ()
        self._moving = set(_MOTION) <= set(names)
        self._still = self._moving and f"comment {_STILL}" in Header.of(path).lines
        k = self._coefficients = _coefficients(names, path)
        self._rest = tuple(f"f_rest_{c * (k - 1) + j}" for j in range(k - 1) for c in range(3))

    def __len__(self) -> int:
        return len(self._rows)

    def part(self, low: int = 0, high: int | None = None) -> Gaussians:
        """Rows from one to before another, finite or not."""
        rows, k = self._rows[low:high], self._coefficients
        table = _table(rows, (*_POSITION, *_SHAPE))
        means, opacity, scales, quats = torch.split(table, [3, 1, 3, 4], dim=1)
        return Gaussians(
            means=means.contiguous(),
            quats=unit_quats(quats),
            scales=scales.exp(),
            opacities=opacity[:, 0].sigmoid(),
            colors=_table(rows, (*_CONSTANT, *self._rest)).view(-1, k, 3),
            sh_degree=round(k**0.5) - 1,
            motion=self._motion(rows) if self._moving else None,
        )

    def _motion(self, rows: NDArray[Any]) -> Motion:
        time, log_duration, *velocity = _table(rows, _MOTION).unbind(1)
        moves = torch.stack(velocity, 1)
        moves = torch.zeros_like(moves) if self._still else moves
        return Motion(time.contiguous(), log_duration.exp(), moves)


def read_points(path: Path) -> Points:
    """Positions and colours of a point cloud, or the centres and constant colours of Gaussians.

    A property `time` is the instant of each point. Positions stay float64 where they are (surveyed
    coordinates need it).
    """
    with foreign.reading(path, EXPECTED, AGAIN):
        rows = _vertices(path)
    names = rows.dtype.names or ()
    _expect(names, _POSITION, path, "points")
    positions = _table(rows, _POSITION, np.float64 if rows.dtype["x"].itemsize == 8 else np.float32)
    colors = _point_colors(rows, names, path)
    keep = positions.isfinite().all(1) & colors.isfinite().all(1)
    if not keep.all():
        warn_left_out(path, int((~keep).sum()), len(keep), "points")
    times = _table(rows, ("time",))[:, 0] if "time" in names else None
    return Points(positions, colors.clamp(0, 1), times).take(keep)


def holds_gaussians(path: Path) -> bool:
    """Whether `read` is meant for this file; False for a plain point cloud."""
    tables = {table.name: table for table in Header.of(path).tables}
    if "vertex" not in tables:
        raise Unreadable(f"{path}: {_NO_ROWS}")
    names = {column.split()[-1] for column in tables["vertex"].columns}
    return {*_CONSTANT, *_SHAPE} <= names


def drawing(path: Path) -> Drawing:
    """How the header says that the Gaussians are meant to be drawn."""
    return Header.of(path).drawing


def _motion_columns(gaussians: Gaussians) -> Float[Tensor, "n 5"]:
    """Of what stands still the velocity is 0: others know no `splat.math.LASTING`."""
    motion = gaussians.motion
    assert motion is not None
    velocity = motion.velocity.where((motion.duration < LASTING)[:, None], 0)
    columns = [motion.time[:, None], motion.duration.log()[:, None], velocity]
    return torch.cat(columns, 1).detach().float().cpu()


def _header(n: int, k: int, drawing: Drawing, moving: bool = False) -> bytes:
    rest = tuple(f"f_rest_{i}" for i in range(3 * (k - 1)))
    # SIBR, INRIA's viewer, expects the normals.
    names = (*_POSITION, "nx", "ny", "nz", *_CONSTANT, *rest, *_SHAPE)
    names += _MOTION if moving else ()
    table = Table("vertex", n, tuple(f"float {name}" for name in names))
    said = (
        "ftgs_version 1", "time_units normalized", f"sh_degree {round(k**0.5) - 1}",
        "use_velocity 1",
    )  # fmt: skip
    return header_bytes([table], drawing, said if moving else ())


def _records(means: _Floats, sh: _Floats, shape: _Floats) -> _Floats:
    # NumPy, as several threads would wait for each other longer than so few rows take.
    n, k = sh.shape[:2]
    behind = shape.shape[1]
    table = np.zeros((n, 6 + 3 * k + behind), "<f4")
    table[:, :3], table[:, 6:9], table[:, -behind:] = means, sh[:, 0], shape
    for channel in range(3):
        start = 9 + channel * (k - 1)
        table[:, start : start + k - 1] = sh[:, 1:, channel]
    return table


def _vertices(path: Path) -> NDArray[Any]:
    """The rows of `vertex`; of binary files they stay on disk until they are used."""
    header = Header.of(path)
    names = [table.name for table in header.tables]
    if "chunk" in names:
        raise Broken("is a compressed .ply, expected a plain one; convert it with `splat convert`")
    if "vertex" not in names:
        raise Broken(_NO_ROWS)
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


def _table(
    there: NDArray[Any], names: tuple[str, ...], kind: type[np.floating[Any]] = np.float32
) -> Float[Tensor, "n m"]:
    kinds = {field[0] for field in (there.dtype.fields or {}).values()}
    table = np.empty((len(there), len(names)), kind)
    # Row by row as the file lies, a part at a time, so that each byte is fetched once.
    for start in range(0, len(there), _CHUNK):
        part = there[start : start + _CHUNK]
        into = table[start : start + _CHUNK]
        if kinds == {table.dtype}:
            columns = [(there.dtype.names or ()).index(name) for name in names]
            alike = part.view(kind).reshape(len(part), -1)
            np.take(alike, columns, axis=1, out=into, mode="clip")
        else:
            for column, name in enumerate(names):
                into[:, column] = part[name]
    return torch.from_numpy(table)


def _coefficients(names: tuple[str, ...], path: Path) -> int:
    """SH coefficients a channel, once all columns of Gaussians are known to be there."""
    if not set(names) & {*_CONSTANT, *_SHAPE} and set(_POSITION) <= set(names):
        raise ValueError(
            f"{path} is a point cloud (it has {', '.join(names[:6])}), not Gaussians; "
            "train from it with --init, or read it with read_points"
        )
    _expect(names, (*_POSITION, *_CONSTANT, *_SHAPE), path, "Gaussians")
    rest = sum(name.startswith("f_rest_") for name in names)
    if rest not in (0, 9, 24, 45):
        raise ValueError(
            f"{path} has {rest} columns f_rest_*, expected 0, 9, 24 or 45 (SH degree 0 to 3)"
        )
    _expect(names, tuple(f"f_rest_{i}" for i in range(rest)), path, "Gaussians")
    return rest // 3 + 1


def _expect(names: tuple[str, ...], wanted: tuple[str, ...], path: Path, what: str) -> None:
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}, which {what} need")


def _point_colors(rows: NDArray[Any], names: tuple[str, ...], path: Path) -> Float[Tensor, "n 3"]:
    if set(_CONSTANT) <= set(names):
        return rgb_from_sh(_table(rows, _CONSTANT))
    for triple in _COLORS:
        if set(triple) <= set(names):
            kind = rows.dtype[triple[0]]
            whole = float(np.iinfo(kind).max) if kind.kind in "iu" else 1.0
            return _table(rows, triple) / whole
    _log.warning("%s has no colours; its points start grey", path)
    return torch.full((len(rows), 3), 0.5)
