"""Held-out figures of a scene that moves: on what moves and on what does not, and by instant."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.evaluation.evaluate import for_json
from splat.math import spread
from splat.photos.loader import Loader
from splat.scene import standing_alike
from splat.training.prepare import Job
from splat.types import Batch

MOVES = 0.06
"""Difference of a channel from the median of the camera's photos, from which a pixel moves."""
LOOKED_AT = 25
"""Most photos of a camera of which the median is taken, evenly spread over its instants."""
LEAST = 3
"""Photos that a camera must have taken for a median."""


@dataclass(frozen=True)
class _View:
    """Errors of a view."""

    time: float
    psnr: float
    moving: tuple[float, int]
    """Sum of squared errors, and number of values, of pixels that move."""
    rest: tuple[float, int]


class ClipFigures:
    """Gathers the errors of held-out views while they are measured."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._photos: dict[str, tuple[Loader, int]] = {}
        self._alike: dict[str, list[str]] = {}
        self._medians: dict[str, Float[Tensor, "h w 3"]] = {}
        self.views: list[_View] = []
        loaders = [each for each in (job.photos, job.held_out) if each is not None]
        named = [(v.name, loader, i) for loader in loaders for i, v in enumerate(loader.views)]
        cameras = [loader.cameras[i] for _, loader, i in named]
        groups = defaultdict(list)
        for stand, (name, loader, index) in zip(standing_alike(cameras), named, strict=True):
            groups[stand].append((loader.cameras[index].time, name))
            self._photos[name] = loader, index
        for group in groups.values():
            names = [name for _, name in sorted(group)]
            self._alike |= dict.fromkeys(names, names)

    def look(self, batch: Batch, image: Float[Tensor, "h w 3"], psnr: float) -> None:
        """Take note of a picture."""
        moves = self._moves(batch)
        squares = (image.clamp(0, 1) - batch.image).square().sum(2).double()
        counts = torch.ones_like(moves) if batch.mask is None else batch.mask != 0

        def over(pixels: Bool[Tensor, "h w"]) -> tuple[float, int]:
            return float(squares[pixels].sum()), 3 * int(pixels.sum())

        view = _View(batch.camera.time, psnr, over(moves & counts), over(~moves & counts))
        self.views.append(view)

    def record(self, views: Sequence[_View]) -> dict[str, Any] | None:
        """What `metrics.json` holds of a clip; None without views. `views` are those of all
        processes."""
        clip = self._job.scene.clip
        if clip is None or not views:
            return None
        by_time = defaultdict(list)
        for view in views:
            by_time[view.time].append(view.psnr)
        moving, rest = (_pooled([getattr(v, part) for v in views]) for part in ("moving", "rest"))
        pixels = sum(v.moving[1] for v in views), sum(v.rest[1] for v in views)
        found: dict[str, Any] = for_json(
            {
                "seconds": clip.seconds,
                "instants": clip.instants,
                "moving_share": pixels[0] / max(1, sum(pixels)),
                "psnr_moving": moving,
                "psnr_rest": rest,
                "by_instant": [
                    {"time": time, "psnr": sum(each) / len(each)}
                    for time, each in sorted(by_time.items())
                ],
            }
        )
        return found

    def _moves(self, batch: Batch) -> Bool[Tensor, "h w"]:
        """Pixels that are other than the camera shows most of the time; none where it moves."""
        names = self._alike.get(batch.name, [])
        if len(names) < LEAST:
            return torch.zeros_like(batch.pixels[..., 0], dtype=torch.bool)
        if names[0] not in self._medians:
            some = [self._photos[names[i]] for i in spread(len(names), LOOKED_AT)]
            stack = torch.stack([loader.batch(index).pixels for loader, index in some])
            self._medians[names[0]] = stack.float().median(0).values / 255
        median = self._medians[names[0]].to(batch.pixels.device)
        return (batch.image - median).abs().amax(2) > MOVES


def _pooled(parts: Sequence[tuple[float, int]]) -> float:
    """PSNR of the mean error over all pixels, dB; NaN without any."""
    total, count = sum(part[0] for part in parts), sum(part[1] for part in parts)
    if not count:
        return math.nan
    return math.inf if total == 0 else -10 * math.log10(total / count)


def clip_line(record: Mapping[str, Any]) -> str:
    """The figures of a clip in a line."""
    instants = [each for each in record["by_instant"] if each["psnr"] is not None]
    parts = []
    if record["psnr_moving"] is not None and record["psnr_rest"] is not None:
        parts.append(
            f"{record['psnr_moving']:.2f} dB on what moves ({record['moving_share']:.1%} of the"
            f" pixels), {record['psnr_rest']:.2f} dB elsewhere"
        )
    if len(instants) > 1:
        worst = min(instants, key=lambda each: each["psnr"])
        best = max(instants, key=lambda each: each["psnr"])
        parts.append(
            f"instants from {worst['psnr']:.2f} dB (at {worst['time']:.2f}) to"
            f" {best['psnr']:.2f} dB (at {best['time']:.2f})"
        )
    return "the clip: " + "; ".join(parts) if parts else ""
