"""A large set in memory: leaf by leaf, harmonics in half precision, with its coarser levels."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.frame import finite, gaussians_to_frame
from splat.kernels import one_torch_thread, threads
from splat.lod.choose import chosen_levels, leaves_in_frustum
from splat.lod.levels import LEAF, Levels, Part, levels_of_rows, rows_by_leaf
from splat.types import Camera, Frame, Gaussians, joined

MANY = 2_000_000
"""Rows above which a set is looked at in levels of detail; smaller ones are drawn whole."""
_PART = 1 << 16
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """Rows of all levels; at degree 3 they take 140 bytes each, a third more with the levels."""

    finest: Gaussians
    """Level 0, leaf by leaf; colours are float16."""
    levels: Levels
    frame: Frame | None
    """The frame that rows were moved to; None: they are as they were given."""

    def view(self, camera: Camera, near: float, budget: int) -> Gaussians:
        """Gaussians to draw for a camera of their frame: leaves in the frustum, each at a level.

        Gaussians nearer than `near` are taken not to be drawn. At most `budget` rows, where the
        coarsest levels allow it. `source` is the row of level 0, or one of those a row stands for.
        """
        shown = leaves_in_frustum(self.levels, camera, near)
        levels = chosen_levels(self.levels, shown, camera, budget).where(shown, -1).tolist()
        parts = [
            self._rows(level, first, last) for level, first, last in _runs(levels) if level >= 0
        ]
        return _float(joined(parts or [self._rows(0, 0, -1)]))

    def whole(self) -> Gaussians:
        """A copy of level 0 in full precision."""
        return _float(self.finest)

    def _rows(self, level: int, first: int, last: int) -> Gaussians:
        """Rows of the leaves from `first` to `last`, both included."""
        if last < first:
            return _slice(self.finest, 0, 0, sourced=True)
        low, high = self.levels.rows(level, first).start, self.levels.rows(level, last).stop
        if level == 0:
            return _slice(self.finest, low, high, sourced=True)
        return _slice(self.levels.coarser[level - 1], low, high)


@torch.no_grad()
@one_torch_thread()
def store_of(
    n: int,
    part: Part,
    frame_for: Callable[[Float[Tensor, "m 3"]], Frame] | None,
    what: str,
    leaf: int = LEAF,
) -> Store:
    """The store of `n` rows, which `part` gives in any order that stays the same, finite or not.

    They are read twice, some ten thousand at a time: nothing else of them is kept. `frame_for` says
    to which frame rows of the input with such means are moved; `what` names the set for people.
    """
    means, good = torch.empty(n, 3), torch.zeros(n, dtype=torch.bool)
    for low in range(0, n, _PART):
        rows = part(low, min(n, low + _PART))
        good[low : low + len(rows)] = finite(rows)
        means[low : low + len(rows)] = rows.means
    if not good.any():
        raise ValueError(f"{what} has no Gaussian with finite values; fetch or export it again")
    if not good.all():
        lost = int((~good).sum())
        _log.warning("%s: %d of %d Gaussians hold NaN or infinite values and are left out",
                     what, lost, n)  # fmt: skip
        means = means[good]
    frame = None if frame_for is None else frame_for(means)
    place = _places(rows_by_leaf(means, leaf), good)
    del means
    finest = _scattered(part, place, n, int(good.sum()), frame)
    levels = levels_of_rows(
        len(finest), lambda low, high: _slice(finest, low, high), leaf, threads=threads()
    )
    return Store(finest, levels, frame)


def _places(order: Tensor, good: Bool[Tensor, "n"]) -> Tensor:
    """Where each given row goes, -1 for those left out."""
    rows = good.nonzero()[:, 0]
    place = torch.full((len(good),), -1, dtype=torch.int64)
    place[rows[order]] = torch.arange(len(order))
    return place


def _scattered(part: Part, place: Tensor, n: int, kept: int, frame: Frame | None) -> Gaussians:
    first = part(0, 1)
    like = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": ()}
    columns: dict[str, Any] = {name: torch.empty(kept, *shape) for name, shape in like.items()}
    columns["colors"] = torch.empty(kept, *first.colors.shape[1:], dtype=torch.float16)
    for low in range(0, n, _PART):
        to = place[low : low + _PART]
        rows = part(low, min(n, low + _PART)).take(to >= 0)
        rows = rows if frame is None else gaussians_to_frame(rows, frame)
        to = to[to >= 0]
        for name, column in columns.items():
            column[to] = getattr(rows, name).to(column.dtype)
    return Gaussians(**columns, sh_degree=first.sh_degree)


def _runs(levels: list[int]) -> list[tuple[int, int, int]]:
    """Runs of neighbouring leaves at one level: the level, the first leaf and the last."""
    runs: list[tuple[int, int, int]] = []
    for leaf, level in enumerate(levels):
        if runs and runs[-1][0] == level:
            runs[-1] = (level, runs[-1][1], leaf)
        else:
            runs.append((level, leaf, leaf))
    return runs


def _slice(gaussians: Gaussians, low: int, high: int, *, sourced: bool = False) -> Gaussians:
    source = gaussians.source
    return Gaussians(
        means=gaussians.means[low:high],
        quats=gaussians.quats[low:high],
        scales=gaussians.scales[low:high],
        opacities=gaussians.opacities[low:high],
        colors=gaussians.colors[low:high],
        sh_degree=gaussians.sh_degree,
        source=torch.arange(low, high) if sourced else None if source is None else source[low:high],
    )


def _float(gaussians: Gaussians) -> Gaussians:
    return Gaussians(
        gaussians.means,
        gaussians.quats,
        gaussians.scales,
        gaussians.opacities,
        gaussians.colors.float(),
        gaussians.sh_degree,
        gaussians.source,
    )
