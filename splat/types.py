"""The records that flow through one step: cameras, photographs, Gaussians, renderings.

Conventions, once for the whole project: world units; cameras look along +z with +x right and
+y down (OpenCV, COLMAP); `world_to_camera` maps column vectors; pixel (i, j) has its centre at
(j + 0.5, i + 0.5); quaternions are (w, x, y, z); images are RGB in [0, 1], rows first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from splat.math import ALWAYS, moment
from splat.scene import (
    Camera,
    Clip,
    Cut,
    DepthFile,
    Drawing,
    Frame,
    Lens,
    NormalFile,
    Points,
    SceneData,
    View,
)

__all__ = [
    "Batch",
    "Camera",
    "Clip",
    "Contributions",
    "Cut",
    "DepthFile",
    "Drawing",
    "Frame",
    "Gaussians",
    "Lens",
    "Motion",
    "Needs",
    "NormalFile",
    "PixelMap",
    "Points",
    "Rendered",
    "Renderer",
    "SceneData",
    "ScreenGradient",
    "Survey",
    "Surveyed",
    "View",
    "joined",
    "stacked_maps",
]


@dataclass(frozen=True)
class Batch:
    """One decoded photograph with its camera, on the training device."""

    camera: Camera
    """Where it was taken from, at the size of its pixels."""
    pixels: UInt8[Tensor, "h w 3"]
    """RGB, 0 to 255; what the loss compares with is `image`."""
    mask: UInt8[Tensor, "h w"] | None = None
    """1 where the pixel counts, 0 where it is ignored; None: all of them count."""
    name: str = ""
    """Name of the view."""
    shrink: float = 1.0
    """How many times smaller, along a side, than its view at full size. What is measured in pixels
    and compared with a number is multiplied by it first."""
    outline: UInt8[Tensor, "h w"] | None = None
    """How much of the pixel is of the object that the photo's alpha channel or mask tells from its
    background, 255: all; None where it has neither, or nobody asked (`Needs.outline`)."""
    depth: Float[Tensor, "h w"] | None = None
    """Depth that was given with the photo, 0 where it is not known: units of training where it is
    metric, else the numbers of the file; None where nothing was given, or nobody asked
    (`Needs.given_depth`)."""
    normal: Float[Tensor, "h w 3"] | None = None
    """Normals that were given, world axes, unit length, 0 where not known; None likewise
    (`Needs.given_normal`)."""

    def to(self, device: torch.device | str) -> Batch:
        """The batch with its tensors on `device`; from pinned memory nobody waits for the copy."""
        later = self.pixels.is_pinned() and torch.device(device).type == "cuda"
        mask, outline, depth, normal = (
            None if each is None else each.to(device, non_blocking=later)
            for each in (self.mask, self.outline, self.depth, self.normal)
        )
        return replace(
            self,
            camera=self.camera.to(device),
            pixels=self.pixels.to(device, non_blocking=later),
            mask=mask,
            outline=outline,
            depth=depth,
            normal=normal,
        )

    @property
    def image(self) -> Float[Tensor, "h w 3"]:
        """The photograph in [0, 1]."""
        return self.pixels.float().div_(255)


@dataclass(frozen=True)
class Motion:
    """When each Gaussian is there, and where it goes (FreeTimeGS, Wang et al. 2025).

    Times are parts of the clip, 0 to 1.
    """

    time: Float[Tensor, "n"]
    """When it is as opaque, and where, as its other values say."""
    duration: Float[Tensor, "n"]
    """Standard deviation of its opacity over time; from `splat.math.LASTING` on it is always there
    and stands still."""
    velocity: Float[Tensor, "n 3"]
    """World units per clip."""

    @staticmethod
    def none(means: Float[Tensor, "n 3"]) -> Motion:
        """That of Gaussians which are always there, and stand still."""
        ones = torch.ones_like(means[:, 0])
        return Motion(ones / 2, ones * ALWAYS, torch.zeros_like(means))


@dataclass(frozen=True)
class Gaussians:
    """A set ready to draw: every value is activated."""

    means: Float[Tensor, "n 3"]
    """Positions, world units."""
    quats: Float[Tensor, "n 4"]
    """(w, x, y, z), need not be unit."""
    scales: Float[Tensor, "n 3"]
    """Standard deviations along the rotated axes, world units."""
    opacities: Float[Tensor, "n"]
    """In [0, 1]."""
    colors: Float[Tensor, "n 3"] | Float[Tensor, "n k 3"]
    """RGB as drawn, or SH coefficients (RGB = max(0, 0.5 + sum of basis * coefficient))."""
    sh_degree: int | None = None
    """Bands in use, 0 to 3; None: `colors` is plain RGB. Coefficients beyond it are left unread."""
    source: Tensor | None = None
    """[n] int64: the slot each Gaussian came from (row = slot // model.slots). None: 0 .. n-1."""
    features: Float[Tensor, "n f"] | None = None
    """Extra channels, blended like colours and over zero."""
    motion: Motion | None = None
    """How it changes in time; None: not at all. What is drawn is the set at an instant (`at`)."""
    peaks: Float[Tensor, "n"] | None = None
    """Of a set at an instant the opacity of each at its own time; None: `opacities`."""

    def __len__(self) -> int:
        return len(self.means)

    def __repr__(self) -> str:
        degree = "RGB" if self.sh_degree is None else f"SH degree {self.sh_degree}"
        return f"Gaussians({len(self):,}, {degree}, {self.means.device})"

    def take(self, rows: Tensor) -> Gaussians:
        """Some of the Gaussians: by a mask, or by their numbers in the order wanted."""
        return self._each(lambda values: values[rows])

    def to(self, device: torch.device | str) -> Gaussians:
        """The same set on `device`."""
        return self._each(lambda values: values.to(device))

    def at(self, time: float) -> Gaussians:
        """The set as it is at an instant, 0 to 1 of the clip; a set that stands still is itself."""
        motion = self.motion
        if motion is None:
            return self
        means, opacities = moment(
            self.means, self.opacities, motion.time, motion.duration, motion.velocity, time
        )
        return replace(self, means=means, opacities=opacities, motion=None, peaks=self.opacities)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Gaussians:
        motion = self.motion
        return replace(
            self,
            means=change(self.means),
            quats=change(self.quats),
            scales=change(self.scales),
            opacities=change(self.opacities),
            colors=change(self.colors),
            source=None if self.source is None else change(self.source),
            features=None if self.features is None else change(self.features),
            motion=None
            if motion is None
            else Motion(change(motion.time), change(motion.duration), change(motion.velocity)),
            peaks=None if self.peaks is None else change(self.peaks),
        )


def joined(parts: Sequence[Gaussians]) -> Gaussians:
    """Sets with colours of one kind as one; of fields that not all have, only motion is kept, and
    of sets at an instant what they are at it."""

    def of(name: str) -> Tensor | None:
        values = [getattr(part, name) for part in parts]
        return None if any(each is None for each in values) else torch.cat(values)

    motion = None
    if any(part.motion is not None for part in parts):
        each = [part.motion or Motion.none(part.means) for part in parts]
        motion = Motion(
            torch.cat([m.time for m in each]),
            torch.cat([m.duration for m in each]),
            torch.cat([m.velocity for m in each]),
        )
    names = ("means", "quats", "scales", "opacities", "colors", "source", "features")
    columns: dict[str, Any] = {name: of(name) for name in names}
    return replace(parts[0], **columns, motion=motion, peaks=None)


@dataclass(frozen=True)
class Needs:
    """What a strategy or an objective asks of the renderer beyond the picture."""

    absolute_gradient: bool = False
    """Whether the sum over pixels of |d loss / d mean2d| (AbsGS) is kept beside the gradient."""
    depth: bool = False
    """Whether expected depth is rendered (`Rendered.depth`)."""
    normal: bool = False
    """Whether blended normals are rendered (`Rendered.normal`)."""
    outline: bool = False
    """Whether batches have the outlines of photos (`Batch.outline`)."""
    given_depth: bool = False
    """Whether batches have the depth that was given with photos (`Batch.depth`)."""
    given_normal: bool = False
    """Whether batches have the normals that were given with photos (`Batch.normal`)."""
    weights: tuple[PixelMap, ...] = ()
    """Maps for each of which backward gives every Gaussian's sum of map value times blending
    weight over the picture (`Rendered.weighted`); see `splat.core.maps`."""

    def __or__(self, other: Needs) -> Needs:
        if other is self or other == Needs():
            return self
        return Needs(
            self.absolute_gradient or other.absolute_gradient,
            self.depth or other.depth,
            self.normal or other.normal,
            self.outline or other.outline,
            self.given_depth or other.given_depth,
            self.given_normal or other.given_normal,
            tuple(dict.fromkeys(self.weights + other.weights)),
        )


class PixelMap(Protocol):
    """A weight for every pixel of a picture; equal maps are made once (a frozen dataclass)."""

    def __call__(self, rendered: Rendered, batch: Batch) -> Float[Tensor, "h w"]:
        """The map, detached, for a picture and its photograph."""
        ...


def stacked_maps(maps: Sequence[Float[Tensor, "h w"]]) -> Float[Tensor, "h w m"]:
    """Maps as one of several values a pixel; `torch.stack` takes ten times as long for it."""
    stacked = maps[0].new_empty(*maps[0].shape, len(maps))
    for k, each in enumerate(maps):
        stacked[..., k] = each
    return stacked


@dataclass
class ScreenGradient:
    """Filled by the renderer's backward: d loss / d mean2d, in pixels, and weighted sums."""

    signed: Float[Tensor, "n 2"] | None = None
    """d loss / d mean2d, pixels."""
    absolute: Float[Tensor, "n 2"] | None = None
    """The same with absolute values of the pixels' contributions summed, where asked for."""
    maps: tuple[PixelMap, ...] = ()
    """The maps that `pixels` holds, in their order."""
    pixels: Float[Tensor, "h w m"] | None = None
    """Maps, set before backward (`Rendered.weigh`), that blending weights are multiplied by."""
    sums: Float[Tensor, "n m"] | None = None
    """After backward: sum of pixels x blending weight over the picture."""
    told: Callable[[], None] | None = None
    """Called once backward has filled it."""


@dataclass(frozen=True)
class Contributions:
    """Contribution of each Gaussian (or row) to one picture, w = alpha T its blending weight.

    A pixel is hit where alpha is at least 1/255 and transmittance, after it, above the stop: what
    blending draws.
    """

    mass: Float[Tensor, "n"]
    """Sum of w over the pixels."""
    hits: Float[Tensor, "n"]
    """Number of pixels hit."""
    transmitted: Float[Tensor, "n"]
    """Sum of T, the transmittance before it, over the pixels hit."""
    most: Float[Tensor, "n"]
    """Largest w."""
    area: Float[Tensor, "n"]
    """Pixels in which no other has a larger w (of equals the nearest one)."""
    squared: Float[Tensor, "n"]
    """Sum over pixels and channels of (d colour / d G)^2, G = alpha / opacity being the projected
    Gaussian's value (Speedy-Splat, Hanson et al. 2025)."""
    weighted: Float[Tensor, "n m"]
    """Sum of w times each of the maps asked for."""


@dataclass(frozen=True)
class Rendered:
    """A picture, and what the renderer knows of each Gaussian in it."""

    image: Float[Tensor, "h w 3"]
    """RGB over the background, not clamped."""
    alpha: Float[Tensor, "h w"]
    """Share of each pixel that Gaussians cover."""
    radii: Float[Tensor, "n"]
    """Longer half extent on screen, pixels; 0 where not visible."""
    gaussians: Gaussians
    """What was drawn. Once a step is optimized its harmonics are on their way to the next one: who
    comes later, as `Strategy.refine` and watchers do, reads them from the cloud, which waits."""
    depth: Float[Tensor, "h w"] | None = None
    """Expected camera depth: blended z over alpha (0 where alpha is 0); present if asked for."""
    features: Float[Tensor, "h w f"] | None = None
    """Blended extra channels of the Gaussians, not divided by alpha."""
    normal: Float[Tensor, "h w 3"] | None = None
    """Blended normals (`splat.render.normals`), world axes, not divided by alpha and not of unit
    length; present if asked for."""
    gradient: ScreenGradient = field(default_factory=ScreenGradient)
    """What the backward pass tells of the rows (`screen_gradient`, `weighted`)."""

    @property
    def visible(self) -> Bool[Tensor, "n"]:
        """Projected inside the picture with a chance to reach a pixel."""
        return self.radii > 0

    def weigh(self, maps: Sequence[PixelMap], batch: Batch) -> None:
        """Have backward, which is still to come, compute `weighted` of these maps."""
        if maps:
            self.gradient.maps = tuple(maps)
            self.gradient.pixels = stacked_maps([each(self, batch) for each in maps])

    def weighted(self, map: PixelMap) -> Float[Tensor, "n"]:
        """After backward: each Gaussian's sum over pixels of map x blending weight.

        For every map of the run's `Needs.weights`. What is asked for changes no gradient.
        """
        if self.gradient.sums is None or map not in self.gradient.maps:
            raise RuntimeError(
                f"no sums of {map}: name it in Needs(weights=...) and read them after backward"
            )
        return self.gradient.sums[:, self.gradient.maps.index(map)]

    def screen_gradient(self, absolute: bool = False) -> Float[Tensor, "n 2"]:
        """d loss / d mean2d after backward, in units of half the picture (NDC, as INRIA's 2e-4).

        With `absolute`, the absolute values of the pixels' contributions are summed (needs
        `Needs.absolute_gradient`).
        """
        gradient = self.gradient.absolute if absolute else self.gradient.signed
        if gradient is None:
            raise RuntimeError(
                "no screen gradient yet: call it after backward"
                + (", and ask for Needs(absolute_gradient=True)" if absolute else "")
            )
        height, width = self.image.shape[:2]
        return gradient * _half_sides(width, height, gradient.dtype, gradient.device)


@lru_cache(maxsize=64)  # a copy to a GPU waits for all that it was asked for before
def _half_sides(
    width: int, height: int, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "2"]:
    return torch.tensor([width / 2, height / 2], dtype=dtype, device=device)


@dataclass(frozen=True)
class Surveyed:
    """A training view, its picture now, and the contribution of each row of the cloud to it."""

    batch: Batch
    """The photograph of the view."""
    rendered: Rendered
    """What is drawn there now."""
    rows: Contributions
    """What each row of the cloud contributes to it."""
    opaque: Float[Tensor, "n"] | None = None
    """Pixels that a row's Gaussians hit, each times the opacity that it is drawn with in this view;
    None: nobody asks."""


class Survey(Protocol):
    """Scores the rows of a run in one of its training views (`splat.core.score`)."""

    def __call__(self, index: int, maps: Sequence[PixelMap] = ()) -> Surveyed:
        """Training view `index`, at the size of the step's own picture."""
        ...


class Renderer(Protocol):
    """Draws Gaussians into a camera. One a run; it never changes its device on its own."""

    device: torch.device

    def __call__(
        self,
        gaussians: Gaussians,
        camera: Camera,
        needs: Needs = ...,
        background: Float[Tensor, "3"] | None = None,
    ) -> Rendered:
        """Draw a set, as it is at the camera's time; `background` None is black."""
        ...

    def survey(
        self,
        gaussians: Gaussians,
        camera: Camera,
        background: Float[Tensor, "3"] | None = None,
        weigh: Callable[[Rendered], Float[Tensor, "h w m"]] | None = None,
    ) -> tuple[Rendered, Contributions]:
        """Draw without gradients, and measure the contribution of each Gaussian.

        `weigh` makes of the picture the maps that `Contributions.weighted` is of.
        """
        ...
