"""A forest as a file holds it: whole numbers, and the columns that they stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splat.core.edit import Rows
from splat.formats.range_coding import MOST, PARTS, power
from splat.formats.weights import Doubles, doubles, halved
from splat.strategies.forest.context import SIZE, Context, Steps
from splat.strategies.forest.layout import laid_out
from splat.strategies.forest.networks import Networks

if TYPE_CHECKING:
    from splat.strategies.forest.model import Trees

BITS = 9
"""Places along each axis of the box of all roots' middles: what first leaves are told from."""
SMALLEST = 1 << 20
"""Parts of the box's longest side that steps of places are no smaller than."""
LARGEST = 1 << 12
"""Largest size of any other number, in steps."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Settled:
    """Roots, mids and leaves in the order of a file (`Layout`)."""

    steps: Steps
    box: NDArray[np.float32]
    """[2, 3]: corners of that of the roots' middles, frame of training."""
    finest: int
    """Size, in eighths of an octave, as which smaller mids count for steps of places."""
    mids_of: Ints
    """[r]: mids of each root, one at least."""
    leaves_of: Ints
    """[m]: leaves of each mid, one at least."""
    middles: Ints
    """[r, 3]: middles of roots in the box, from 0 to 2^`BITS` - 1."""
    root: Ints
    """[r, g]: features."""
    mid: Ints
    """[m, f + 4]: feature, colour, size in eighths of an octave."""
    place: Ints
    """[n, 3]: steps of the mid, of its first leaf from the middle of the root, of others from that
    one. All places are whole steps of their mid from the origin."""
    own: Ints
    """[n, 3]: opacity, size beyond its mid's, brightness."""
    networks: Networks
    """In half precision."""
    context: Context
    """In half precision."""

    @property
    def root_of(self) -> Ints:
        """The root of each mid."""
        return np.repeat(np.arange(len(self.mids_of)), self.mids_of)

    @property
    def mid_of(self) -> Ints:
        """The mid of each leaf."""
        return np.repeat(np.arange(len(self.leaves_of)), self.leaves_of)

    @property
    def first(self) -> Ints:
        """The first leaf of each mid."""
        return np.cumsum(self.leaves_of) - self.leaves_of

    @property
    def place_steps(self) -> Doubles:
        """[m]: steps of the places of each mid's leaves, frame of training."""
        return place_steps(self.mid[:, -1], self.finest, self.steps)

    def columns(self) -> tuple[Rows, Rows, Rows]:
        """Columns of leaves, of mids and of roots.

        Sums and products of float64, rounded once: the same on every machine.
        """
        steps, sizes = self.steps, self.mid[:, -1]
        step, first = self.place_steps[:, None], self.first
        start = _origins(self.box, self.middles, self.root_of, step) + self.place[first]
        whole = start[self.mid_of] + self.place
        whole[first] = start
        mean = whole * step[self.mid_of]
        leaves = {
            "mean": mean,
            "opacity_logit": self.own[:, 0] * steps.opacity,
            "size": ((sizes[self.mid_of] + self.own[:, 1]) * SIZE)[:, None],
            "light": self.own[:, 2] * steps.light,
            "node": self.mid_of,
        }
        mids = {
            "feature": self.mid[:, :-4] * steps.mid,
            "rgb": self.mid[:, -4:-1] * steps.rgb,
            "node": self.root_of,
        }
        parts = ({**leaves}, {**mids}, {"feature": self.root * steps.root})
        one, two, three = ({k: _float(v) for k, v in part.items()} for part in parts)
        return one, two, three


def middles(box: NDArray[np.float32], places: Ints) -> Doubles:
    """Where places in a box are, [r, 3]."""
    low, high = box.astype(np.float64)
    found: Doubles = low + places * ((high - low) / ((1 << BITS) - 1))
    return found


def _origins(box: NDArray[np.float32], places: Ints, root_of: Ints, step: Doubles) -> Ints:
    """The whole steps of each mid, [m, 1], that are nearest to the middle of its root, [m, 3]."""
    return np.rint(middles(box, places)[root_of] / step).astype(np.int64)


def place_steps(sizes: Ints, finest: int, steps: Steps) -> Doubles:
    """Steps of places under mids of sizes, in eighths of an octave."""
    found: Doubles = steps.place * power(np.maximum(sizes, finest))
    return found


@torch.no_grad()
def settled(model: Trees) -> Settled:
    """The forest of a model, rounded as a file is to hold it."""
    given = {name: doubles(model.cloud[name]) for name in model.cloud.names if name != "node"}
    layout = laid_out(
        model.cloud["mean"].detach().cpu(),
        model.mid_of.cpu(),
        model.root_of.cpu(),
        len(model.roots),
    )
    steps = model.steps
    mid_of, leaves = layout.mid_of.numpy(), layout.leaves.numpy()
    counts = layout.leaf_counts.numpy()
    size = _whole(given["size"][leaves, 0], SIZE)
    mean_size = np.rint(np.bincount(mid_of, size, len(counts)) / counts).astype(np.int64)
    centre = layout.centres.double().numpy()
    box = np.stack([centre.min(0), centre.max(0)]).astype("<f4")
    low, high = box.astype(np.float64)
    side = np.maximum(high - low, 1e-12)
    corner = np.rint((centre - low) / side * ((1 << BITS) - 1)).clip(0, (1 << BITS) - 1)
    corner = corner.astype(np.int64)
    finest = int(np.ceil(PARTS * math.log2(float(side.max()) / SMALLEST / steps.place)))
    step = place_steps(mean_size, finest, steps)[:, None]
    root_of = layout.root_of.numpy()
    first = np.cumsum(counts) - counts
    origin = _origins(box, corner, root_of, step)
    whole = np.rint(given["mean"][leaves] / step[mid_of]).astype(np.int64)
    start = (whole[first] - origin).clip(-MOST + 1, MOST - 1)
    place = (whole - (origin + start)[mid_of]).clip(-MOST + 1, MOST - 1)
    place[first] = start
    mids, roots = layout.mids.numpy(), layout.roots.numpy()
    feature, rgb = (doubles(model.mids[name])[mids] for name in ("feature", "rgb"))
    mid = [_whole(feature, steps.mid), _whole(rgb, steps.rgb), mean_size[:, None]]
    own = [
        _whole(given["opacity_logit"][leaves], steps.opacity),
        (size - mean_size[mid_of]).clip(-LARGEST, LARGEST),
        _whole(given["light"][leaves], steps.light),
    ]
    return Settled(
        steps=steps,
        box=box,
        finest=finest,
        mids_of=np.bincount(root_of, minlength=len(roots)),
        leaves_of=counts,
        middles=corner,
        root=_whole(doubles(model.roots["feature"])[roots], steps.root),
        mid=np.concatenate(mid, 1),
        place=place,
        own=np.stack(own, 1),
        networks=halved(model.nets).cpu(),
        context=halved(model.context).cpu(),
    )


def _whole(values: Doubles, step: float) -> Ints:
    return np.rint(values / step).clip(-LARGEST, LARGEST).astype(np.int64)


def _float(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.asarray(values).astype(np.float32))
