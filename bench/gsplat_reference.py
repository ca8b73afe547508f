"""Time a training step through gsplat's torch reference, and the same step through splat.

gsplat's own on the CPU are `_quat_scale_to_covar_preci`, `_fully_fused_projection` and
`_spherical_harmonics` of gsplat.cuda._torch_impl. Its compositing and its tile lists cannot be
timed fairly there: the one needs CUDA, the other is a Python loop that takes seconds. In their
place stands plain torch written here: tiles of 16 x 16 pixels, each dense over the Gaussians whose
radii reach it. The loss is L1 + SSIM in torch, then autograd, then torch.optim.Adam. Both sides
have the same Gaussians, picture and constants; that their losses agree shows it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

# With a CUDA compiler on PATH gsplat would begin to build its extension.
while (found := shutil.which("nvcc")) is not None:
    hidden = str(Path(found).parent)
    os.environ["PATH"] = os.pathsep.join(
        place for place in os.environ["PATH"].split(os.pathsep) if place != hidden
    )

import torch  # noqa: E402
from gsplat.cuda import _torch_impl as reference  # noqa: E402
from timing import Clock, run_of, summed_up  # noqa: E402
from torch import Tensor  # noqa: E402
from workload import Size, camera, key_of, rows, size_of, targets  # noqa: E402

from splat import kernels  # noqa: E402
from splat.evaluation.evaluate import _ssim_map  # noqa: E402
from splat.types import Camera  # noqa: E402

TILE = 16
ALPHA_LEAST, ALPHA_MOST, TRANSMITTANCE_LEAST = 1 / 255, 0.999, 1e-4
"""Constants of gsplat 1.5.3."""
PIECES = ("project", "composite", "loss", "backward", "adam")


def projected(columns: Mapping[str, Tensor], seen: Camera) -> dict[str, Tensor]:
    """Means, conics, opacities and colours on screen, front to back, by gsplat's functions."""
    view, K = seen.world_to_camera[None], seen.K[None]
    covariances, _ = reference._quat_scale_to_covar_preci(
        columns["quat"], columns["log_scale"].exp(), True, False
    )
    radii, means2d, depths, conics, _ = reference._fully_fused_projection(
        columns["mean"], covariances, view, K, seen.width, seen.height
    )
    place = -seen.world_to_camera[:3, :3].T @ seen.world_to_camera[:3, 3]
    colors = reference._spherical_harmonics(3, columns["mean"] - place, columns["sh"])
    shown = (radii[0] > 0).all(1).nonzero()[:, 0]
    order = shown[depths[0][shown].argsort(stable=True)]
    return {
        "radii": radii[0][order],
        "means2d": means2d[0][order],
        "conics": conics[0][order],
        "opacities": columns["opacity_logit"].sigmoid()[order],
        "colors": (colors + 0.5).clamp_min(0)[order],
    }


def composited(screen: Mapping[str, Tensor], width: int, height: int) -> Tensor:
    """The picture, tile by tile, each dense over the Gaussians that reach it."""
    low = screen["means2d"].detach() - screen["radii"]
    high = screen["means2d"].detach() + screen["radii"]
    bands = []
    for top in range(0, height, TILE):
        band = []
        for left in range(0, width, TILE):
            corner = low.new_tensor([left, top])
            touching = ((high > corner) & (low < corner + TILE)).all(1).nonzero()[:, 0]
            size = min(TILE, width - left), min(TILE, height - top)
            band.append(tile(screen, touching, left, top, *size))
        bands.append(torch.cat(band, 1))
    return torch.cat(bands)


def tile(
    screen: Mapping[str, Tensor], rows: Tensor, left: int, top: int, width: int, height: int
) -> Tensor:
    """A part of the picture [height, width, 3], over black."""
    x = torch.arange(left, left + width).float().add(0.5).repeat(height)
    y = torch.arange(top, top + height).float().add(0.5).repeat_interleave(width)
    u, v = screen["means2d"][rows].unbind(1)
    a, b, c = screen["conics"][rows].unbind(1)
    dx, dy = u - x[:, None], v - y[:, None]
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (screen["opacities"][rows] * (-sigma).exp()).clamp_max(ALPHA_MOST)
    alpha = alpha.where((sigma >= 0) & (alpha >= ALPHA_LEAST), 0.0)
    behind = torch.log1p(-alpha).cumsum(1).exp()
    before = torch.cat([torch.ones(len(x), 1), behind[:, :-1]], 1)
    weights = (alpha * before).where(behind > TRANSMITTANCE_LEAST, 0.0)
    return (weights @ screen["colors"][rows]).view(height, width, 3)


class Reference:
    """Steps through gsplat's reference."""

    def __init__(self, columns: Mapping[str, Tensor], target: Tensor, size: Size) -> None:
        self.columns = {n: torch.nn.Parameter(t.clone()) for n, t in columns.items()}
        self.target, self.camera = target.float() / 255, camera(*size)
        self.adam = torch.optim.Adam(self.columns.values(), lr=0.0, eps=1e-15)
        self.loss = 0.0

    def step(self) -> dict[str, float]:
        """Milliseconds of the pieces of one step."""
        ticks = [time.perf_counter()]
        screen = projected(self.columns, self.camera)
        ticks.append(time.perf_counter())
        image = composited(screen, self.camera.width, self.camera.height)
        ticks.append(time.perf_counter())
        similarity = _ssim_map(image, self.target).mean()
        loss = 0.8 * (image - self.target).abs().mean() + 0.2 * (1 - similarity)
        ticks.append(time.perf_counter())
        loss.backward()
        ticks.append(time.perf_counter())
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)
        ticks.append(time.perf_counter())
        self.loss = float(loss.detach())
        return {name: (b - a) * 1e3 for name, (a, b) in zip(PIECES, pairwise(ticks), strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2, help="of the kernels, and of torch")
    parser.add_argument("--count", type=int, default=10_000, help="Gaussians")
    parser.add_argument("--size", type=size_of, default=(200, 200), metavar="WxH")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    columns, target = rows(options.count), targets([options.size])[options.size]
    theirs = Reference(columns, target, options.size)
    clock = Clock(run_of(options.size, {n: t.clone() for n, t in columns.items()}, target))
    kernels.set_threads(options.threads)
    passes, spans = [], []
    for number in range(options.repeats + 1):  # the first one warms up
        torch.set_num_threads(options.threads)
        pieces = theirs.step()
        torch.set_num_threads(1)
        ours = clock.steps(8, 2)
        if number:
            passes.append(pieces)
            spans += ours
    stages = {name: median(pieces[name] for pieces in passes) for name in PIECES}
    found: dict[str, Any] = {
        "iteration_ms": median(sum(pieces.values()) for pieces in passes),
        "forward_ms": stages["project"] + stages["composite"],
        "loss": theirs.loss,
        "stages": stages,
    }
    own = summed_up(spans, clock.loss)
    print(
        json.dumps(
            {
                "threads": options.threads,
                "gaussians": options.count,
                "what": " ".join((__doc__ or "").split()),
                key_of(options.size): {
                    "gsplat": found,
                    "splat": own,
                    "ratio": found["iteration_ms"] / own["iteration_ms"],
                    "loss_difference": found["loss"] - own["loss"],
                },
            }
        )
    )


if __name__ == "__main__":
    main()
