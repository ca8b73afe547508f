"""Floaters: Gaussians in the free space before surfaces, found by what many views see there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.cleanup.free_space import places
from splat.kernels import one_torch_thread
from splat.photos.photo import averaged
from splat.scene import shrunk
from splat.system.ranges import at_least, check_fields, within
from splat.types import Batch, Camera, Gaussians, Needs, Rendered, Renderer

LEAST_SEEN = 0.5
"""Transmittance towards a row, summed over views, below which nothing is said of it."""

Develop = Callable[[Rendered, Camera], Rendered]
"""Makes of a picture what a photo from there would show of it."""


@dataclass(frozen=True)
class Rules:
    """What counts as a floater."""

    alone: Annotated[float, within(0, 1, low_open=True)] = 0.35
    """Share of the sight of a row that finds no surface at its depth from which on the row floats.
    """
    alone_unproved: Annotated[float, within(0, 1, low_open=True)] = 0.98
    """The same share where there are no photos that could speak for the row."""
    spared_by: Annotated[float, within(0, 1, low_open=True)] = 0.05
    """Share of the views, one at least, in which a row must bring pictures nearer to their photos
    to be spared; three times as many where it is near to a camera."""
    tolerance: Annotated[float, within(0, 1, low_open=True)] = 0.05
    """Share of a depth by which what is of one surface may differ."""
    side: Annotated[int, at_least(1)] = 240
    """Longest side of the pictures that are looked at, pixels."""
    rounds: Annotated[int, at_least(1)] = 2
    """How often views are surveyed, each time without what was found before: floaters hide
    floaters."""

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Verdict:
    """Which of n rows float, why, and how much of the pictures they are."""

    near: Bool[Tensor, "n"]
    """Nearer to a camera that draws them than anything is known to be."""
    free: Bool[Tensor, "n"]
    """In the free space before surfaces; excludes rows that are `near`."""
    mass: Float[Tensor, "n"]
    """Blending weight of every row, summed over the pixels of the views."""
    views: int
    """Number of views that were looked at."""

    @property
    def rows(self) -> Bool[Tensor, "n"]:
        """Rows that float, for either reason."""
        return self.near | self.free

    @property
    def share(self) -> float:
        """The floater score: percent of the blending weight in all views that is of floaters."""
        total = float(self.mass.sum())
        return 100 * float(self.mass[self.rows].sum()) / total if total > 0 else 0.0

    def at_most(self, count: int) -> Verdict:
        """The verdict on no more than so many rows: those of the largest blending weight."""
        rows = self.rows.nonzero().squeeze(1)
        first = rows[self.mass[rows].argsort(descending=True, stable=True)[:count]]
        kept = torch.zeros_like(self.near).index_fill_(0, first, True)
        return replace(self, near=self.near & kept, free=self.free & kept)


@torch.no_grad()
def floaters(
    gaussians: Gaussians,
    render: Renderer,
    views: Sequence[Camera] | Sequence[Batch],
    background: Float[Tensor, "3"] | None = None,
    rules: Rules = Rules(),
    develop: Develop | None = None,
) -> Verdict:
    """Look at a set from cameras, or with photos from those that took them, for what floats.

    A row floats where most of the sight that views have of its place finds, once the row itself is
    taken away, nothing at its depth. A surface has neighbours there; a blob before it has none.
    Photos may speak for a row: one that brings pictures nearer to them is spared, on the whole and
    in one view at least. Near to a camera three are asked: the one that it serves says nothing of
    whether it is there.
    """
    with one_torch_thread():
        return _found(gaussians, render, views, background, rules, develop)


def _found(
    gaussians: Gaussians,
    render: Renderer,
    views: Sequence[Camera] | Sequence[Batch],
    background: Float[Tensor, "3"] | None,
    rules: Rules,
    develop: Develop | None,
) -> Verdict:
    # A set that was offloaded stays where it is, and its rows are brought as they are drawn.
    n, device = len(gaussians), render.device
    near, free = torch.zeros(2, n, dtype=torch.bool, device=device)
    mass = torch.zeros(n, dtype=torch.float64, device=device)
    cameras = [_small(_camera(view), rules.side) for view in views]
    photos = [_smaller(view, rules.side) for view in views if isinstance(view, Batch)]
    alone = rules.alone if photos else rules.alone_unproved
    for turn in range(rules.rounds if cameras else 0):
        left = (~(near | free)).nonzero().squeeze(1)
        if not len(left):
            break
        part = gaussians.take(left.to(gaussians.means.device))
        seen_places = places(part, render, cameras, rules.tolerance)
        if turn == 0:
            mass = seen_places.mass
        gone = (seen_places.seen >= LEAST_SEEN) & (seen_places.alone >= alone)
        if photos and gone.any():
            helped = _helped(part, gone, render, photos, background, develop)
            fewest = max(int(rules.spared_by * len(photos)), 1)
            gone &= helped < seen_places.near.double().mul_(2 * fewest).add_(fewest)
        if not gone.any():
            break
        near[left[gone & seen_places.near]] = True
        free[left[gone & ~seen_places.near]] = True
    return Verdict(near, free, mass, len(cameras))


def _helped(
    gaussians: Gaussians,
    suspects: Bool[Tensor, "n"],
    render: Renderer,
    photos: Sequence[Batch],
    background: Float[Tensor, "3"] | None,
    develop: Develop | None,
) -> Float[Tensor, "n"]:
    """In how many photos each row brings the picture nearer; 0 where it does not on the whole.

    By the squared error of pictures without all suspects less that with them, pixel by pixel, in
    which rows have their part by their blending weight.
    """
    without = gaussians.take(~suspects.to(gaussians.means.device))
    gained, views = suspects.new_zeros(2, len(gaussians), dtype=torch.float64)

    def error(batch: Batch, rendered: Rendered) -> Float[Tensor, "h w"]:
        drawn = rendered if develop is None else develop(rendered, batch.camera)
        helped = (drawn.image.clamp(0, 1) - batch.image).square().mean(-1)
        return helped if batch.mask is None else helped.mul_(batch.mask != 0)

    def gain(batch: Batch, rendered: Rendered) -> Float[Tensor, "h w 1"]:
        bare = render(without, batch.camera, Needs(), background)
        helped: Tensor = error(batch, bare) - error(batch, rendered)
        return helped[..., None]

    for batch in photos:
        rows = render.survey(gaussians, batch.camera, background, partial(gain, batch))[1]
        gained += rows.weighted[:, 0]
        views += rows.weighted[:, 0] > 0
    helped: Tensor = views.where(gained > 0, 0)
    return helped


def _camera(view: Camera | Batch) -> Camera:
    return view.camera if isinstance(view, Batch) else view


def _small(camera: Camera, side: int) -> Camera:
    return shrunk(camera, max_side=side)


def _smaller(batch: Batch, side: int) -> Batch:
    """A photo at the size that is looked at."""
    camera = _small(batch.camera, side)
    if (camera.width, camera.height) == (batch.camera.width, batch.camera.height):
        return batch
    pixels, mask = averaged(
        batch.pixels.cpu().numpy(),
        None if batch.mask is None else batch.mask.cpu().numpy(),
        camera.width,
        camera.height,
    )
    counts = None if mask is None else torch.from_numpy(mask)
    return Batch(camera, torch.from_numpy(pixels), counts, batch.name).to(batch.pixels.device)
