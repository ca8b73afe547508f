"""A run within a memory budget: what is reduced for it, and in which order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from splat.options import Options
from splat.photos.resolution import Sizes
from splat.planning import memory, predict
from splat.planning.memory import (
    HELD_OUT_SHARE,
    PIXEL_BYTES,
    ending_bytes,
    offloaded_bytes,
    photos_of,
    scratch_bytes,
    state_bytes,
)
from splat.system.text import size
from splat.types import SceneData

LEAST_CACHE = 64 << 20
"""Bytes of the photo cache that are kept before anything else is reduced."""
LEAST_ROWS = 1000
"""Fewest Gaussians of a run."""
GRAIN = 64 << 20
"""Bytes to multiples of which memory of libraries is rounded up, so that runs are repeatable."""
LARGEST_SMALL = Sizes(1, ((0.0, 2**0.5), (0.5, 1.0)))
"""Smaller pictures of the largest size that a run may begin with."""
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class Wanted:
    """Number of Gaussians that a run wants, memory aside."""

    start: int
    """Number of Gaussians it starts from."""
    cap: int
    """Most Gaussians it may have; 0: any number."""
    grows: bool = True
    """Whether it may have more than at the start where nothing limits it."""
    cap_asked: bool = False
    """Whether somebody asked for the cap."""
    half_harmonics: bool = True
    """Whether its harmonics may be bfloat16."""


@dataclass(frozen=True)
class Ration:
    """Options and cap of a run within its memory budget."""

    options: Options
    """The options, with the chosen photo cache and data types."""
    cap: int
    """Most Gaussians; 0: as many as wanted."""
    text: str
    """The choice in words."""


def ration_memory(
    scene: SceneData,
    options: Options,
    device: torch.device,
    wanted: Wanted,
    libraries: int | None = None,
) -> Ration:
    """The options and the cap of a run within `options.memory` bytes of the machine's memory.

    The cache of photos shrinks first, down to 64 MiB; then moments, then harmonics become bfloat16,
    where that memory holds them; then fewer Gaussians are allowed. What was asked for by itself
    stays; what may grow without limit gets one. `libraries` is what they hold (None: measured).
    Raises ValueError, with what would be needed, where it does not fit.
    """
    assert options.memory is not None
    photos, on_cpu = (
        _Photos.of(scene, predict.with_device_defaults(options, device)),
        device.type == "cpu",
    )
    held = GRAIN * math.ceil((memory.held() if libraries is None else libraries) / GRAIN)
    left = options.memory - held - (PIXEL_BYTES * photos.area if on_cpu else 0)
    most = max(wanted.start, wanted.cap)
    grows = wanted.grows or wanted.cap > 0
    scratch = scratch_bytes(grows, on_cpu)
    endless = on_cpu and wanted.grows and not wanted.cap
    least = photos.within(options.cache, 0, ending_bytes(0, photos.area, on_cpu, grows))[1]
    for moments, harmonics in _kinds(options, wanted, on_cpu):
        chosen = replace(options, moments=moments, harmonics=harmonics)
        away = offloaded_bytes(chosen)
        row = state_bytes(chosen, device) + scratch if on_cpu else away
        rows = max(most, _rounded((left - least) // row)) if endless else most
        ending = ending_bytes(rows, photos.area, on_cpu, grows)
        cache, needed = photos.within(options.cache, left - row * rows, ending)
        if needed <= left - row * rows:
            return _chosen(chosen, cache, rows if endless else 0)
    asked = wanted.cap_asked and wanted.cap > 0
    rows = _rounded((left - least) // row) if row else 0
    if asked or rows < LEAST_ROWS:
        few = most if asked or not row else LEAST_ROWS
        raise ValueError(
            f"memory is {size(options.memory)}; {few:,} Gaussians on these photos take"
            f" {size(options.memory - left + least + row * few)} at least: give --memory that much,"
            " allow fewer with --cap, or shrink the photos with --max-side"
        )
    ending = ending_bytes(rows, photos.area, on_cpu, grows)
    return _chosen(chosen, photos.within(options.cache, left - row * rows, ending)[0], rows)


@dataclass(frozen=True)
class _Photos:
    """Memory of photos, with and without a cache."""

    area: int
    """Area of the largest picture, pixels."""
    all: int
    """Bytes of a cache that holds all of them."""
    kept: int
    """Bytes that are kept with that cache."""
    passing_kept: int
    """Bytes in flight with that cache."""
    passing: int
    """Bytes in flight where not all are cached."""
    share: float
    """Bytes in memory for one of the cache: held-out photos have a cache beside it."""

    @staticmethod
    def of(scene: SceneData, fitted: Options) -> _Photos:
        views, aside, none = scene.train, scene.test, replace(fitted, cache=0)
        alone = photos_of(views, (), none, LARGEST_SMALL)
        kept = photos_of(views, aside, replace(fitted, cache=_UNLIMITED), LARGEST_SMALL)
        return _Photos(
            area=max(camera.width * camera.height for camera in alone.cameras),
            all=max(alone.everything, HELD_OUT_SHARE * (kept.everything - alone.everything)),
            kept=kept.kept,
            passing_kept=kept.passing,
            passing=photos_of(views, aside, none, LARGEST_SMALL).passing,
            share=1 + 1 / HELD_OUT_SHARE if aside else 1.0,
        )

    def within(self, asked: int | None, left: int, ending: int) -> tuple[int, int]:
        """The cache for so many bytes, at least the least there is, and what photos then take.

        `ending` is what the end of the run takes in place of photos on their way.
        """
        taken = self.kept + max(self.passing_kept, ending)
        if taken <= left if asked is None else asked >= self.all:
            return self.all if asked is None else asked, taken
        passing = max(self.passing, ending)
        cache = max(int((left - passing) / self.share), min(LEAST_CACHE, self.all))
        cache = cache if asked is None else asked
        return cache, passing + math.ceil(cache * self.share)


def _kinds(options: Options, wanted: Wanted, on_cpu: bool) -> list[tuple[Any, Any]]:
    """Data types of moments and harmonics to try, those that take most memory first."""
    moments, harmonics = options.moments, options.harmonics
    first = ("float32" if moments == "auto" else moments, harmonics)
    kinds = [first]
    here = on_cpu or options.offload  # in the memory of the machine
    drawn = wanted.half_harmonics and options.renderer != "gsplat"
    if here and moments == "auto":
        kinds.append(("bfloat16", harmonics))
    if here and harmonics == "auto" and drawn and options.sh_degree:
        kinds.append((kinds[-1][0], "bfloat16"))
    return kinds


def _rounded(rows: int) -> int:
    """Two digits of a number, rounded down: what is measured of a machine is no finer."""
    if rows < 1:
        return 0
    step: int = 10 ** max(0, len(str(rows)) - 2)
    return rows // step * step


def _chosen(options: Options, cache: int, rows: int) -> Ration:
    assert options.memory is not None
    text = f"within {size(options.memory)}: {size(cache)} for the photo cache, moments are"
    text += f" {options.moments}"
    if options.harmonics == "bfloat16":
        text += ", harmonics too"
    if rows:
        text += f", at most {rows:,} Gaussians"
    return Ration(replace(options, cache=cache), rows, text)
