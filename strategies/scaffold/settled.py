"""Anchors rounded as a file holds them: whole numbers around what a context expects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from splat.core.edit import Rows
from splat.formats.range_coding import power
from splat.formats.weights import halved
from splat.strategies.scaffold import cellcode
from splat.strategies.scaffold.anchors import decoded, in_sight
from splat.strategies.scaffold.context import Context
from splat.strategies.scaffold.exact import Told, filed, told
from splat.strategies.scaffold.grid import FARTHEST
from splat.strategies.scaffold.networks import Networks
from splat.types import Camera, Gaussians

FINER = 7
"""Halvings of the voxel that are tried for a grid on which all anchors lie."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Settled:
    """n anchors as a file holds them, in its order, each with an offset that is drawn."""

    rows: Int[Tensor, "n"]
    """What they were rounded from."""
    side: float
    """Of the cells of the grid that they lie on, frame of training."""
    cells: Ints
    """[m, 3]: those that the first m anchors are the middles of, without repetition."""
    anchor: Float[Tensor, "n 3"]
    masks: Bool[Tensor, "n k"]
    """Offsets that are drawn."""
    context: Context
    """As a file holds it."""
    networks: Networks
    """In half precision."""
    told: Told
    """What the context expects."""
    values: Ints
    """[n, d]: whole steps from it; 0 where a mask takes an offset out."""
    distance: bool
    """Whether the networks read how far the camera is."""

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """Which of the values count, [n, d]."""
        return kept_of(self.context, self.masks)

    @cached_property
    def columns(self) -> Rows:
        """`anchor`, `feature`, `reach` and `offset` that the values stand for."""
        found = self.told.mean + self.values * _steps(self.context, self.told)
        restored = torch.from_numpy(np.where(self.kept, found, 0.0)).float()
        feature, reach, offset = restored.split(list(self.context.widths), 1)
        return {
            "anchor": self.anchor,
            "feature": feature.contiguous().to(self.anchor),
            "reach": reach.contiguous().to(self.anchor),
            "offset": offset.reshape(*self.masks.shape, 3).to(self.anchor),
        }

    def look(self, camera: Camera) -> Int[Tensor, "m"]:
        """Which of them a camera may see, ascending."""
        return in_sight(self.columns, camera)

    def drawn(self, camera: Camera, which: Int[Tensor, "m"]) -> Gaussians:
        """What some of them make for a camera; `source` counts the anchors here."""
        return decoded(
            self.columns,
            self.networks.heads(None),
            which,
            camera,
            distance=self.distance,
            masks=self.masks.to(self.anchor),
        )


@torch.no_grad()
def settled(
    columns: Rows,
    masks: Bool[Tensor, "n k"],
    voxel: float,
    context: Context,
    networks: Networks,
    distance: bool,
) -> Settled:
    """Anchors, given by their columns, as a file is to hold them; those of no offset are left out.

    `voxel` is the side of cells that most are the middles of, frame of training; 0: not known.
    """
    rows = masks.any(1).nonzero().squeeze(1)
    order, side, cells = laid_out(columns["anchor"].index_select(0, rows), voxel)
    rows = rows.index_select(0, order)
    own = {name: values.detach().index_select(0, rows) for name, values in columns.items()}
    masks = masks.index_select(0, rows)
    context = filed(context)
    values = torch.cat([own["feature"], own["reach"], own["offset"].flatten(1)], 1)
    expected = told(context, own["anchor"])
    apart = values.cpu().double().numpy() - expected.mean
    found = np.rint(apart / _steps(context, expected)).astype(np.int64)
    kept = kept_of(context, masks)
    return Settled(
        rows, side, cells, own["anchor"], masks, context, halved(networks), expected,
        np.where(kept, found, 0), distance,
    )  # fmt: skip


def kept_of(context: Context, masks: Bool[Tensor, "n k"]) -> NDArray[np.bool_]:
    """Which numbers of anchors count, [n, d]."""
    features, reach, _ = context.widths
    offsets = np.repeat(masks.cpu().numpy(), 3, axis=1)
    return np.concatenate([np.ones((len(offsets), features + reach), bool), offsets], 1)


def laid_out(anchor: Float[Tensor, "n 3"], voxel: float) -> tuple[Int[Tensor, "n"], float, Ints]:
    """The order of anchors in a file, the side of cells, and the cells of the first ones.

    First those on a grid, along an octree, without repetition; then the others. The grid is the
    coarsest on which, in float32, as many as can be lie to the bit.
    """
    place = anchor.detach().cpu()
    best: tuple[float, Tensor, Tensor] | None = None
    for side in [voxel / 2**halvings for halvings in range(FINER)] if voxel > 0 else [1.0]:
        numbers, fits = _on(place, side)
        if best is None or int(fits.sum()) > int(best[2].sum()):
            best = side, numbers, fits
    assert best is not None
    side, numbers, fits = best
    on, off = fits.nonzero().squeeze(1), (~fits).nonzero().squeeze(1)
    cells, first = np.unique(numbers[on].numpy(), axis=0, return_index=True)
    again = np.ones(len(on), bool)
    again[first] = False
    if len(cells):
        order = cellcode.order(cells)
        cells, first = cells[order], first[order]
    rows = torch.cat([on[torch.from_numpy(first)], off, on[torch.from_numpy(again)]])
    return rows.to(anchor.device), side, cells


def placed(cells: Ints, side: float) -> Float[Tensor, "n 3"]:
    """The middles of cells."""
    return torch.from_numpy(cells).float() * side


def _on(place: Float[Tensor, "n 3"], side: float) -> tuple[Int[Tensor, "n 3"], Bool[Tensor, "n"]]:
    """The cell of each place, and whether it is its middle to the bit."""
    numbers = (place / side).round()
    small = (numbers.abs() <= FARTHEST).all(1)
    numbers = numbers.nan_to_num(0.0).clamp(-FARTHEST, FARTHEST).long()
    return numbers, small & (numbers.float() * side == place).all(1)


def _steps(context: Context, expected: Told) -> NDArray[np.float64]:
    """Steps of each number, [n, d]."""
    base = np.array(context.shape.steps)
    return np.repeat(base * power(expected.step), context.widths, axis=1)
