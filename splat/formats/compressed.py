"""The `.compressed.ply` of PlayCanvas and SuperSplat: 16 bytes a Gaussian, and one a coefficient.

Elements: `chunk`, the bounds of every 256 Gaussians; `vertex`, four words each; `sh`, the
coefficients beyond the constant one (channel-major: all of red, then green, then blue). As
splat-transform, PlayCanvas' converter, reads and writes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import hardshrink

from splat.core.frame import finite
from splat.formats import chunks
from splat.formats.compressed_table import coded, tables
from splat.formats.header import Header, header_bytes
from splat.formats.limits import CHUNK, THINNEST
from splat.formats.order import spatial_order
from splat.formats.rows import Rows, harmonics, kept, rows_of, unit_quats
from splat.formats.settings import Settings
from splat.math import rgb_from_sh, sh_from_rgb
from splat.system.files import replacing
from splat.types import Drawing, Gaussians


def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
) -> None:
    """Write Gaussians with neighbours beside each other, 16.3 + 3 (k - 1) bytes each.

    Rows that hold NaN or infinite values are left out, with a warning.
    """
    del settings
    rows = rows_of(gaussians, path)
    code = chunks.encode(rows, spatial_order(rows.means))
    with replacing(path) as draft, draft.open("wb") as file:
        file.write(header_bytes(tables(len(rows), rows.sh.shape[1]), drawing))
        for table in (code.bounds, code.words, code.rest):
            file.write(table.data)


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians takes, with the longest header."""
    del settings
    all_tables = tables(n, (sh_degree + 1) ** 2)
    longest = header_bytes(all_tables, Drawing(True, -1.0000000000000002e-300))
    return len(longest) + sum(table.bytes for table in all_tables)


def read(path: Path) -> Gaussians:
    """The Gaussians of a file; rows with NaN or infinite values are left out, with a warning."""
    gaussians = Rows(*map(torch.from_numpy, chunks.decode(coded(path)))).gaussians()
    # Bytes are finite whatever they are, so the coefficients they stand for need no look.
    return kept(gaussians, finite(replace(gaussians, colors=gaussians.colors[:, 0])), path)


def drawing(path: Path) -> Drawing:
    """How the header says that the Gaussians are meant to be drawn."""
    return Header.of(path).drawing


@torch.no_grad()
def quantiser(
    gaussians: Gaussians,
    settings: Settings = Settings(),  # noqa: B008
) -> Callable[[Gaussians], Gaussians]:
    """What is read back of a set whose rows share chunks as those of `gaussians` do.

    Expects finite values; everything stays on the device it is on.
    """
    del settings
    n = len(gaussians)
    order = spatial_order(gaussians.means).to(gaussians.means.device)
    place = torch.empty_like(order)
    place[order] = torch.arange(n, device=order.device)
    filled = torch.cat([order, order[-1:].expand(-n % CHUNK)])

    @torch.no_grad()
    def quantised(given: Gaussians) -> Gaussians:
        sh = harmonics(given)
        values = [
            given.means.clamp(-chunks.FARTHEST, chunks.FARTHEST),
            given.scales.clamp_min(THINNEST).log().clamp(-chunks.LARGEST, chunks.LARGEST),
            rgb_from_sh(sh[:, 0]),
        ]
        bounded = torch.cat(values, 1)[filled].unflatten(0, (-1, CHUNK))
        means, log_scales, rgb = _between(bounded).flatten(0, 1)[place].split(3, dim=1)
        colors = _harmonics(sh)
        colors[:, 0] = sh_from_rgb(rgb)
        return Gaussians(
            means=means,
            quats=_rotations(unit_quats(given.quats)),
            scales=log_scales.exp(),
            opacities=(given.opacities * 255 + 0.5).floor().clamp(1, 254) / 255,
            colors=colors,
            sh_degree=given.sh_degree or 0,
        )

    return quantised


def harmonics_grid(settings: Settings) -> Callable[[Tensor, int], Tensor]:
    """What is read back of values of a coefficient, the constant one apart."""
    del settings
    return lambda values, k: _harmonics(values)


def _between(values: Float[Tensor, "c m 9"]) -> Float[Tensor, "c m 9"]:
    """Values rounded to the steps between the least and the greatest of each chunk."""
    low, high = values.aminmax(dim=1, keepdim=True)
    step = (high - low) / values.new_tensor(chunks.MOST)
    number = (values - low).div_(step.where(step >= chunks.THINNEST_STEP, torch.inf))
    return number.add_(0.5).floor_().mul_(step).add_(low)


def _rotations(quats: Float[Tensor, "n 4"]) -> Float[Tensor, "n 4"]:
    """Unit quaternions with all but their largest component rounded."""
    largest = quats.abs().argmax(dim=1, keepdim=True)
    others = quats * quats.gather(1, largest).sign()
    others = ((others * math.sqrt(0.5) + 0.5) * 1023 + 0.5).floor() / 1023 - 0.5
    others = (others * math.sqrt(2)).scatter(1, largest, 0)
    rest = (1 - others.square().sum(1, keepdim=True)).clamp_min(0).sqrt()
    return others.scatter_add_(1, largest, rest)


def _harmonics(sh: Float[Tensor, "n k 3"]) -> Float[Tensor, "n k 3"]:
    """The middles of steps of 1/32, and the ends of the range for the first and the last one."""
    middles = (sh * 32).add_(128).clamp_(0, 255).floor_().sub_(127.5)
    # What is left of the two outermost, 127.5 either way, lifts them to 128.
    return middles.add_(hardshrink(middles, 127), alpha=0.5 / 127.5).div_(32)
