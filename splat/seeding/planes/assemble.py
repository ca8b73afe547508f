"""Planes of many photos as one scaffold of flat Gaussians, and loose points beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from splat.core.frame import neighbour_distances
from splat.core.strategy import Start
from splat.guidance.align import Kind
from splat.seeding.planes.planes import Lifted, Plane, lifted, on_planes
from splat.seeding.planes.thin import (
    Placed,
    columns_of_places,
    joined_places,
    thinned,
    without_near,
)
from splat.types import Batch, Points

TURN = 10.0
"""Largest angle between normals of one plane, degrees."""
APART = 0.03
"""Largest distance of the points of one plane, in depths of the photo's middle."""
MEET = 0.1
"""Least share of a plane's cells that another must hold for them to be merged."""
BLOCK = 0.1
"""Side of a cell for `MEET`, in depths of the photo's middle."""
EXACT_SHARE, LOOSE_SHARE = 0.75, 0.2
"""Largest shares of Gaussians that are points of the scene, and that are pixels of no plane."""
ROUNDS = 4
LOOKED_AT = 2000
"""Most points of a photo's plane, evenly spread, when planes are compared."""


@dataclass
class Sheet:
    """One plane of the scene, seen in one photo or more."""

    normal: Float64[ndarray, "3"]
    offset: float
    weight: float
    unit: float
    """Depth of the middle of the photo that saw it first."""
    places: Float64[ndarray, "m 3"]
    members: list[tuple[int, int]] = field(default_factory=list)
    """Photos and the numbers of their planes that were merged into it."""

    def plane(self) -> Plane:
        """The sheet as a `Plane`."""
        return Plane(self.normal, self.offset, self.weight)


@dataclass(frozen=True)
class Scaffold:
    """Rows to start from, on planes and beside them."""

    rows: dict[str, Tensor]
    """Columns of `Explicit`, in Morton order."""
    sheets: int
    """Number of planes."""
    flat: int
    """Number of Gaussians on planes."""
    photos: int
    """Number of photos that they were made of."""

    def text(self) -> str:
        """The counts in a sentence."""
        loose = len(self.rows["mean"]) - self.flat
        return (
            f"{self.sheets} planes of {self.photos} photos: {self.flat:,} flat Gaussians, and"
            f" {loose:,} points beside them"
        )


def scaffold_of(
    batches: Iterable[Batch],
    points: Points | None,
    kind: Kind,
    start: Start,
    sh_degree: int,
    most: int,
) -> Scaffold:
    """A scaffold of at most `most` Gaussians out of photos with depth and normals.

    `points` are those of the scene, in the frame of training; depth that is not metric is aligned
    to them. They begin as they are, being where things have detail, and planes fill what is bare
    between them. ValueError where no photo can be used.
    """
    anchors = points or Points(torch.zeros(0, 3), torch.zeros(0, 3))
    views = [
        each for each in (lifted(batch, anchors, kind) for batch in batches) if each is not None
    ]
    views = [each for each in views if len(each.depth)]
    if not views:
        raise ValueError(
            "init planes: no photo has depth, normals and enough points of the scene to align them"
            " to; expected depths/ and normals/ beside the photos, and points of the scene or depth"
            " that is metric: start from points instead"
        )
    sheets = merged_sheets([sheet for i, each in enumerate(views) for sheet in _sheets(each, i)])
    normals = np.array([sheet.normal for sheet in sheets]).reshape(-1, 3)
    exact = _of_scene(anchors)
    if len(exact.places) > EXACT_SHARE * most:
        exact = thinned(exact, normals, int(EXACT_SHARE * most))
    room = most - len(exact.places)
    loose = thinned(_loose(views), normals, min(room, int(LOOSE_SHARE * most)))
    flat = thinned(_flat(views, sheets), normals, room - len(loose.places))
    flat, loose = without_near(flat, exact), without_near(loose, exact)
    rows = columns_of_places(joined_places([flat, loose, exact]), normals, start, sh_degree)
    return Scaffold(rows, len(sheets), len(flat.places), len(views))


def merged_sheets(sheets: Sequence[Sheet]) -> list[Sheet]:
    """The sheets, merged where they are of one plane: alike in normal and offset, with cells of
    space in common. The largest first."""
    left = list(sheets)
    for _ in range(ROUNDS):
        before = len(left)
        kept: list[Sheet] = []
        for sheet in sorted(left, key=lambda s: (-s.weight, s.members)):
            same = next((other for other in kept if _same(other, sheet)), None)
            if same is None:
                kept.append(sheet)
            else:
                _join(same, sheet)
        left = kept
        if len(left) == before:
            break
    return left


def _sheets(view: Lifted, number: int) -> list[Sheet]:
    places = on_planes(view, view.planes, view.labels)
    unit, sheets = float(np.median(view.depth)), []
    for label, plane in enumerate(view.planes):
        mine = places[(view.labels == label) & np.isfinite(places[:, 0])]
        if len(mine):
            some = mine[:: -(-len(mine) // LOOKED_AT)]
            weight = float(len(mine))
            sheet = Sheet(plane.normal, plane.offset, weight, unit, some, [(number, label)])
            sheets.append(sheet)
    return sheets


def _same(first: Sheet, second: Sheet) -> bool:
    """Whether the second, which is no larger, is of the first one's plane."""
    if first.normal @ second.normal < np.cos(np.radians(TURN)):
        return False
    unit = min(first.unit, second.unit)
    away = np.abs(second.places @ first.normal - first.offset)
    if np.median(away) > APART * unit:
        return False
    # Cells of places moved onto the first one's plane, whose distance is not to count.
    mine, other = (_cells(_onto(first, each.places), BLOCK * unit) for each in (first, second))
    return bool(np.isin(other, mine).mean() >= MEET)


def _onto(sheet: Sheet, places: Float64[ndarray, "m 3"]) -> Float64[ndarray, "m 3"]:
    return np.asarray(places - (places @ sheet.normal - sheet.offset)[:, None] * sheet.normal)


def _cells(places: Float64[ndarray, "m 3"], side: float) -> ndarray:
    """The cells of space that places lie in, each once."""
    cells = np.unique(np.rint(places / side).astype(np.int64), axis=0)
    return np.asarray((cells + 2**20) @ np.array([2**42, 2**21, 1]))


def _join(first: Sheet, second: Sheet) -> None:
    share = second.weight / (first.weight + second.weight)
    normal = (1 - share) * first.normal + share * second.normal
    first.normal = normal / np.linalg.norm(normal)
    first.places = np.concatenate([first.places, second.places])
    # The median leaves out photos whose depth is wrong.
    first.offset = float(np.median(first.places @ first.normal))
    first.weight += second.weight
    first.members += second.members


def _flat(views: Sequence[Lifted], sheets: Sequence[Sheet]) -> Placed:
    """Pixels of planes, each where its ray meets the plane of all photos."""
    of = {member: number for number, sheet in enumerate(sheets) for member in sheet.members}
    planes, parts = [sheet.plane() for sheet in sheets], []
    for i, view in enumerate(views):
        numbers = np.array([of.get((i, n), -1) for n in range(len(view.planes))] + [-1], np.int64)
        which = numbers[view.labels]
        places = on_planes(view, planes, which)
        good = np.isfinite(places[:, 0])
        size = view.depth[good] * view.spacing
        parts.append(Placed(places[good], view.colors[good], which[good], size))
    return joined_places(parts)


def _loose(views: Sequence[Lifted]) -> Placed:
    """Places of the pixels of no plane."""
    parts = []
    for view in views:
        mine = view.labels < 0
        none = np.full(int(mine.sum()), -1, np.int64)
        size = view.depth[mine] * view.spacing
        parts.append(Placed(view.positions[mine], view.colors[mine], none, size))
    return joined_places(parts)


def _of_scene(points: Points) -> Placed:
    """Points of the scene as places, their sizes the distances to neighbours."""
    count = len(points.positions)
    size = neighbour_distances(points.positions).double().numpy()[:count]
    return Placed(
        points.positions.double().cpu().numpy(),
        points.colors.double().cpu().numpy(),
        np.full(count, -1, np.int64),
        size,
    )
