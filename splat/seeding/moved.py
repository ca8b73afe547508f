"""Points of what moves fast, with times and velocities, from photos of cameras that stand still.

What a camera shows at most times stands still; pixels that differ from it show what moves, or what
it has gone from. A point that moves lies on such pixels of most photos of its instant, which are
alike there. What small things did between the few instants that a scene has points of nobody says
otherwise: rows that are there for long and stand still are wrong at nearly all of them, and fade.

A velocity is known where points are met at the instants before and after: all neighbours have then
gone the same way, to points of their colours. This tells things from the places they have left,
through which one sees what is behind: these do not go anywhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from splat.core.frame import focus_point, shown_pixels
from splat.math import spread
from splat.photos.loader import Loader
from splat.scene import standing_alike
from splat.types import Camera, Points

DIFFERS = 0.1
"""Difference of a channel from what the camera shows at most times, from which a pixel moves."""
SIDE = 256
"""Longer side of the photos as they are looked at."""
MOST_INSTANTS, MOST_CAMERAS = 48, 24
"""Instants and cameras that are looked at at most, evenly spread."""
LEAST_INSTANTS, LEAST_CAMERAS = 5, 4
"""Photos that a camera must have taken, and cameras that must have seen an instant."""
DRAWN, ROUNDS = 16_384, 2
"""Points drawn at an instant, on rays of pixels that move; and how often as many are drawn about
those that were found."""
NEAREST, FARTHEST = 0.2, 2.5
"""Depths between which they are drawn, in distances to what cameras look at together."""
CELL = 0.01
"""Side of cells of which one point each is kept, in such distances, and how far about others points
are drawn."""
MOST_POINTS = 2_000
"""Points of an instant at most."""
SEEN_SHARE = 0.5
"""Share of the cameras that must see a point."""
ALIKE, ALIKE_SHARE, LEAST_ALIKE = 0.15, 0.6, 3
"""Difference of a channel from the median of the photos up to which they are alike; the share of
those that see a point that must move and be alike (others are hidden from it, or show the thing
where it usually is); and how many must be."""
BESIDE = 1
"""How far from a pixel that moves those are that may move, too, in pixels of small photos."""
NEIGHBOURS, CANDIDATES = 8, 8
"""Points that are taken to go the same way, and ways that are tried for each by each measure."""
MEASURES = (0.5, 4.0)
"""Units of the scene that a whole difference of colour counts as: ways lead to points that are
near, or of the same colour. The first is also what misses are measured by."""
FITS, MISSED = 1.5, 0.5
"""Miss that counts in full, in distances between neighbours, and the mean of the squared misses,
in such, above which a way is none."""
BENT = 0.75
"""Most that the way from the instant before and that to the next differ, in their mean."""
LEAST_WAY = 8
"""Cells that what is fast goes through at least while a row is there."""

_OF_POINTS = ("positions", "colors")


@dataclass(frozen=True)
class _Look:
    """What a camera shows at an instant, small."""

    index: int
    """Number of the view."""
    camera: Camera
    colors: Float[Tensor, "h w 3"]
    moves: Float[Tensor, "h w"]
    """Squared difference from what it shows at most times; 0 where nothing moves."""


def moving_points(
    photos: Loader, count: int, within: float, generator: torch.Generator
) -> Points | None:
    """At most `count` points of what goes far in a time `within`, in clips: with times and
    velocities, in the frame of the loader's cameras. None where too few cameras stand still, or
    nothing is so fast."""
    found: list[Points] = []
    far = 0.0
    for time, seen in sorted(_looks(photos).items()):
        points = _carved(seen, generator)
        found.append(replace(points, times=torch.full((len(points.positions),), time)))
        far = max(far, LEAST_WAY * CELL * _distance(seen))
    known = velocities(found)
    fast = (known.norm(dim=1) * within > far).nonzero().squeeze(1)
    if not len(fast):
        return None
    if len(fast) > count:
        fast = fast[torch.randperm(len(fast), generator=generator)[:count].sort().values]
    times = torch.cat([each.times for each in found if each.times is not None])
    positions, colors = (torch.cat([getattr(each, n) for each in found]) for n in _OF_POINTS)
    return Points(positions, colors, times, known).take(fast)


def with_what_moves(photos: Loader) -> tuple[Camera, ...]:
    """The loader's cameras, which know what moves in their photos (`Camera.moves`) where they stand
    still and enough others saw the instant."""
    cameras = list(photos.cameras)
    for seen in _looks(photos).values():
        for look in seen:
            beside = max_pool2d(look.moves[None], 2 * BESIDE + 1, 1, BESIDE)[0]
            cameras[look.index] = replace(cameras[look.index], moves=beside > 0)
    return tuple(cameras)


def _looks(photos: Loader) -> dict[float, list[_Look]]:
    """By time what each camera shows, of instants that enough cameras saw."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, stand in enumerate(standing_alike(photos.cameras)):
        groups[stand].append(index)
    taken = [group for group in groups.values() if len(group) >= LEAST_INSTANTS]
    taken = [taken[i] for i in spread(len(taken), MOST_CAMERAS)]
    by_time: dict[float, int] = defaultdict(int)
    for group in taken:
        for index in group:
            by_time[photos.cameras[index].time] += 1
    times = sorted(time for time, cameras in by_time.items() if cameras >= LEAST_CAMERAS)
    chosen = {times[i] for i in spread(len(times), MOST_INSTANTS)}
    looks: dict[float, list[_Look]] = defaultdict(list)
    for group in taken:
        shown = [(photos.cameras[i].time, i) for i in group if photos.cameras[i].time in chosen]
        if len(shown) < LEAST_INSTANTS:
            continue
        small = [_small(photos, index) for _, index in sorted(shown)]
        median = torch.stack([colors for _, colors in small]).median(0).values
        for (time, index), (camera, colors) in zip(sorted(shown), small, strict=True):
            apart = (colors - median).abs().amax(2)
            moves = apart.square().where(apart > DIFFERS, 0)
            looks[time].append(_Look(index, camera, colors, moves))
    return {time: seen for time, seen in looks.items() if len(seen) >= LEAST_CAMERAS}


def _small(photos: Loader, index: int) -> tuple[Camera, Float[Tensor, "h w 3"]]:
    batch = photos.batch(index).to("cpu")
    camera, image = batch.camera, batch.image.float()
    factor = SIDE / max(camera.width, camera.height)
    if factor < 1:
        width, height = (max(1, round(factor * side)) for side in (camera.width, camera.height))
        whole = image.permute(2, 0, 1)[None]
        image = interpolate(whole, (height, width), mode="area")[0].permute(1, 2, 0)
        camera = camera.resized(width, height)
    return camera, image


def _carved(looks: Sequence[_Look], generator: torch.Generator) -> Points:
    """Points of an instant that move and are alike in most of its photos."""
    side = CELL * _distance(looks)
    found = [_agreed(_drawn(looks, generator), looks)]
    for _ in range(ROUNDS):
        known = found[-1].positions
        if not len(known):
            break
        rows = torch.randint(len(known), (DRAWN,), generator=generator)
        away = side * torch.randn(DRAWN, 3, generator=generator)
        found.append(_agreed(known[rows] + away, looks))
    positions, colors = (torch.cat([getattr(each, n) for each in found]) for n in _OF_POINTS)
    _, cell = (positions / side).floor().long().unique(dim=0, return_inverse=True)
    first = torch.full((int(cell.max()) + 1 if len(cell) else 0,), len(cell))
    first.scatter_reduce_(0, cell, torch.arange(len(cell)), "amin")
    first = first[torch.randperm(len(first), generator=generator)[:MOST_POINTS]]
    return Points(positions[first], colors[first])


def _agreed(positions: Float[Tensor, "n 3"], looks: Sequence[_Look]) -> Points:
    """Those of the points that move and are alike in most photos, in the median of their
    colours."""
    seen = torch.zeros(len(positions))
    colors = torch.full((len(looks), len(positions), 3), torch.nan)
    for look, shown in zip(looks, colors, strict=True):
        rows, place = shown_pixels(positions, look.camera)
        seen.index_add_(0, rows, torch.ones(len(rows)))
        moves = look.moves.reshape(-1)[place] > 0
        shown[rows[moves]] = look.colors.reshape(-1, 3)[place[moves]]
    median = colors.nanmedian(0).values
    alike = ((colors - median).abs().amax(2) <= ALIKE).sum(0)
    good = (seen >= SEEN_SHARE * len(looks)) & (alike >= ALIKE_SHARE * seen)
    good &= alike >= LEAST_ALIKE
    return Points(positions[good], median[good])


def _distance(looks: Sequence[_Look]) -> float:
    """From the cameras to what they look at together, the median."""
    focus = focus_point([look.camera for look in looks]).float()
    return float(torch.stack([(look.camera.centre - focus).norm() for look in looks]).median())


def _drawn(looks: Sequence[_Look], generator: torch.Generator) -> Float[Tensor, "n 3"]:
    """Points on rays of pixels that move, the more of them the more these differ."""
    focus = focus_point([look.camera for look in looks]).float()
    moves = torch.stack([look.moves.sum() for look in looks])
    counts = (DRAWN * moves / moves.sum().clamp_min(1e-9)).long().tolist()
    parts = [torch.zeros(0, 3)]
    for look, count in zip(looks, counts, strict=True):
        if not count:
            continue
        camera = look.camera
        places = torch.multinomial(look.moves.reshape(-1), count, True, generator=generator)
        x, y, part = torch.rand(3, count, generator=generator).unbind(0)
        far = float((camera.centre - focus).norm().clamp_min(1e-3))
        first, last = 1 / (NEAREST * far), 1 / (FARTHEST * far)
        depth = 1 / (part * (first - last) + last)
        x = (places % camera.width + x - camera.K[0, 2]) / camera.K[0, 0]
        y = (places // camera.width + y - camera.K[1, 2]) / camera.K[1, 1]
        local = torch.stack([x * depth, y * depth, depth], 1)
        pose = camera.world_to_camera
        parts.append((local - pose[:3, 3]) @ pose[:3, :3])
    return torch.cat(parts)


def velocities(instants: Sequence[Points]) -> Float[Tensor, "n 3"]:
    """Velocities of points of an instant each, ordered by time, of one instant after the other; per
    clip, NaN where none is found: at the first and the last instant, too."""
    found = [torch.full_like(points.positions, torch.nan) for points in instants]
    for k in range(1, len(instants) - 1):
        before, here, after = instants[k - 1 : k + 2]
        if not all(len(each.positions) for each in (before, here, after)):
            continue
        since, until = _between(before, here), _between(here, after)
        last, next_ = -_ways(here, before) / since, _ways(here, after) / until
        # Each is of half-way to the other instant: the slope here of a parabola through all three.
        mean = (until * last + since * next_) / (since + until)
        straight = (last - next_).norm(dim=1) <= BENT * mean.norm(dim=1)
        found[k] = mean.where(straight[:, None], torch.nan)
    return torch.cat(found) if found else torch.zeros(0, 3)


def _between(here: Points, there: Points) -> float:
    assert here.times is not None and there.times is not None
    return float(there.times[0] - here.times[0])


def _ways(here: Points, there: Points) -> Float[Tensor, "n 3"]:
    """Where each point has gone by another instant: of the ways to points there the one that brings
    its neighbours, too, to points of their colours; NaN: none does."""
    near, far = (_measured(points, MEASURES[0]) for points in (here, there))
    apart, beside = _nearest(near, near, NEIGHBOURS + 1)
    reach = FITS * float(np.median(apart[:, -1]))
    ends = [
        _nearest(_measured(there, measure), _measured(here, measure), CANDIDATES)[1]
        for measure in MEASURES
    ]
    ways = far[np.concatenate(ends, 1), :3] - near[:, None, :3]
    moved = np.repeat(near[beside][:, None], ways.shape[1], axis=1)
    moved[..., :3] += ways[:, :, None]
    missed = _nearest(far, moved.reshape(-1, 6), 1, reach)[0].reshape(moved.shape[:3])
    cost = np.square(np.minimum(missed / reach, 1)).mean(2)
    best = cost.argmin(1)[:, None]
    chosen = np.take_along_axis(ways, best[..., None], 1)[:, 0]
    chosen[cost.min(1) > MISSED] = np.nan
    return torch.from_numpy(chosen[beside]).nanmedian(1).values.float()


def _nearest(
    known: npt.NDArray[np.float64],
    asked: npt.NDArray[np.float64],
    count: int,
    within: float = np.inf,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Distances to the nearest known places, and their numbers: [n, count], or fewer."""
    ranks = [*range(1, min(count, len(known)) + 1)]
    apart, index = cKDTree(known).query(asked, k=ranks, distance_upper_bound=within)
    return apart, index


def _measured(points: Points, weight: float) -> npt.NDArray[np.float64]:
    """Places and colours in one space, [n, 6]."""
    both = torch.cat([points.positions, weight * points.colors], 1)
    measured: npt.NDArray[np.float64] = both.double().numpy()
    return measured
