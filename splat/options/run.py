"""How a scene is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from splat.options.exposure import Exposure
from splat.options.verbs import RendererName
from splat.photos.modes import DEFAULT_RESOLUTION, MaskMode, Resolution
from splat.system.colours import rgb
from splat.system.numbers import amount, hint, whole
from splat.system.ranges import above, at_least, check_fields, within

PLANES = Path("planes")
"""Value of `init` where a run starts from planes, not from a file."""
MOST_PSNR = 60.0
"""Largest PSNR of a photo of 8 bits, dB."""
FITTED = "fitted to the device"


@dataclass(frozen=True)
class Options:
    """How a scene is trained. What is not given is fitted to the device and said aloud."""

    steps: Annotated[int | None, at_least(1, default=FITTED)] = None
    """Steps to train for, one photo each; with --batch and of several processes (torchrun): photos
    in all."""
    batch: Annotated[int, at_least(1)] = 1
    """Photos that a step shows, one after the other, moved by the mean of their gradients: steps
    are so many times fewer. Memory is that of one picture."""
    shard: bool = False
    """Share the Gaussians out among the processes of a run (torchrun), in place of a copy of all in
    each: for more of them than one has room for. With mcmc, adc, mrnf, error and fixed."""
    minutes: Annotated[float | None, above(0, default="no limit")] = None
    """Minutes that training may take, decoding included; figures and files at the end come on top.
    A short run is timed, and the steps that fit are fixed, --steps or 30,000 at most, and said
    aloud: --steps with that number makes the same run, to the byte. Where they take longer than
    was predicted, the run ends when the minutes are over, after 300 steps at least."""
    psnr: Annotated[
        float | None, within(0, MOST_PSNR, low_open=True, default="none", note="dB, such as 28")
    ] = None
    """Training ends once the held-out photos are matched to so many dB. They are looked at every
    --eval-every steps, or 20 times a run."""
    patience: Annotated[int, at_least(0, default="0: any number")] = 0
    """Training ends once so many looks in a row at the held-out photos (where there are none, at
    photos it trains on) found no more than 0.05 dB over the best look before."""
    resolution: Annotated[
        Literal["auto", Resolution], hint(f"auto: {DEFAULT_RESOLUTION}, and full if published")
    ] = "auto"
    """Size of the pictures that train; the last steps and all figures are at full size.
    warm-up: the first tenth of the run at half; dash: the first half from an eighth up, by the
    spectra of the photos (DashGaussian)."""
    downscale: float | Literal["auto"] = "auto"
    """Shrink the photos this many times. auto: until they are at most --max-side large."""
    max_side: Annotated[int | None, hint(FITTED)] = None
    """Longest side of a photo to train with, pixels; 0: as it is."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. auto: on CUDA where everything for it is there, else on the CPU."""
    renderer: RendererName = "auto"
    """What draws. native, which auto takes: our own kernels; gsplat: that library, on CUDA only."""
    threads: Annotated[int | None, at_least(1, default="all cores")] = None
    """Threads on the CPU; results do not depend on it."""
    budget: Annotated[str | None, hint("none but the method's --cap")] = None
    """Most Gaussians, whatever the method: a number such as 200k, or the bytes of the file that
    they are exported to, such as 12MB. Of this and a method's --cap the lower one holds."""
    budget_of: str = ".ply"
    """Format of the file whose bytes --budget gives. Of a compressed one as many Gaussians are
    allowed as fit however badly they compress."""
    init: Annotated[Path | None, hint("the points of the scene")] = None
    """A .ply of points, or a file of Gaussians, to start from, in the frame of the scene. planes:
    flat Gaussians on the walls that depth and normal maps of the photos show."""
    crop: Annotated[tuple[float, float, float, float, float, float] | None, hint("all of it")] = (
        None
    )
    """Lowest and highest corner, X Y Z X Y Z, of a box in the coordinates of the scene. New
    Gaussians are born inside only; those outside explain the background, and no file holds them."""
    sky: str = "auto"
    """Points on a far shell behind all that is known, in the colours of the photos, to start from
    too: none, a number such as 20k, or auto: where much of what cameras look at has no points."""
    sh_degree: Annotated[int, within(0, 3)] = 3
    """Bands of spherical harmonics, 0 (colours look alike from everywhere) to 3."""
    background: str = "auto"
    """Colour behind everything: black, white or such as #8899aa. auto: black, but white for
    Blender's synthetic scenes."""
    mask_mode: MaskMode = "auto"
    """What is outside a mask: ignore (it does not count) or transparent (it is background).
    auto: masks are ignored, an alpha channel is transparent."""
    near: Annotated[float | None, above(0, default="0.01")] = None
    """Gaussians closer to a camera than this are not drawn while training, in units of the scene.
    Other programs draw from 0.01 on, and so are all figures and pictures: what gathers in front of
    a larger one is a haze there."""
    clear_air: bool = True
    """Keep the air free about cameras and between those side by side: no Gaussian in a ball of half
    the distance to the nearest points, nor reaching into it by three standard deviations."""
    dropout: Annotated[float, within(0, 1, high_open=True)] = 0.0
    """Share of the Gaussians, picked at random, that steps do without at the end of the run, none
    at its start (DropGaussian), such as 0.2: for a few photos. Pictures are nearer to truth in dB
    by it, and softer."""
    antialiased: bool = False
    """Dim what the low-pass filter widens (Mip-Splatting): for scenes seen from near and far."""
    smoothing: bool = False
    """Let no Gaussian be smaller than a pixel of the camera that sees it best can tell
    (Mip-Splatting): for scenes that are drawn larger, or from closer, than photos were taken."""
    exposure: Literal["auto", Exposure] = "auto"
    """What is learned of each photo's exposure and white balance, beside the scene. off; channel: a
    gain and a bias for each channel; affine: a matrix; grid: a bilateral grid, for photos that were
    brightened in parts. auto: channel where the photos differ, by the points that they share."""
    refine_poses: bool = False
    """Move each camera a little while training, rigidly: for poses that are not exact. Exact ones
    get worse by it."""
    adam: Literal["all", "visible"] = "all"
    """Gaussians that a step moves: all (those out of sight go on by their momentum), or those in
    sight only, which is faster where a photo shows a small part of a large scene."""
    moments: Literal["auto", "float32", "bfloat16"] = "auto"
    """What Adam's moments are kept as. bfloat16 saves a quarter of a Gaussian's memory. auto:
    float32, where --memory leaves room for it."""
    harmonics: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the harmonics of colours are kept as. bfloat16, which gsplat does not draw, saves an
    eighth of the memory of Gaussians. auto: float32, where --memory leaves room for it."""
    offload: bool = False
    """Keep Adam's moments and the harmonics of colours in the memory of the machine, and bring
    those of Gaussians in view to the GPU (CUDA, with --adam visible): for more Gaussians than it
    has room for."""
    harmonics_every: Annotated[int, at_least(1)] = 1
    """Steps between moves of the colours' dependence on the direction of view."""
    finish_for: Annotated[str | None, hint("none")] = None
    """Format that the run ends for, such as .spz: the last steps draw what would be read back from
    such a file, so that what is exported is what was trained."""
    finish_share: Annotated[float, within(0, 1, low_open=True)] = 0.2
    """Share of the steps, at the end, that draw as --finish-for asks."""
    finish_keep: Annotated[float, within(0, 1, low_open=True)] = 1.0
    """Share of the Gaussians that is kept when --finish-for begins: those that contribute most to
    the pictures. Below 1 no more are born then."""
    depth_weight: Annotated[float, at_least(0)] = 1.0
    """Weight in the loss of the depth maps that come with the photos, at the start; it falls to a
    hundredth over the run. 0: they are not used."""
    points_weight: Annotated[float | None, at_least(0, default="1, or 0 with --refine-poses")] = (
        None
    )
    """Weight in the loss of the depth between the points of the scene (those that structure from
    motion found), at the start; it falls to a hundredth over the run. It takes fog out of the air
    before plain backdrops. 0: it is not asked. Poses that are not exact put points elsewhere."""
    normal_weight: Annotated[float, at_least(0)] = 0.05
    """Weight in the loss of the normal maps that come with the photos, at the start; it falls to a
    hundredth over the run. 0: they are not used."""
    ssim_weight: Annotated[float, within(0, 1)] = 0.2
    """Share of SSIM in the loss, the rest is L1."""
    schedule: Literal["scaled", "published"] = "scaled"
    """scaled: step numbers published for 30,000 steps shrink with --steps; published: literal."""
    seed: Annotated[int, at_least(0)] = 0
    """Seed of all random numbers: another one gives another run of the same kind."""
    replay: Annotated[Path | None, hint("none")] = None
    """A run that was changed while it trained, or its log.jsonl: the same changes are made at the
    same steps."""
    cache: Annotated[int | None, at_least(0, default="a quarter of the free memory")] = None
    """Bytes that decoded photos may take, such as 2GB."""
    photo_cache: Annotated[int | None, at_least(0, default="20 GB, or half of the free disk")] = (
        None
    )
    """Bytes on disk that photos which --cache does not hold are kept in, decoded and shrunk, in
    the user's cache folder; 0: they are decoded anew each time. Results do not depend on it."""
    decoding: Literal["auto", "full", "reduced"] = "auto"
    """How JPEGs to train on are decoded. reduced: at a half, a quarter or an eighth of a side
    where that is enough, which takes less time and memory and changes pixels a little. auto:
    reduced from 4 billion pixels in all photos on, which are 330 photos of 12 megapixels."""
    memory: Annotated[int | None, at_least(1, default="what is free")] = None
    """Bytes of memory that the run may take at its peak, such as 6GB. The photo cache is made
    smaller for it, then moments become bfloat16, then fewer Gaussians are allowed; what is asked
    for by itself is kept."""

    def __post_init__(self) -> None:
        check_fields(self, as_options=True)
        if self.budget is not None:
            amount(self.budget)
        if self.crop is not None:
            # A run folder gives it as a list.
            object.__setattr__(self, "crop", tuple(self.crop))
            from splat.core.region import box_of  # torch's part, which help needs not

            box_of(self.crop)
        if self.sky not in ("auto", "none") and whole(self.sky) < 1:
            raise ValueError(
                f"sky is {self.sky}; expected auto, none or a number of points above 0"
            )
        if self.offload and self.adam != "visible":
            raise ValueError(
                "offload moves the Gaussians in sight only, and adam is all; add --adam visible"
            )
        if self.offload and self.finish_for is not None:
            raise ValueError(
                "finish-for rounds all Gaussians at every step, and offload keeps most of them from"
                " the GPU; leave one of the two out"
            )
        if self.downscale != "auto" and not 1 <= self.downscale < 1000:
            raise ValueError(f"downscale is {self.downscale:g}; expected auto, or 1 and more")
        if self.max_side is not None and self.max_side != 0 and self.max_side < 16:
            raise ValueError(f"max-side is {self.max_side}; expected 16 pixels or more, 0: as is")
        if self.finish_for is None and self.finish_keep < 1:
            raise ValueError(
                "finish-keep is given without --finish-for; say which format it is for, or prune"
                " with `+ significance`"
            )
        if self.background != "auto":
            rgb(self.background)
