"""PSNR, SSIM and LPIPS of what is drawn against photographs.

Figures are taken on floats clamped to [0, 1] without rounding to 8 bits, as the field does.
Pixels whose mask is 0 do not count: PSNR leaves them out; for SSIM and LPIPS they first take the
photograph's own values, and SSIM is averaged over the pixels that count, LPIPS over all.
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from splat.core.step import Step
from splat.evaluation.lpips import SMALLEST, Lpips, Net
from splat.parallel import ALONE, Ranks
from splat.types import Batch, Camera, Gaussians, Needs, Rendered, Renderer

WINDOW, DEVIATION = 11, 1.5
"""Side and standard deviation of SSIM's Gaussian window, pixels (Wang et al. 2004)."""
C1, C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class ViewMetrics:
    """The figures of one view."""

    name: str
    psnr: float
    """Peak signal-to-noise ratio, dB."""
    ssim: float
    lpips: float | None


@dataclass(frozen=True)
class Metrics:
    """The figures of a set of views: means over views, and each view's own."""

    psnr: float
    """Mean of the views' PSNR, dB; not the PSNR of their mean error."""
    ssim: float
    lpips: float | None
    lpips_net: Net | None
    """Network of LPIPS; figures of different networks do not compare."""
    lpips_missing: str
    """Why there is no LPIPS; empty where there is."""
    views: tuple[ViewMetrics, ...]
    protocol: str
    """Protocol: what was fitted of the photos before they were measured, and on which part."""
    psnr_unfitted: float | None
    """PSNR on whole photos taken as they are, dB; None where nothing is fitted."""
    seconds: float
    """Seconds of rendering, measuring and decoding together."""
    clip: dict[str, Any] | None = None
    """Of a scene that moves, what `metrics.json` holds of its clip."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: infinite PSNR (no error at all) is null there."""
        plain: dict[str, Any] = for_json(asdict(self))
        return plain


@dataclass(frozen=True)
class HeldOutView:
    """A photo, and how what is drawn is held against it: a run, its files and what others make of
    them are all measured so, and their figures compare."""

    batch: Batch
    """The photo, with the camera that it was found to be taken by."""
    first: int = 0
    """First column that is measured."""
    develop: Callable[[Rendered], Float[Tensor, "h w 3"]] = operator.attrgetter("image")
    """The picture in the exposure of the photo."""

    @torch.no_grad()
    def drawn(
        self,
        gaussians: Callable[[Camera], Gaussians],
        render: Renderer,
        background: Float[Tensor, "3"] | None,
    ) -> Float[Tensor, "h w 3"]:
        """The picture to hold against the photo, not clamped."""
        camera = self.batch.camera
        return self.develop(render(gaussians(camera), camera, Needs(), background))

    def part(self, image: Float[Tensor, "h w 3"]) -> tuple[Float[Tensor, "h w 3"], Batch]:
        """The columns that are measured, of a picture and of the photo."""
        batch, cut = self.batch, slice(self.first, None)
        mask = None if batch.mask is None else batch.mask[:, cut].contiguous()
        pixels = batch.pixels[:, cut].contiguous()
        return image[:, cut].contiguous(), replace(batch, pixels=pixels, mask=mask)

    def psnr(self, image: Float[Tensor, "h w 3"]) -> float:
        """PSNR of a picture on the columns that are measured, dB."""
        part, photo = self.part(image)
        return psnr(part, photo.image, photo.mask)


class HeldOutFitter(Protocol):
    """Fits pose or exposure of a held-out photo."""

    @property
    def text(self) -> str:
        """The protocol: what is fitted, on which part, and which part is measured."""
        ...

    def __call__(self, batch: Batch) -> HeldOutView: ...


AS_GIVEN = "photos as they are, whole"
"""The protocol where nothing is fitted."""


def evaluate(
    gaussians: Callable[[Camera], Gaussians],
    render: Renderer,
    batches: Iterable[Batch],
    background: Float[Tensor, "3"] | None = None,
    *,
    lpips: Net | None = "alex",
    look: Callable[[Batch, Float[Tensor, "h w 3"], ViewMetrics], None] | None = None,
    fit: HeldOutFitter | None = None,
    ranks: Ranks = ALONE,
) -> Metrics:
    """Draw every batch and compare; `gaussians` is a model, or `lambda camera: fixed`.

    `look` is given each picture once it is measured, for contact sheets. `lpips` None leaves
    LPIPS out; where its weights are not installed the figure is None and `lpips_missing` says so.
    `fit` draws photos whose exposure or pose is not known. Of several processes each is given the
    batches that are its share; the figures are of all.
    """
    start = time.perf_counter()
    perceptual, missing = _perceptual(lpips, render.device)
    views, plain = [], []
    for batch in batches:
        view = HeldOutView(batch)
        if fit is not None:
            plain.append(view.psnr(view.drawn(gaussians, render, background)))
            view = fit(batch)
        image = view.drawn(gaussians, render, background)
        with torch.no_grad():
            part, photo = view.part(image)
            views.append(_measured(part.clamp(0, 1), photo, perceptual))
        if look is not None:
            look(view.batch, image, views[-1])
    views, plain = ranks.interleaved(views), ranks.interleaved(plain)
    if not views:
        raise ValueError("no views to evaluate; hold some out, see `--eval`")
    distances = [view.lpips for view in views if view.lpips is not None]
    if perceptual is not None and not distances:
        missing = f"pictures are smaller than {SMALLEST} pixels"
    return Metrics(
        psnr=_mean([view.psnr for view in views]),
        ssim=_mean([view.ssim for view in views]),
        lpips=_mean(distances) if distances else None,
        lpips_net=lpips if distances else None,
        lpips_missing=missing,
        views=tuple(views),
        protocol=AS_GIVEN if fit is None else fit.text,
        psnr_unfitted=_mean(plain) if plain else None,
        seconds=time.perf_counter() - start,
    )


@torch.no_grad()
def mean_psnr(
    gaussians: Callable[[Camera], Gaussians],
    render: Renderer,
    batches: Iterable[Batch],
    background: Float[Tensor, "3"] | None = None,
    *,
    fit: HeldOutFitter | None = None,
    look: Callable[[Batch, Float[Tensor, "h w 3"], float], None] | None = None,
    ranks: Ranks = ALONE,
) -> float:
    """The PSNR that `evaluate` finds, dB, without its other figures, in a twentieth of its time.

    `look` is given each picture with its PSNR, for contact sheets.
    """
    values = []
    for batch in batches:
        view = HeldOutView(batch) if fit is None else fit(batch)
        image = view.drawn(gaussians, render, background)
        values.append(view.psnr(image))
        if look is not None:
            look(view.batch, image, values[-1])
    return _mean(ranks.interleaved(values))


@torch.no_grad()
def psnr(x: Float[Tensor, "h w 3"], y: Float[Tensor, "h w 3"], mask: Tensor | None = None) -> float:
    """Peak signal-to-noise ratio in dB; infinite where the pictures agree, NaN if none counts."""
    squares = (x.clamp(0, 1) - y.clamp(0, 1)).square()
    if mask is not None:
        squares = squares[mask != 0]
    error = float(squares.double().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


@torch.no_grad()
def ssim(x: Float[Tensor, "h w 3"], y: Float[Tensor, "h w 3"], mask: Tensor | None = None) -> float:
    """Mean structural similarity, zeros beyond the edge, as in training and in INRIA's metric."""
    if mask is not None:
        x = x.where(mask[..., None] != 0, y)
    values = _ssim_map(x.clamp(0, 1), y.clamp(0, 1))
    if mask is not None:
        values = values[mask != 0]
    return float(values.double().mean())


def _ssim_map(x: Float[Tensor, "h w 3"], y: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
    offsets = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    weights = (-offsets.square() / (2 * DEVIATION**2)).exp()
    weights = weights / weights.sum()
    maps = torch.cat([x, y, x * x, y * y, x * y], 2).permute(2, 0, 1)[:, None]
    for row in (weights.reshape(1, 1, 1, -1), weights.reshape(1, 1, -1, 1)):
        maps = functional.conv2d(maps, row, padding=(row.shape[2] // 2, row.shape[3] // 2))
    mx, my, xx, yy, xy = maps[:, 0].permute(1, 2, 0).chunk(5, dim=2)
    covariance, variances = xy - mx * my, xx + yy - mx * mx - my * my
    top = (2 * mx * my + C1) * (2 * covariance + C2)
    values: Tensor = top / ((mx * mx + my * my + C1) * (variances + C2))
    return values


def _measured(image: Float[Tensor, "h w 3"], batch: Batch, perceptual: Lpips | None) -> ViewMetrics:
    truth, mask = batch.image, batch.mask
    distance = None
    if perceptual is not None and min(truth.shape[:2]) >= SMALLEST:
        filled = image if mask is None else image.where(mask[..., None] != 0, truth)
        distance = perceptual(filled, truth)
    return ViewMetrics(batch.name, psnr(image, truth, mask), ssim(image, truth, mask), distance)


def _perceptual(net: Net | None, device: torch.device) -> tuple[Lpips | None, str]:
    """LPIPS, or why it is missing: a run must not lose its other figures for it."""
    if net is None:
        return None, "not asked for"
    try:
        return Lpips(net, device), ""
    except (OSError, ValueError) as error:
        return None, str(error)


def _mean(values: list[float]) -> float:
    """Mean of those that are numbers: a view that is masked out altogether has none."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan


def for_json(value: Any) -> Any:
    """A figure, or lists and dicts of figures, as JSON can hold them: null for what is not
    finite."""
    if isinstance(value, (list, tuple)):
        return [for_json(item) for item in value]
    if isinstance(value, dict):
        return {name: for_json(item) for name, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def view_psnr(step: Step) -> float:
    """PSNR of the step's picture against its photo on a part of the rows, dB; at most 100."""
    batch, part = step.batch, slice(None, None, PART)
    truth = batch.pixels[part].float().div_(255)
    mask = None if batch.mask is None else batch.mask[part]
    value = psnr(step.rendered.image.detach()[part], truth, mask)
    return min(value, 100.0) if not math.isnan(value) else 0.0


PART = 4
"""The PSNR of a training view is taken on every fourth row of it."""
