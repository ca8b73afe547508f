"""What a user may ask of a run. Each option is defined here once; the command line reads this."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from splat.core.region import box_of
from splat.photos.photo import MaskMode
from splat.photos.resolution import DEFAULT, Resolution
from splat.sensor.kinds import Exposure

Rgb = tuple[float, float, float]

COLORS: dict[str, Rgb] = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}
PLANES = Path("planes")
"""What `init` is where a run starts from planes, not from a file."""
MOST_PSNR = 60.0
"""dB beyond which no photo is matched: 8 bits end there."""
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


def hint(default: str) -> Any:
    """What the help says of a default that is not a value."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {default})")


_FITTED = hint("fitted to the device")


@dataclass(frozen=True)
class Reading:
    """How the folder of a scene is read."""

    images: Annotated[str | None, hint("the dataset's own")] = None
    """Folder of the photos within the scene, such as images_4."""
    masks: str = "auto"
    """auto: those of the dataset or in masks/; none; or the name of another folder."""
    eval: str = "auto"
    """Views held out to measure with. auto: the dataset's own split, or every 8th; N: every Nth;
    none; all: train and measure on all; or names: a text file, or a list with commas."""
    depths: str = "auto"
    """Depth maps to learn from, called as the photos (.png of 16 bits, .exr, .npy). auto: those in
    depths/; none; or the name of another folder."""
    normals: str = "auto"
    """Normal maps to learn from (.png, .npy). auto: those in normals/; none; or the name of another
    folder."""
    depth_kind: Literal["auto", "metric", "affine", "inverse"] = "auto"
    """What depth maps hold: depth in units of the poses; depth up to a factor and a summand for
    each photo; or one over depth up to these. auto: what depths.json says, else affine."""


@dataclass(frozen=True)
class Options:
    """How a scene is trained. What is not given is fitted to the device and said aloud."""

    steps: Annotated[int | None, _FITTED] = None
    """Steps to train for, one photo each; of several processes (torchrun): photos in all."""
    minutes: Annotated[float | None, hint("no limit")] = None
    """Minutes that training may take, decoding included; figures and files at the end come on top.
    A short run is timed, and the steps that fit are fixed, --steps or 30,000 at most, and said
    aloud: --steps with that number makes the same run, to the byte."""
    psnr: Annotated[float | None, hint("none")] = None
    """Training ends once the held-out photos are matched to so many dB. They are looked at every
    --eval-every steps, or 20 times a run."""
    patience: Annotated[int, hint("0: any number")] = 0
    """Training ends once so many looks in a row at the held-out photos (where there are none, at
    photos it trains on) found no more than 0.05 dB over the best look before."""
    resolution: Annotated[
        Literal["auto", Resolution], hint(f"auto: {DEFAULT}, and full if published")
    ] = "auto"
    """Size of the pictures that train; the last steps and all figures are at full size.
    warm-up: the first tenth of the run at half; dash: the first half from an eighth up, by the
    spectra of the photos (DashGaussian)."""
    downscale: float | Literal["auto"] = "auto"
    """Shrink the photos this many times. auto: until they are at most --max-side large."""
    max_side: Annotated[int | None, _FITTED] = None
    """Longest side of a photo to train with, pixels; 0: as it is."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train. auto: on CUDA where everything for it is there, else on the CPU."""
    threads: Annotated[int | None, hint("all cores")] = None
    """Threads on the CPU; results do not depend on it."""
    budget: Annotated[str | None, hint("none but the method's --cap")] = None
    """Most Gaussians, whatever the method: a number such as 200k, or the bytes of the file that
    they are exported to, such as 12MB. Of this and a method's --cap the lower one holds."""
    budget_of: str = ".ply"
    """Format of that file. Of a compressed one as many Gaussians are allowed as fit however badly
    they compress."""
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
    sh_degree: int = 3
    """Bands of spherical harmonics, 0 (colours look alike from everywhere) to 3."""
    background: str = "auto"
    """Colour behind everything: black, white or such as #8899aa. auto: black, but white for
    Blender's synthetic scenes."""
    mask_mode: MaskMode = "auto"
    """What is outside a mask: ignore (it does not count) or transparent (it is background).
    auto: masks are ignored, an alpha channel is transparent."""
    near: Annotated[float | None, hint("half the depth of the nearest points")] = None
    """Gaussians closer to a camera than this are not drawn, in units of the scene. Nothing real is
    there, and what would gather there is a haze from everywhere else."""
    antialiased: bool = False
    """Dim what the low-pass filter widens (Mip-Splatting): for scenes seen from near and far."""
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
    """What the harmonics of colours are kept as (CPU only). bfloat16 saves an eighth of the
    memory of Gaussians. auto: float32, where --memory leaves room for it."""
    offload: bool = False
    """Keep Adam's moments and the harmonics of colours in the memory of the machine, and bring
    those of Gaussians in view to the GPU (CUDA, with --adam visible): for more Gaussians than it
    has room for."""
    harmonics_every: int = 1
    """Steps between moves of the colours' dependence on the direction of view."""
    finish_for: Annotated[str | None, hint("none")] = None
    """Format that the run ends for, such as .spz: the last steps draw what would be read back from
    such a file, so that what is exported is what was trained."""
    finish_share: float = 0.2
    """Share of the steps that does so."""
    finish_keep: float = 1.0
    """Share of the Gaussians that is kept when it begins: those that matter most to the pictures.
    Below 1 no more are born then."""
    depth_weight: float = 1.0
    """Of the depth maps that come with the photos, in the loss, at first; it falls to a hundredth
    over the run. 0: they are not looked at."""
    normal_weight: float = 0.05
    """Of the normal maps, likewise."""
    ssim_weight: float = 0.2
    """Share of SSIM in the loss, the rest is L1."""
    schedule: Literal["scaled", "published"] = "scaled"
    """scaled: step numbers published for 30,000 steps shrink with --steps; published: literal."""
    seed: int = 0
    """Draws another run of the same kind."""
    replay: Annotated[Path | None, hint("none")] = None
    """A run that was changed while it trained, or its log.jsonl: the same changes are made at the
    same steps."""
    cache: Annotated[int | None, hint("a quarter of the free memory")] = None
    """Bytes that decoded photos may take, such as 2GB."""
    photo_cache: Annotated[int | None, hint("20 GB, or half of the free disk")] = None
    """Bytes on disk that photos which --cache does not hold are kept in, decoded and shrunk, in
    the user's cache folder; 0: they are decoded anew each time. Results do not depend on it."""
    decoding: Literal["auto", "full", "reduced"] = "auto"
    """How JPEGs to train on are decoded. reduced: at a half, a quarter or an eighth of a side
    where that is enough, which takes less time and memory and changes pixels a little. auto:
    reduced from 4 billion pixels in all photos on, which are 330 photos of 12 megapixels."""
    memory: Annotated[int | None, hint("what is free")] = None
    """Bytes of memory that the run may take at its peak, such as 6GB. The photo cache is made
    smaller for it, then moments become bfloat16, then fewer Gaussians are allowed; what is asked
    for by itself is kept."""

    def __post_init__(self) -> None:
        _least("steps", self.steps, 1)
        _least("patience", self.patience, 0)
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise ValueError(f"minutes is {self.minutes:g}; expected a time above 0")
        if self.psnr is not None and not 0 < self.psnr <= MOST_PSNR:
            raise ValueError(
                f"psnr is {self.psnr:g}; expected dB above 0 and up to {MOST_PSNR:g}, such as 28"
            )
        if self.budget is not None:
            amount(self.budget)
        if self.crop is not None:
            # A run folder gives it as a list.
            object.__setattr__(self, "crop", tuple(self.crop))
            box_of(self.crop)
        if self.sky not in ("auto", "none") and whole(self.sky) < 1:
            raise ValueError(
                f"sky is {self.sky}; expected auto, none or a number of points above 0"
            )
        _least("threads", self.threads, 1)
        _least("cache", self.cache, 0)
        _least("photo-cache", self.photo_cache, 0)
        _least("memory", self.memory, 1)
        _least("seed", self.seed, 0)
        _least("harmonics-every", self.harmonics_every, 1)
        _one_of("adam", self.adam, ("all", "visible"))
        if self.offload and self.adam != "visible":
            raise ValueError(
                "offload moves the Gaussians in sight only, and adam is all; add --adam visible"
            )
        if self.offload and self.finish_for is not None:
            raise ValueError(
                "finish-for rounds all Gaussians at every step, and offload keeps most of them from"
                " the GPU; leave one of the two out"
            )
        _one_of("harmonics", self.harmonics, ("auto", "float32", "bfloat16"))
        _one_of("exposure", self.exposure, ("auto", *get_args(Exposure)))
        _one_of("moments", self.moments, ("auto", "float32", "bfloat16"))
        _one_of("decoding", self.decoding, ("auto", "full", "reduced"))
        if self.downscale != "auto" and not 1 <= self.downscale < 1000:
            raise ValueError(f"downscale is {self.downscale:g}; expected auto, or 1 and more")
        if self.max_side is not None and self.max_side != 0 and self.max_side < 16:
            raise ValueError(f"max-side is {self.max_side}; expected 16 pixels or more, 0: as is")
        if self.sh_degree not in range(4):
            raise ValueError(f"sh-degree is {self.sh_degree}; expected 0, 1, 2 or 3")
        if self.near is not None and not 0 < self.near < math.inf:
            raise ValueError(f"near is {self.near:g}; expected a distance above 0")
        for name, share in (("share", self.finish_share), ("keep", self.finish_keep)):
            if not 0 < share <= 1:
                raise ValueError(f"finish-{name} is {share:g}; expected a share above 0, up to 1")
        if self.finish_for is None and self.finish_keep < 1:
            raise ValueError(
                "finish-keep is given without --finish-for; say which format it is for, or prune"
                " with `+ significance`"
            )
        for name, weight in (("depth", self.depth_weight), ("normal", self.normal_weight)):
            if not 0 <= weight < math.inf:
                raise ValueError(f"{name}-weight is {weight:g}; expected 0 or more")
        if not 0 <= self.ssim_weight <= 1:
            raise ValueError(f"ssim-weight is {self.ssim_weight:g}; expected a share from 0 to 1")
        if self.background != "auto":
            rgb(self.background)


@dataclass(frozen=True)
class Watching:
    """What is looked at and kept while a run goes on."""

    checkpoint_every: int = 1000
    """Steps between checkpoints; there is one each minute too, and one at the end."""
    keep: int = 3
    """Last checkpoints to keep."""
    eval_every: int = 0
    """Steps between measurements on the held-out views; 0: at the end only."""
    pictures: bool = True
    """Draw a contact sheet and the curves of the run at its end."""
    tensorboard: bool = False
    """Write TensorBoard's event files into the run folder as well."""
    quiet: bool = False
    """Say nothing but warnings and the result."""

    def __post_init__(self) -> None:
        _least("checkpoint-every", self.checkpoint_every, 1)
        _least("keep", self.keep, 1)
        _least("eval-every", self.eval_every, 0)


@dataclass(frozen=True)
class Viewing:
    """The live viewer: a page on which a run is watched, steered and exported."""

    viewer: Annotated[bool, hint("on a terminal, where it is installed")] = False
    """Serve it while the run trains, and afterwards as long as a browser is there (until Ctrl-C
    where --viewer is given). Results do not depend on it."""
    host: str = "localhost"
    """Address that it listens on. Any but this machine's own is open to the network, and then asks
    for a token."""
    port: int = 8080
    """Port of it; the next free one if it is taken."""
    token: Annotated[str | None, hint("made where one is needed")] = None
    """What a browser must know to be let in."""
    viewer_share: float = 0.1
    """Most of training's time that pictures take while somebody moves; less while nobody does."""
    snapshots: int = 40
    """Snapshots of the run to scrub through, kept in its folder."""
    stay: bool = False
    """Serve the finished run until Ctrl-C, whether or not a browser is there."""

    def __post_init__(self) -> None:
        if not 0 < self.viewer_share < 1:
            raise ValueError(
                f"viewer-share is {self.viewer_share:g}; expected a share above 0 and below 1"
            )
        _least("snapshots", self.snapshots, 0)


def rgb(name: str) -> Rgb:
    """A colour in [0, 1] from its name or its six hexadecimal digits."""
    if name in COLORS:
        return COLORS[name]
    if re.fullmatch(r"#[0-9a-fA-F]{6}", name):
        red, green, blue = (int(name[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return red, green, blue
    raise ValueError(f"background is {name!r}; expected auto, {', '.join(COLORS)} or #rrggbb")


def hexadecimal(color: Sequence[float]) -> str:
    """A colour in [0, 1] as `rgb` reads it."""
    return "#" + "".join(f"{round(255 * value):02x}" for value in color)


def whole(text: str) -> int:
    """An integer as people write it: 7000, 7_000, 200k, 1.5M, and for bytes 512MB, 2GB, 1GiB."""
    match = re.fullmatch(
        r"([-+]?[0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]+)?)([kmg]?)(i?b)?", text.lower()
    )
    if match is None:
        raise ValueError(f"{text!r} is no whole number; expected such as 7000, 200k, 1.5M or 2GB")
    digits, letter, unit = match.groups()
    factor = _FACTORS[letter]
    if unit == "ib":
        factor = 1024 ** list(_FACTORS).index(letter)
    value = float(digits.replace("_", "").replace(",", "")) * factor
    if abs(value - round(value)) > 1e-6 * max(1.0, abs(value)):
        raise ValueError(f"{text!r} is no whole number; expected such as 7000, 200k, 1.5M or 2GB")
    return round(value)


def amount(text: str) -> tuple[int, bool]:
    """A budget of Gaussians or, True, of bytes: 200k, or 12MB."""
    found = whole(text)
    if found < 1:
        raise ValueError(f"budget is {text!r}; expected at least 1 Gaussian, such as 200k or 12MB")
    return found, text.lower().endswith("b")


def _least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise ValueError(f"{name} is {value}; expected {least} or more")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """The command line checks this too; in Python another word would count as the default."""
    if value not in allowed:
        *others, last = allowed
        raise ValueError(f"{name} is {value!r}; expected {', '.join(others)} or {last}")
