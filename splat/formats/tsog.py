"""The `.tsog` of TSOG Playback Profile 1 (OpsiClear-4DGS, version 1.0.1): a `.sog` that moves.

The images of a `.sog`, after Xiaomi's encoding (version 4, which has codebooks of 1 to 256 levels);
two with the time of each Gaussian (red) and the standard deviation of its opacity over time
(green), 16 bits each; two with its velocity. Times are parts of the clip. A Gaussian takes 10 bytes
more than in a `.sog`, before compression.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.core.frame import finite
from splat.formats import sog, sog_container
from splat.formats.order import spatial_order
from splat.formats.rows import kept, rows_of
from splat.formats.settings import Settings
from splat.formats.sog_meta import STEPS
from splat.formats.sog_table import document_in, opened
from splat.formats.sog_texels import decode
from splat.formats.tsog_meta import PROFILE, VERSION, TimedMeta
from splat.formats.tsog_table import LASTS, SUFFIX, content
from splat.math import LASTING
from splat.system.files import replacing
from splat.types import Drawing, Gaussians, Motion

TAKES_WEIGHTS = True
TAKES_MOTION = True
"""Whether what moves can be written."""
EARLIEST, LATEST = -1.0, 2.0
"""Times that are written, in clips; what is farther off goes along its line to there."""
SHORTEST = 1e-4
"""Least standard deviation that is written, in clips."""
MIDDLE = 32767
"""Code of a velocity of 0."""


def write(
    gaussians: Gaussians,
    path: Path,
    drawing: Drawing = Drawing(),  # noqa: B008
    settings: Settings = Settings(),  # noqa: B008
    weights: Float[Tensor, "n"] | None = None,
) -> None:
    """Write Gaussians in spatial order; a set that stands still has no timeline.

    `weights` as for a `.sog`. Rows that hold NaN or infinite values are left out, with a warning.
    """
    weights = sog.weights_of(gaussians, weights)
    gaussians = kept(gaussians, finite(gaussians), path)
    motion = None if gaussians.motion is None else _within(gaussians.motion)
    if motion is not None and gaussians.motion is not None:
        # At a time that was moved a Gaussian is elsewhere on its line.
        moved = (motion.time - gaussians.motion.time)[:, None] * motion.velocity
        gaussians = replace(gaussians, means=gaussians.means + moved, motion=None)
    rows = rows_of(gaussians, path)
    order = spatial_order(rows.means)
    levels, texels = sog.coded(rows.take(order), settings, weights[order])
    document = sog_container.document_of(levels, texels, drawing) | {
        "version": VERSION,
        "profile": PROFILE,
    }
    more: dict[str, Tensor] = {}
    if motion is not None:
        ordered = Motion(*(each[order.to(each.device)].cpu() for each in _columns(motion)))
        timed, more = _timed(ordered)
        document |= timed | {"playback": {"duration": settings.page_seconds}}
    with replacing(path) as draft:
        sog_container.write_archive(draft, texels, json.dumps(document).encode(), more)


def size(n: int, sh_degree: int, settings: Settings = Settings()) -> int:  # noqa: B008
    """Bytes that a file of `n` Gaussians that move takes at most."""
    entries, coefficients = sog.entries_of(n, settings), (sh_degree + 1) ** 2 - 1
    return sog_container.most(n, entries, coefficients, (2, 2, 3, 3)) + 1024


def read(path: Path) -> Gaussians:
    """The Gaussians of a file, with their motion where it has a timeline.

    Files without a profile are read as those with it, as it asks for. Frames apart (timeline 0) are
    refused, as no Gaussian is there for one frame only.
    """
    with content(path) as (_, values, codes, moving):
        levels, texels = sog_container.tensors(values, codes)
    gaussians = decode(texels, levels).gaussians()
    if moving is not None:
        times = map(torch.from_numpy, (moving.time, moving.duration, moving.velocity))
        gaussians = replace(gaussians, motion=Motion(*times))
    return kept(gaussians, finite(replace(gaussians, colors=gaussians.colors[:, 0])), path)


def drawing(path: Path) -> Drawing:
    """How the file says that its Gaussians are meant to be drawn."""
    with opened(path, SUFFIX) as archive:
        return Drawing(*TimedMeta.of(document_in(archive)).drawn)


def quantiser(
    gaussians: Gaussians,
    settings: Settings = Settings(),  # noqa: B008
    weights: Float[Tensor, "n"] | None = None,
    before: Callable[[Gaussians], Gaussians] | None = None,
) -> Callable[[Gaussians], Gaussians]:
    """As that of a `.sog`; motion stays as it is."""
    earlier = before.of_sog if isinstance(before, _Quantised) else None
    still = replace(gaussians, motion=None)
    return _Quantised(sog.quantiser(still, settings, weights, earlier))


@dataclass(frozen=True)
class _Quantised:
    of_sog: Callable[[Gaussians], Gaussians]

    def __call__(self, given: Gaussians) -> Gaussians:
        return replace(self.of_sog(replace(given, motion=None)), motion=given.motion)


def _columns(motion: Motion) -> tuple[Tensor, Tensor, Tensor]:
    return motion.time, motion.duration, motion.velocity


def _within(motion: Motion) -> Motion:
    """The motion with what is always there in the middle of the clip and still, and times and
    durations that can be written."""
    lasts = motion.duration >= LASTING
    return Motion(
        time=motion.time.clamp(EARLIEST, LATEST).where(~lasts, 0.5),
        duration=motion.duration.clamp(SHORTEST, LASTS),
        velocity=motion.velocity.where(~lasts[:, None], 0),
    )


def _timed(motion: Motion) -> tuple[dict[str, Any], dict[str, Int[Tensor, "n c"]]]:
    """What a document says of motion, and images of it."""
    both = torch.stack([motion.time.double(), motion.duration.double()], 1)
    low, high = both.amin(0), both.amax(0)
    codes = _codes(both, low, high)
    # Steps of which one is a velocity of 0, whatever the range is.
    step = motion.velocity.double().abs().amax(0).clamp_min(1e-12) / MIDDLE
    slowest, fastest = -MIDDLE * step, (STEPS - MIDDLE) * step
    speeds = _codes(motion.velocity.double(), slowest, fastest)
    names = [f"{part}_{end}" for part in ("timeline", "velocities") for end in "lu"]
    images = {
        name: of & 255 if name.endswith("l") else of >> 8
        for name, of in zip(names, (codes, codes, speeds, speeds), strict=True)
    }
    files = [f"{name}.webp" for name in names]
    document = {
        "timeline": {
            "type": 1, "mins": low.tolist(), "maxs": high.tolist(), "files": files[:2],
        },
        "temporal": {
            "means": {
                "mins": [slowest.tolist()], "maxs": [fastest.tolist()], "files": files[2:],
            }
        },
    }  # fmt: skip
    return document, images


def _codes(
    values: Float[Tensor, "n c"], low: Float[Tensor, "c"], high: Float[Tensor, "c"]
) -> Int[Tensor, "n c"]:
    extent = (high - low).where(high > low, torch.inf)
    return ((values - low) / extent * STEPS).round().clamp(0, STEPS).int()
