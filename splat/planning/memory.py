"""What a run takes of memory, part by part: its photos, and each of its Gaussians."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from splat.core.frame import shrunk
from splat.options import Options
from splat.photos.decoder import bytes_passing
from splat.photos.loader import AHEAD
from splat.photos.photo import reduction
from splat.photos.resolution import Sizes
from splat.system import machine
from splat.types import Camera, View

STATE_BYTES = 830
"""Of one Gaussian: parameters, gradients, two moments, statistics."""
HALF_MOMENTS_BYTES = 236
"""Of it what bfloat16 moments save."""
HALF_HARMONICS_BYTES = 96
"""Of it what bfloat16 harmonics save."""
OFFLOADED_BYTES = 664
"""Of it what is kept in the memory of the machine with --offload: moments and harmonics."""
DENSE_HARMONICS_BYTES = 170
"""What it takes more where gradients of harmonics are written out (CUDA)."""
SCRATCH_BYTES, EDIT_BYTES = 400, 2070
"""Of one Gaussian while a picture is drawn, and while a strategy chooses and moves rows on the CPU,
with what the allocator does not give back (75,000 growing to 91,000, and 150,000)."""
PIXEL_BYTES = 80
"""Of one pixel while a picture is drawn and measured."""
LIBRARY_BYTES = 320 << 20
"""What Python, torch and the libraries hold before a run where that cannot be measured: a torch
that knows CUDA holds 400 MB more."""
FINISH_BYTES, FINISH_ROW_BYTES = 220 << 20, 200
"""What is loaded at the end: LPIPS and what draws pictures; and of one Gaussian, the file and what
is read back of it. What training alone takes is free by then."""
HELD_OUT_SHARE = 8
"""Held-out photos, looked at seldom and in turn, may be kept in one part of so many beside the
cache."""
MANY_PIXELS = 4e9
"""Of all photos on disk, from which on JPEGs are decoded no larger than needed unasked: some 330
photos of 12 megapixels. By the scene alone: what a run makes must not depend on its machine."""


@dataclass(frozen=True)
class Photos:
    """What a run's photos take."""

    cameras: tuple[Camera, ...]
    """Of the views that train, at the size of training."""
    whole: int
    """Bytes of all of them decoded,"""
    everything: int
    """and with the largest of the smaller sizes, and those held out."""
    kept: int
    """Bytes of it in memory."""
    passing: int
    """Bytes on their way: decoded ahead, and what decoding takes while it goes on."""


def photos_of(
    views: Sequence[View],
    held_out: Sequence[View],
    options: Options,
    sizes: Sizes = Sizes(),  # noqa: B008
) -> Photos:
    """What photos take in a run of `options`, fitted ones."""
    assert options.cache is not None
    cameras = tuple(_small(view, options) for view in views)
    of_views = [_bytes(view, camera) for view, camera in zip(views, cameras, strict=True)]
    small = max((1 / factor**2 for factor in sizes.small), default=0.0)
    whole, aside = sum(of_views), sum(_bytes(view, _small(view, options)) for view in held_out)
    everything = whole + round(small * whole)
    kept = min(everything, options.cache)
    kept_aside = min(aside, options.cache // HELD_OUT_SHARE)
    ahead = (AHEAD + 1) * round((1 + small) * max(of_views)) if kept < everything else 0
    reduced = reduces(options, views)
    once = max(
        bytes_passing(view, reduction(view, c.width, c.height) if reduced else 1)
        for view, c in zip(views, cameras, strict=True)
    )
    apart = max((bytes_passing(view, 1) for view in held_out), default=0)
    return Photos(
        cameras=cameras,
        whole=whole,
        everything=everything + aside,
        kept=kept + kept_aside,
        passing=ahead + max(decoders() * once, apart),
    )


def reduces(options: Options, views: Iterable[View]) -> bool:
    """Whether the JPEGs of views that train are decoded no larger than needed."""
    if options.decoding != "auto":
        return options.decoding == "reduced"
    return sum(view.camera.width * view.camera.height for view in views) >= MANY_PIXELS


def decoders() -> int:
    """Threads that decode photos beside those that train."""
    return max(1, min(4, machine.cores() // 2))


def state_bytes(options: Options, device: torch.device) -> int:
    """Of one Gaussian, between two steps."""
    half = HALF_MOMENTS_BYTES if options.moments == "bfloat16" else 0
    half += HALF_HARMONICS_BYTES if options.harmonics == "bfloat16" else 0
    dense = DENSE_HARMONICS_BYTES if device.type == "cuda" else 0
    return STATE_BYTES - half + dense - offloaded_bytes(options)


def offloaded_bytes(options: Options) -> int:
    """Of one Gaussian, in the memory of the machine beside a GPU."""
    half = HALF_MOMENTS_BYTES if options.moments == "bfloat16" else 0
    return OFFLOADED_BYTES - half if options.offload else 0


def scratch_bytes(grows: bool, on_cpu: bool) -> int:
    """Of one Gaussian, while a run goes on in which rows come and go, or do not."""
    return EDIT_BYTES if grows and on_cpu else SCRATCH_BYTES


def ending_bytes(rows: int, area: int, on_cpu: bool, grows: bool = True) -> int:
    """What the end of a run takes beyond the scratch of so many Gaussians and a picture, which is
    free by then where it was in the memory of the machine; it makes room for what decoding took
    too."""
    taken = FINISH_BYTES + FINISH_ROW_BYTES * rows
    return taken - (scratch_bytes(grows, True) * rows + PIXEL_BYTES * area if on_cpu else 0)


def held() -> int:
    """Bytes that this process holds now."""
    return machine.held_memory() or LIBRARY_BYTES


def _small(view: View, options: Options) -> Camera:
    factor = 1.0 if options.downscale == "auto" else options.downscale
    return shrunk(view.camera, factor, options.max_side or None)


def _bytes(view: View, camera: Camera) -> int:
    return camera.width * camera.height * (3 + (view.mask is not None or view.lens is not None))
