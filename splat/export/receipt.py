"""A file of Gaussians and its receipt: its weight, how it draws once read back, what it lost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from splat import formats
from splat.core.frame import gaussians_to_frame
from splat.evaluation.evaluate import HeldOutFitter, HeldOutView, psnr
from splat.formats.settings import Settings
from splat.lod.levels import Refine
from splat.system.text import size
from splat.types import Batch, Camera, Drawing, Frame, Gaussians, Needs, Renderer

CLOSEST = 100.0
"""dB from which two pictures count as equal."""


@dataclass(frozen=True)
class Receipt:
    """What was written, and how it looks when read back."""

    file: str
    bytes: int
    gaussians: int
    bytes_per_gaussian: float
    sh_degree: int
    frame: str
    """Which frame and axes the positions are in."""
    same_db: float | None
    """PSNR of pictures of the file against pictures of what was written, dB, at most 100; None
    without a camera to look from."""
    psnr_before: float | None
    """PSNR of what was written on the held-out photos, dB; None without photos. Of a run as it was
    trained, it is the run's own figure, measured in the same way."""
    psnr_after: float | None
    """PSNR of the file, read back, on the same photos, in the same way, dB; None without photos."""
    dropped: tuple[str, ...] = ()
    """What of the Gaussians the file does not hold, and why."""

    def text(self) -> str:
        """The receipt in a few lines."""
        first = (
            f"{self.file}: {self.gaussians:,} Gaussians, {size(self.bytes)}"
            f" ({self.bytes_per_gaussian:.1f} bytes each), {bands(self.sh_degree)}, {self.frame}"
            + fidelity_text(self.same_db, self.psnr_before, self.psnr_after)
        )
        return "\n".join([first, *(f"  left out: {what}" for what in self.dropped)])


@dataclass(frozen=True)
class ModelReceipt(ABC):
    """What was written of a model in a file of its own, and how it looks when read back."""

    file: str
    kind: str
    """coded, or plain: every number a float32."""
    bytes: int
    same_db: float | None
    """PSNR of pictures of the file against those of what was written, at most 100 dB."""
    psnr_before: float | None
    """dB of what was written on the held-out photos; None without photos."""
    psnr_after: float | None
    """dB of the file, read back, on the same photos."""

    @property
    @abstractmethod
    def contents(self) -> str:
        """What the file holds, and in how many bytes."""

    def text(self) -> str:
        """The receipt in a line."""
        fidelity = fidelity_text(self.same_db, self.psnr_before, self.psnr_after)
        return f"{self.file}: {self.contents}{fidelity}"


def fidelity_text(same_db: float | None, before: float | None, after: float | None) -> str:
    """How a file draws once it is read back, as a clause to follow others."""
    text = ""
    if same_db is not None:
        text += "; read back it draws the same"
        text += f" to {same_db:.1f} dB" if same_db < CLOSEST else ""
    if before is not None and after is not None:
        lost = round(after - before, 3) + 0.0  # which makes nothing of less than nothing
        text += f", held-out PSNR {before:.2f} -> {after:.2f} dB ({lost:+.3f})"
    return text


def export(
    gaussians: Gaussians,
    frame: Frame,
    path: Path,
    render: Renderer,
    batches: Iterable[Batch],
    background: Float[Tensor, "3"] | None,
    *,
    drawing: Drawing,
    settings: Settings = Settings(),  # noqa: B008
    photos: bool = True,
    whole: Gaussians | Callable[[Camera], Gaussians] | None = None,
    dropped: tuple[str, ...] = (),
    cameras: Sequence[Camera] = (),
    refine: Refine | None = None,
    fit: HeldOutFitter | None = None,
    weights: Float[Tensor, "n"] | None = None,
) -> Receipt:
    """Write a set trained in `frame`, read it back, and draw both in the cameras of `batches`.

    `photos` False: the batches' pixels are no truth to compare with. `whole` is what the file is
    compared with where the set is a part of it already, or stands for what a model makes for each
    camera, `dropped` what was taken away then. A page begins at the first of `cameras`, which are
    in the frame of the input. `refine` is what levels of detail become, `weights` how much of each
    row views see (`formats.write`). `fit` fits photos to the set before both are held against them,
    as where the run is measured.
    """
    whole = gaussians if whole is None else whole
    formats.write(gaussians, path, frame, drawing, settings, cameras, refine, weights)
    again = gaussians_to_frame(formats.read(path, settings), frame).to(render.device)
    trained = _fixed(whole) if isinstance(whole, Gaussians) else whole
    same_db, before, after = picture_psnrs(
        trained, _fixed(again), render, batches, background, photos=photos, fit=fit
    )
    return Receipt(
        file=str(path),
        bytes=formats.weight(path),
        gaussians=len(again),
        bytes_per_gaussian=formats.weight(path) / len(again),
        sh_degree=again.sh_degree or 0,
        frame=frame_text(path, settings),
        same_db=same_db,
        psnr_before=before,
        psnr_after=after,
        dropped=(*dropped, *lost_in_file(gaussians, again, drawing, path)),
    )


def _fixed(gaussians: Gaussians) -> Callable[[Camera], Gaussians]:
    return lambda camera: gaussians


@torch.no_grad()
def picture_psnrs(
    one: Callable[[Camera], Gaussians],
    other: Callable[[Camera], Gaussians],
    render: Renderer,
    batches: Iterable[Batch],
    background: Float[Tensor, "3"] | None,
    *,
    photos: bool,
    fit: HeldOutFitter | None = None,
) -> tuple[float | None, float | None, float | None]:
    """PSNR, dB, of the pictures of one set against those of another, and of each against the
    photos, which `fit` fits to the first.

    Means over the batches, none above 100 dB; None where there are none, or no photos.
    """
    same, before, after = [], [], []
    for batch in batches:
        view = HeldOutView(batch) if fit is None or not photos else fit(batch)
        camera = view.batch.camera
        first = render(one(camera), camera, Needs(), background)
        second = render(other(camera), camera, Needs(), background)
        same.append(min(CLOSEST, psnr(first.image, second.image)))
        if photos:
            before.append(min(CLOSEST, view.psnr(view.develop(first))))
            after.append(min(CLOSEST, view.psnr(view.develop(second))))
    return mean_or_none(same), mean_or_none(before), mean_or_none(after)


def lost_in_file(
    gaussians: Gaussians, again: Gaussians, drawing: Drawing, path: Path
) -> tuple[str, ...]:
    """What of a set and of how it is drawn a file does not hold, and why, a sentence each."""
    losses, suffix = [], formats.suffix_of(path)
    if rows := len(gaussians) - len(again):
        losses.append(f"{rows:,} Gaussians with NaN or infinite values")
    degree, kept = gaussians.sh_degree or 0, again.sh_degree or 0
    if kept < degree:
        losses.append(f"harmonics beyond {bands(kept)}: {suffix} has no place for them")
    file_drawing = formats.drawing(path)
    if drawing.antialiased and not file_drawing.antialiased:
        losses.append(f"that it was trained antialiased: {suffix} has no place for it")
    if drawing.near is not None and file_drawing.near is None:
        losses.append(
            f"that nothing nearer than {drawing.near:.3g} is drawn: {suffix} has no place for it"
        )
    return tuple(losses)


def frame_text(path: Path, settings: Settings) -> str:
    """Which frame and axes the positions of a file are in."""
    suffix = formats.suffix_of(path)
    if suffix == ".spz" and settings.spz_axes == "rub":
        return "in the frame of the photos' cameras, axes right-up-back"
    if suffix == ".glb":
        return "in the frame of the photos' cameras, turned to glTF's y up"
    return "in the frame of the photos' cameras"


def bands(degree: int) -> str:
    """A degree of harmonics in words."""
    return f"SH degree {degree}"


def mean_or_none(values: list[float]) -> float | None:
    """The mean; None where there are no values."""
    return sum(values) / len(values) if values else None


@torch.no_grad()
def draw(
    gaussians: Gaussians, camera: Camera, render: Renderer, background: Float[Tensor, "3"] | None
) -> Float[Tensor, "h w 3"]:
    """The picture of a set, RGB clamped to [0, 1]."""
    return render(gaussians, camera, Needs(), background).image.clamp(0, 1)
