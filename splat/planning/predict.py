"""Defaults that fit a device, and predicted time and memory of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from splat.options import Options
from splat.photos.modes import DEFAULT_RESOLUTION, Resolution
from splat.photos.resolution import Sizes
from splat.planning.ladder import rung_for, step_parts
from splat.planning.memory import (
    PIXEL_BYTES,
    ending_bytes,
    held,
    offloaded_bytes,
    photos_of,
    reduces,
    scratch_bytes,
    state_bytes,
)
from splat.planning.speed import remembered_factor
from splat.scene import View
from splat.system import machine
from splat.system.devices import Device
from splat.system.text import size

DECODE_SECONDS = 1.5e-8
"""Seconds of one core for a pixel of a photo on disk: decoding and shrinking."""

REDUCED_TIME, READ_TIME = 0.6, 0.03
"""Factors on it: decoding no larger than needed, and reading from the disk cache."""
MOST_CACHE, LEAST_CACHE = 4 << 30, 256 << 20
"""Largest and smallest photo cache by default, bytes."""
MOST_ON_DISK, DISK_SHARE = 20 << 30, 2
"""Largest disk cache by default, bytes, and the part of the free disk that it may take, 1/n."""
FIGURE_SECONDS, MEASURED_SECONDS = 5e-6, 3.0
"""Seconds of one core for a pixel of a held-out photo whose figures are taken at the end, as a run
and of its file, LPIPS with AlexNet; and for what the end takes besides, whatever is measured."""
POINTS_WEIGHT = 1.0
"""Weight of the depth between points where nobody gave one and poses are as given."""


def with_device_defaults(options: Options, device: Device) -> Options:
    """The options with all defaults that depend on the device filled in."""
    rung = rung_for(device)
    max_side = options.max_side
    if max_side is None:
        max_side = rung.max_side if options.downscale == "auto" else 0
    return replace(
        options,
        steps=options.steps or rung.steps,
        max_side=max_side,
        downscale=1.0 if options.downscale == "auto" else options.downscale,
        resolution=_resolution(options),
        points_weight=_points_weight(options),
        threads=options.threads or machine.cores(),
        cache=cache_bytes() if options.cache is None else options.cache,
        photo_cache=disk_bytes() if options.photo_cache is None else options.photo_cache,
    )


def cache_bytes() -> int:
    """A quarter of the memory that is free, within bounds."""
    memory = machine.memory()
    return min(MOST_CACHE, max(LEAST_CACHE, memory[1] // 4)) if memory else LEAST_CACHE * 4


def disk_bytes() -> int:
    """Default size of the disk cache, bytes: a share of what is free."""
    free = machine.disk_free(machine.user_cache())
    return 0 if free is None else min(MOST_ON_DISK, free // DISK_SHARE)


def _resolution(options: Options) -> Resolution:
    if options.resolution != "auto":
        return options.resolution
    return DEFAULT_RESOLUTION if options.schedule == "scaled" else "full"


def _points_weight(options: Options) -> float:
    if options.points_weight is not None:
        return options.points_weight
    return 0.0 if options.refine_poses else POINTS_WEIGHT  # refined poses put points elsewhere


@dataclass(frozen=True)
class Pace:
    """Measured factors on the constants of this file."""

    step: float = 1.0
    """Factor on the time of a step without its pixels."""
    pixels: float = 1.0
    """Factor on the time of a step's pixels."""
    decoding: float = 1.0
    """Factor on the time of decoding a photo."""
    spent: float = 0.0
    """Seconds that timing took."""


def remembered_pace(device: Device) -> Pace:
    """The pace of a machine on which no run was timed, by what `splat doctor` remembers."""
    factor = remembered_factor(device)
    return Pace(step=factor, pixels=factor)


@dataclass(frozen=True)
class Prediction:
    """Predicted time and memory of a run."""

    seconds: float
    """Seconds of training, with decoding; what was spent on timing is left out."""
    photos: int
    """Bytes of decoded photos that are kept."""
    photos_all: int
    """Bytes of all photos decoded."""
    passing: int
    """Bytes of photos in flight: decoded ahead, and what decoding takes while it goes on."""
    gaussians: int
    """Bytes of the Gaussians' state at their most."""
    scratch: int
    """Bytes of scratch while drawing."""
    libraries: int
    """Bytes of Python, torch and all else."""
    free: int | None
    """Bytes of memory free now on this machine."""
    on_cpu: bool
    """Whether training is on the CPU."""
    on_disk: bool = False
    """Whether photos that memory does not hold are kept on disk, decoded."""
    offloaded: int = 0
    """Bytes of offloaded Gaussians in host memory, beside a GPU."""
    ending: int = 0
    """Bytes that the end of the run takes beyond what training alone has let go by then."""
    ending_seconds: float = 0.0
    """Seconds after training: figures, the file and what is compared of it, pictures."""

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return self.host_alone + self.gaussians + self.scratch

    @property
    def host(self) -> int:
        """Bytes of it in the memory of the machine, not of the GPU."""
        return self.total if self.on_cpu else self.host_alone

    @property
    def host_alone(self) -> int:
        """Bytes that are never on a GPU."""
        return self.libraries + self.photos + self.passing + self.offloaded + self.ending

    def text(self) -> str:
        """The plan of memory in a sentence."""
        kept = size(self.photos)
        if self.photos < self.photos_all:
            rest = "kept on disk, decoded" if self.on_disk else "decoded anew each time"
            kept += f" of {size(self.photos_all)} (the rest is {rest})"
        free = "" if self.free is None else f"; {size(self.free)} are free"
        away = f" + offloaded {size(self.offloaded)}" if self.offloaded else ""
        figures = f" + figures at the end {size(self.ending)}" if self.ending else ""
        return (
            f"photos {kept} + decoding {size(self.passing)} + Gaussians {size(self.gaussians)}"
            f"{away} + scratch {size(self.scratch)} + libraries {size(self.libraries)}"
            f"{figures}"
            f" = about {size(self.total)}{free}"
        )


def mean_rows(start: int, cap: int) -> float:
    """Gaussians over a run, on average, from `start` to `cap` (0: unknown).

    Growth is over by the middle of a run and mostly done before.
    """
    return 0.2 * start + 0.8 * max(start, cap)


def predict(
    views: Sequence[View],
    options: Options,
    device: Device,
    start: int,
    cap: int,
    sizes: Sizes = Sizes(),  # noqa: B008
    pace: Pace | None = None,
    *,
    held_out: Sequence[View] = (),
    libraries: int | None = None,
    refined: int = 0,
    sharing: int = 1,
) -> Prediction:
    """Predicted time and memory of training, from `start` Gaussians to `cap` (0: unknown).

    `options` are those that `with_device_defaults` gave, `sizes` those of the run's pictures;
    `pace` says what is known of this machine and scene (None: what `splat doctor` remembers),
    `libraries` what it held before the run began (None: what it holds now); `refined` steps are
    taken after training, for the file. `sharing` processes share the Gaussians out: each holds as
    many times fewer, with their moments, and may draw all of them in a picture.
    """
    assert options.steps and options.threads
    photos = photos_of(views, held_out, options, sizes)
    areas = [camera.width * camera.height for camera in photos.cameras]
    most, rows = max(start, cap), mean_rows(start, cap)
    area = sizes.area * sum(areas) / len(areas)
    fixed, of_pixels = step_parts(device, area, rows, options.threads)
    pace = remembered_pace(device) if pace is None else pace
    step = pace.step * fixed + pace.pixels * of_pixels * options.batch
    decoding = pace.decoding * DECODE_SECONDS * sum(v.camera.width * v.camera.height for v in views)
    decoding *= REDUCED_TIME if reduces(options, views) else 1
    again = options.steps * options.batch / len(views) * (1 - min(1, photos.kept / photos.whole))
    on_disk = bool(options.photo_cache)
    memory, on_cpu = machine.memory(), device.type == "cpu"
    whole_step = pace.step * fixed + pace.pixels * of_pixels / sizes.area
    figures = FIGURE_SECONDS * len(held_out) * sum(areas) / len(areas) / options.threads
    return Prediction(
        seconds=options.steps * step + decoding * (1 + again * (READ_TIME if on_disk else 1)),
        photos=photos.kept,
        photos_all=photos.everything,
        passing=photos.passing,
        gaussians=state_bytes(options, device) * -(-most // sharing),
        offloaded=offloaded_bytes(options) * most,
        scratch=scratch_bytes(cap > 0, on_cpu) * most + PIXEL_BYTES * max(areas),
        libraries=held() if libraries is None else libraries,
        free=memory[1] if memory else None,
        on_cpu=on_cpu,
        on_disk=on_disk,
        ending=max(0, ending_bytes(most, max(areas), on_cpu, cap > 0) - photos.passing),
        ending_seconds=MEASURED_SECONDS + pace.pixels * figures + refined * whole_step,
    )
