"""What a run takes of memory, part by part: its photos, and each of its Gaussians."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from splat.options import Options
from splat.photos.bulk import AHEAD, bytes_passing, reduction
from splat.photos.resolution import Sizes
from splat.scene import Camera, View, shrunk
from splat.system import machine
from splat.system.devices import Device, torch_build

STATE_BYTES = 830
"""Bytes of one Gaussian: parameters, gradients, two moments, statistics."""
HALF_MOMENTS_BYTES = 236
"""Bytes of one Gaussian that bfloat16 moments save."""
HALF_HARMONICS_BYTES = 96
"""Bytes of one Gaussian that bfloat16 harmonics save."""
OFFLOADED_BYTES = 664
"""Bytes of one Gaussian in host memory with --offload: moments and harmonics."""
DENSE_HARMONICS_BYTES = 170
"""Further bytes of one Gaussian where gradients of harmonics are dense, which gsplat's are."""
SCRATCH_BYTES, EDIT_BYTES = 400, 2070
"""Bytes of one Gaussian while a picture is drawn, and while a strategy edits rows on the CPU,
with what the allocator does not give back (75,000 growing to 91,000, and 150,000)."""
PIXEL_BYTES = 80
"""Bytes of one pixel while a picture is drawn and measured."""
LIBRARY_BYTES = 291 << 20
"""Bytes of Python, torch and libraries before a run where that cannot be measured."""
CUDA_LIBRARY_BYTES = 400 << 20
"""Further bytes that a torch with CUDA holds."""
FINISH_BYTES, FINISH_ROW_BYTES = 220 << 20, 200
"""Bytes of what is loaded at the end, LPIPS and the drawing of figures; and of one Gaussian, the
file and what is read back of it. What training alone takes is free by then."""
HELD_OUT_SHARE = 8
"""Held-out photos, seldom shown, may take one part in so many of the cache, beside it."""
MANY_PIXELS = 4e9
"""Pixels of all photos from which JPEGs are decoded no larger than needed by default: some 330
photos of 12 megapixels. By the scene alone: what a run makes must not depend on its machine."""


@dataclass(frozen=True)
class Photos:
    """Memory of a run's photos."""

    cameras: tuple[Camera, ...]
    """Cameras of the views that train, at the size of training."""
    whole: int
    """Bytes of all training photos decoded."""
    everything: int
    """Bytes of `whole`, of the largest of the smaller sizes, and of those held out."""
    kept: int
    """Bytes of `everything` that are kept in memory."""
    passing: int
    """Bytes in flight: decoded ahead, and what decoding takes while it goes on."""


def photos_of(
    views: Sequence[View],
    held_out: Sequence[View],
    options: Options,
    sizes: Sizes = Sizes(),  # noqa: B008
) -> Photos:
    """Memory of photos in a run of `options`, fitted ones."""
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


def state_bytes(options: Options, device: Device) -> int:
    """Bytes of one Gaussian between two steps, on the device that trains."""
    dense = DENSE_HARMONICS_BYTES if device.type == "cuda" and options.renderer == "gsplat" else 0
    return STATE_BYTES - _halved(options) + dense - offloaded_bytes(options)


def offloaded_bytes(options: Options) -> int:
    """Bytes of one Gaussian in host memory, beside a GPU."""
    return OFFLOADED_BYTES - _halved(options) if options.offload else 0


def _halved(options: Options) -> int:
    """Bytes of one Gaussian that bfloat16 saves."""
    moments = HALF_MOMENTS_BYTES if options.moments == "bfloat16" else 0
    return moments + (HALF_HARMONICS_BYTES if options.harmonics == "bfloat16" else 0)


def scratch_bytes(grows: bool, on_cpu: bool) -> int:
    """Scratch bytes of one Gaussian during a step; `grows`: whether rows are added and pruned."""
    return EDIT_BYTES if grows and on_cpu else SCRATCH_BYTES


def ending_bytes(rows: int, area: int, on_cpu: bool, grows: bool = True) -> int:
    """Bytes of the end of a run beyond the scratch of so many Gaussians and a picture, which is
    free by then where it was in host memory, as is what decoding took."""
    taken = FINISH_BYTES + FINISH_ROW_BYTES * rows
    return taken - (scratch_bytes(grows, True) * rows + PIXEL_BYTES * area if on_cpu else 0)


def held(*, training: bool = False) -> int:
    """Bytes that this process holds now; `training`: that it will hold at least where it trains,
    which it may not have loaded torch for."""
    now = machine.held_memory() or LIBRARY_BYTES
    usual = LIBRARY_BYTES + (CUDA_LIBRARY_BYTES if torch_build().cuda else 0)
    return max(now, usual) if training else now


def _small(view: View, options: Options) -> Camera:
    factor = 1.0 if options.downscale == "auto" else options.downscale
    return shrunk(view.camera, factor, options.max_side or None)


def _bytes(view: View, camera: Camera) -> int:
    return camera.width * camera.height * (3 + (view.mask is not None or view.lens is not None))
