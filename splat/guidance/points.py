"""`PointsDepth`: what is drawn, held against depth between the points of the scene itself.

Structure from motion leaves points on what it could match. Between three of them that are
neighbours in a photo and alike in depth there is a surface, and before it nothing: Gaussians that
hang there, as fog that explains plain backdrops, are drawn back to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int, Int64
from numpy import ndarray
from scipy.spatial import Delaunay, QhullError
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, max_pool2d

from splat.core.objective import Objective
from splat.core.step import Step
from splat.guidance.terms import GROSS, decayed, solid
from splat.math import spread
from splat.types import Batch, Camera, Needs, Points

SIDE = 96
"""Longest side of the grid in which depth between points is kept, cells."""
CELLS = 32
"""Cells along the longer side of a photo, in which nearer points hide farther ones."""
BESIDE = 0.25
"""Share of a photo's longer side, beyond its edges, within which points count too: without them
nothing is known along its edges, where few other photos tell what is near."""
BEHIND = 0.05
"""Relative depth behind the nearest point about it from which a point is hidden."""
SAME = 1e-4
"""Difference of times, in clips, within which they are one."""
KEYFRAMES = 4
"""Most times whose points must agree, evenly spread."""
AGREED = 1.05
"""Ratio of depths at several times up to which they agree."""
ALIKE = 1.15
"""Ratio of the depths of a triangle's corners up to which there is one surface between them."""
MOST = 20_000
"""Most points of the scene, evenly spread, that are looked at."""
NEAR_ENOUGH = 0.05
"""Natural logarithm of the ratio of depths below which both are taken for the same: what is flat
between points may be off by as much, as surfaces are not."""
TEXTURE = 0.02
"""Mean step of grey from pixel to pixel, of [0, 1], at which depth between points counts for 1/e:
where photos have texture they tell depth better themselves."""
EVERY = 8
"""Steps from one that is held against depth to the next, which counts as many times: to draw depth
takes a third of a step. After half of the run, when the weight is a tenth of what it was and
pictures are large, twice as many."""


@dataclass(frozen=True)
class PointsDepth(Objective):
    """weight * mean over cells of p g log(1 + e / g), g = GROSS; every `EVERY` steps, later more
    rarely, as many times that.

    e is what |log(drawn / known)| is more than `NEAR_ENOUGH`, p = exp(-t / `TEXTURE`) with t the
    mean step of grey in the cell of the photo: on plain walls it counts most, where nothing else
    tells fog from wall.

    Drawn is the expected depth where the picture is solid, known the depth between points: one over
    it is linear over triangles of points (Delaunay) that a photo shows. The weight falls to a
    hundredth over the run, as that of given depth does. Nothing is known in a view that shows fewer
    than four points.
    """

    weight: float
    steps: int
    """Steps of the run, over which the weight falls."""
    points: Points = field(compare=False, repr=False)
    """Points of the scene, frame of training. Where they have times, a view of one of these is held
    against its own, and any other where those of all times agree: where nothing moves."""
    known: dict[int, Float[Tensor, "r c"]] = field(default_factory=dict, compare=False, repr=False)
    """Depth by the number of the view, once it was shown."""
    agreed: dict[bytes, Float[Tensor, "r c"]] = field(
        default_factory=dict, compare=False, repr=False
    )
    """Depth on which points of all times agree, by where a camera stands."""
    needs = Needs(depth=True)

    def needs_at(self, step: int) -> Needs:
        return Needs() if step % self._every(step) else self.needs

    def _every(self, step: int) -> int:
        return EVERY if 2 * step < self.steps else 2 * EVERY

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        rendered, batch, camera = step.rendered, step.batch, step.batch.camera
        if step.number % (every := self._every(step.number)):
            return rendered.alpha.new_zeros(())
        if camera.index not in self.known:
            # By the pose that was given: refined ones depend on when this is made.
            given = step.views[camera.index].to("cpu").detached()
            self.known[camera.index] = self._known(given)
        known = self.known[camera.index].to(rendered.alpha)
        assert rendered.depth is not None
        pixels = _pixels(known, camera).to(known.device)
        target = known.flatten()
        drawn = rendered.depth.flatten().index_select(0, pixels)
        counts = solid(rendered, batch).flatten().index_select(0, pixels)
        counts = counts & (target > 0) & (drawn.detach() > 0)
        # 1 in place of what does not count, for a gradient of 0 times infinity is none.
        one = target.new_ones(())
        ratio = drawn.where(counts, one) / target.where(counts, one)
        off = (ratio.log().abs() - NEAR_ENOUGH).clamp_min(0)
        apart = plainness(batch, known.shape) * GROSS * torch.log1p(off / GROSS)
        weight = every * decayed(self.weight, step.number, self.steps)
        return weight * (apart * counts).mean()

    def _known(self, camera: Camera) -> Float[Tensor, "r c"]:
        times = self.points.times
        if times is None:
            return depth_between(camera, _some(self.points.positions.cpu()))
        frames = times[~times.isnan()].unique().tolist()
        # A time is written with seven digits or so.
        own = [frame for frame in frames if abs(frame - camera.time) < SAME]
        if own:
            return self._at(camera, own[0])
        place = camera.world_to_camera.double().numpy().tobytes() + camera.K.numpy().tobytes()
        if place not in self.agreed:  # a camera of a rig takes many views
            chosen = [frames[i] for i in spread(len(frames), KEYFRAMES)]
            seen = torch.stack([self._at(camera, frame) for frame in chosen] or [torch.zeros(1, 1)])
            least, most = seen.amin(0), seen.amax(0)
            self.agreed[place] = seen.mean(0).where(most <= AGREED * least, 0)
        return self.agreed[place]

    def _at(self, camera: Camera, frame: float) -> Float[Tensor, "r c"]:
        times = self.points.times
        assert times is not None
        there = (times == frame) | times.isnan()
        return depth_between(camera, _some(self.points.positions[there].cpu()))


@torch.no_grad()
def plainness(batch: Batch, grid: Sequence[int]) -> Float[Tensor, "r*c"]:
    """How little texture a photo has in each cell of a grid over it: 1 where it has none."""
    # In place and channel by channel: half of the time of what reads better.
    red, green, blue = batch.image.unbind(2)
    grey = (red + green + blue) / 3
    steps = torch.zeros_like(grey)
    torch.sub(grey[:, 1:], grey[:, :-1], out=steps[:, 1:]).abs_()
    steps[1:] += (grey[1:] - grey[:-1]).abs_()
    return (-adaptive_avg_pool2d(steps[None], (grid[0], grid[1])).flatten() / TEXTURE).exp()


def _some(positions: Float[Tensor, "n 3"]) -> Float[Tensor, "m 3"]:
    return positions[:: max(1, -(-len(positions) // MOST))]


def depth_between(camera: Camera, points: Float[Tensor, "n 3"]) -> Float[Tensor, "r c"]:
    """Depth (camera z) between the points that a camera sees, on a grid over its picture.

    0 where it is not known: beyond the points, and between those of different surfaces. Cells are
    as good as square, `SIDE` of them along the longer side. Of points that share a cell the first
    counts: more would make triangles that hold no middle, and those take most of the time.
    """
    scale = SIDE / max(camera.width, camera.height)
    columns, rows = (max(1, round(scale * side)) for side in (camera.width, camera.height))
    grid = np.zeros((rows, columns), np.float32)
    place, depth = _seen(camera, points)
    cells = (place * place.new_tensor([columns / camera.width, rows / camera.height])).numpy()
    first = np.unique(np.floor(cells).astype(np.int64) @ (1, 2 * SIDE), return_index=True)[1]
    _interpolate(grid, cells[first], depth.numpy()[first])
    return torch.from_numpy(grid)


def _seen(
    camera: Camera, points: Float[Tensor, "n 3"]
) -> tuple[Float[Tensor, "m 2"], Float[Tensor, "m"]]:
    """Pixels and depth of the points in a picture, and beside it (`BESIDE`), that no nearer ones
    hide; float64."""
    pose, K = camera.world_to_camera.double(), camera.K.double()
    x, y, z = (points.double() @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    z = z.where(z > 1e-6, torch.nan)
    place = torch.stack([K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]], 1)
    longer = max(camera.width, camera.height)
    size, beside = place.new_tensor([camera.width, camera.height]), BESIDE * longer
    inside = ((place >= -beside) & (place < size + beside)).all(1)
    place, z = place[inside], z[inside]
    wide = math.ceil((1 + 2 * BESIDE) * CELLS) + 1
    cell = ((place + beside) * (CELLS / longer)).long()
    index = cell[:, 1] * wide + cell[:, 0]
    front = z.new_full((wide**2,), torch.inf).scatter_reduce(0, index, z, "amin")
    about = -max_pool2d(-front.view(1, 1, wide, wide), 3, 1, 1)
    kept = z <= (1 + BEHIND) * about.flatten().index_select(0, index)
    return place[kept], z[kept]


def _interpolate(
    grid: Float32[ndarray, "r c"], where: Float64[ndarray, "m 2"], depth: Float64[ndarray, "m"]
) -> None:
    """Fill the cells whose middle lies in a triangle of points that are alike in depth.

    Triangles are looked up by the cells that they cover: to ask scipy in which of them a place lies
    has LAPACK invert a matrix for each, whose threads wait for one another on a busy machine.
    """
    try:
        corners = Delaunay(where).simplices
    except (QhullError, ValueError):  # too few points, or all of them in a line
        return
    depths = depth[corners]
    alike = depths.max(1) <= ALIKE * depths.min(1)
    triangles = where[corners[alike]]
    triangle, cell = _covered(triangles, grid.shape)
    a, b, c = triangles.transpose(1, 2, 0)
    whole = _cross(b - a, c - a)
    corner, to_b, to_c, whole = (each[..., triangle] for each in (a, b - a, c - a, whole))
    middle = np.stack([cell % grid.shape[1], cell // grid.shape[1]]) + 0.5
    with np.errstate(divide="ignore", invalid="ignore"):  # of flat triangles, which hold nothing
        second = _cross(middle - corner, to_c) / whole
        third = _cross(to_b, middle - corner) / whole
    shares = np.stack([1 - second - third, second, third], 1)
    inside = (shares >= 0).all(1)
    far = depths[alike][triangle[inside]]
    grid.flat[cell[inside]] = 1 / (shares[inside] / far).sum(1)


def _covered(
    triangles: Float64[ndarray, "t 3 2"], shape: Sequence[int]
) -> tuple[Int64[ndarray, "n"], Int64[ndarray, "n"]]:
    """Triangles and cells, numbered row by row, whose middles lie in the boxes around these."""
    most = np.array(shape)[::-1] - 1
    low = np.ceil(triangles.min(1) - 0.5).astype(np.int64).clip(0)
    high = np.minimum(np.floor(triangles.max(1) - 0.5).astype(np.int64), most)
    wide, tall = (high - low + 1).clip(0).T
    count = wide * tall
    triangle = np.repeat(np.arange(len(count)), count)
    place = np.arange(len(triangle)) - np.repeat(count.cumsum() - count, count)
    column = low[triangle, 0] + place % wide[triangle]
    return triangle, (low[triangle, 1] + place // wide[triangle]) * shape[1] + column


def _cross(a: Float64[ndarray, "2 n"], b: Float64[ndarray, "2 n"]) -> Float64[ndarray, "n"]:
    product: Float64[ndarray, "n"] = a[0] * b[1] - a[1] * b[0]
    return product


def _pixels(known: Float[Tensor, "r c"], camera: Camera) -> Int[Tensor, "r*c"]:
    """The pixel in the middle of each cell, numbered row by row."""
    rows, columns = known.shape
    v = ((torch.arange(rows) + 0.5) * camera.height / rows).long()
    u = ((torch.arange(columns) + 0.5) * camera.width / columns).long()
    return (v[:, None] * camera.width + u).flatten()
