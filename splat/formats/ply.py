"""The `.ply` of 3DGS (Kerbl et al. 2023): float32 rows with named columns.

Columns: x y z, nx ny nz (zeros), f_dc_0..2, f_rest_* (channel-major: all of red, then green, then
blue), opacity (logit), scale_0..2 (natural logarithm), rot_0..3 (w, x, y, z). A set that moves has
those of the FTGS layout, version 1, behind them: time, log_duration, velocity_0..2, in parts of the
clip. Who does not know these sees all of it at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from splat.core.frame import finite
from splat.formats.header import Header, Table, header_bytes
from splat.formats.limits import FAINTEST
from splat.formats.ply_table import (
    CONSTANT,
    MOTION,
    NO_ROWS,
    PART,
    POSITION,
    SHAPE,
    Rows,
    table_of,
)
from splat.formats.rows import kept, rows_of, unit_quats
from splat.formats.settings import Settings
from splat.math import LASTING
from splat.system.files import replacing
from splat.system.foreign import Unreadable
from splat.types import Drawing, Gaussians, Motion

TAKES_MOTION = True
"""Whether what moves can be written."""

_Floats = NDArray[np.float32]


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
        for start in range(0, n, PART):
            part = slice(start, start + PART)
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
        self._rows = Rows(path)

    def __len__(self) -> int:
        return len(self._rows.there)

    def part(self, low: int = 0, high: int | None = None) -> Gaussians:
        """Rows from one to before another, finite or not."""
        rows, k = self._rows.there[low:high], self._rows.coefficients
        table = _table(rows, (*POSITION, *SHAPE))
        means, opacity, scales, quats = torch.split(table, [3, 1, 3, 4], dim=1)
        return Gaussians(
            means=means.contiguous(),
            quats=unit_quats(quats),
            scales=scales.exp(),
            opacities=opacity[:, 0].sigmoid(),
            colors=_table(rows, self._rows.harmonics).view(-1, k, 3),
            sh_degree=round(k**0.5) - 1,
            motion=self._motion(rows) if self._rows.moving else None,
        )

    def _motion(self, rows: NDArray[Any]) -> Motion:
        time, log_duration, *velocity = _table(rows, MOTION).unbind(1)
        moves = torch.stack(velocity, 1)
        moves = torch.zeros_like(moves) if self._rows.still else moves
        return Motion(time.contiguous(), log_duration.exp(), moves)


def holds_gaussians(path: Path) -> bool:
    """Whether `read` is meant for this file; False for a plain point cloud."""
    tables = {table.name: table for table in Header.of(path).tables}
    if "vertex" not in tables:
        raise Unreadable(f"{path}: {NO_ROWS}")
    names = {column.split()[-1] for column in tables["vertex"].columns}
    return {*CONSTANT, *SHAPE} <= names


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
    names = (*POSITION, "nx", "ny", "nz", *CONSTANT, *rest, *SHAPE)
    names += MOTION if moving else ()
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


def _table(
    rows: NDArray[Any], names: tuple[str, ...], kind: type[np.floating[Any]] = np.float32
) -> Float[Tensor, "n m"]:
    return torch.from_numpy(table_of(rows, names, kind))
