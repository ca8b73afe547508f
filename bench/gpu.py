"""Times on a GPU: copies, each stage of a step, whole steps, ours beside gsplat, and what repeats.

    python bench/gpu.py --counts 200000 1000000 3000000 --size 1600 1000 --out gpu.json

Gaussians lie in a box that the camera sees half of, about two pixels large, with harmonics of
degree 3. Renderers take turns, so that a card that slows down slows both; ours goes also with
moments and harmonics of 16 bits. Medians of `--repeats`; times are wall clock between two waits for
the device. With `SPLAT_PRETEND_CUDA=1` and small counts the script itself can be tried on a machine
without a GPU; its times are then of nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import markdown
from torch import Tensor

from splat import kernels
from splat.core.model import Explicit
from splat.render import renderer_for
from splat.types import Camera, Gaussians, Needs, Renderer

PIXELS = 2.0
"""Standard deviation of a Gaussian in the middle of the box, on screen."""


def scene(
    n: int, size: Sequence[int], device: torch.device, kept: torch.dtype = torch.float32
) -> tuple[Explicit, Camera]:
    """Rows as a run has them, moments and harmonics `kept` as such, and the camera that sees half
    of them."""
    width, height = size
    draw = torch.Generator().manual_seed(n)
    half = torch.tensor([2.0 * width / height, 2.0, 1.0])
    mean = (2 * torch.rand(n, 3, generator=draw) - 1) * half
    focal = 0.9 * height
    rows = {
        "mean": mean,
        "quat": torch.randn(n, 4, generator=draw),
        "log_scale": math.log(PIXELS * 2.0 / focal) + 0.4 * torch.randn(n, 3, generator=draw),
        "opacity_logit": torch.randn(n, generator=draw),
        "sh": 0.3 * torch.randn(n, 16, 3, generator=draw),
    }
    model = Explicit(
        {name: each.to(device) for name, each in rows.items()}, steps=1000, sh_every=0,
        moments=kept, harmonics=kept,
    )  # fmt: skip
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    pose = torch.eye(4)
    pose[2, 3] = 2.0
    return model, Camera(pose, K, width, height).to(device)


def waited(call: Callable[[], Any]) -> float:
    """Milliseconds of a call, its work on the device included."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - begin)


def copies(device: torch.device, megabytes: int = 256) -> float:
    """Bytes a second of a copy on the device, read and written, in 10^12."""
    one = torch.empty(megabytes << 18, device=device)
    other = torch.empty_like(one)
    ms = median(waited(lambda: other.copy_(one)) for _ in range(20))
    return 2 * 4 * one.numel() / (1e-3 * ms) / 1e12


class Steps:
    """Steps of one renderer on rows of its own, in stages."""

    def __init__(self, render: Renderer, model: Explicit, camera: Camera, photo: Tensor) -> None:
        self.render, self.model, self.camera, self.photo = render, model, camera, photo
        self.ms: dict[str, list[float]] = {}
        self.memory = 0

    def step(self, number: int) -> None:
        """One step, timed."""
        torch.cuda.reset_peak_memory_stats()
        with torch.no_grad():
            picture = waited(lambda: self.render(self.model(self.camera), self.camera))
        drawn: list[Any] = []

        def forward() -> None:
            drawn.append(self.render(self.model(self.camera), self.camera))

        def loss() -> None:
            drawn.append(kernels.photometric(drawn[0].image, self.photo, 0.2))

        stages = {
            "picture alone": picture,
            "forward": waited(forward),
            "loss": waited(loss),
            "backward": waited(lambda: drawn[1].backward()),
            "adam": waited(lambda: self.model.cloud.optimize(number)),
        }
        stages["step"] = sum(stages.values()) - picture
        for name, ms in stages.items():
            self.ms.setdefault(name, []).append(ms)
        self.memory = max(self.memory, torch.cuda.max_memory_allocated())

    def medians(self) -> dict[str, float]:
        """Of all steps but the first two."""
        return {name: median(values[2:]) for name, values in self.ms.items()}


def repeats_to_the_bit(render: Renderer, n: int, size: Sequence[int], device: torch.device) -> bool:
    """Whether two passes over the same rows give the same gradients, every bit."""
    found: list[list[Tensor]] = []
    for _ in range(2):
        model, camera = scene(n, size, device)
        render(model(camera), camera, Needs(absolute_gradient=True)).image.square().sum().backward()
        names = [name for name in model.cloud.names if name != "sh"]
        gradients = [model.cloud.gradient(name) for name in names]
        found.append([each for each in gradients if each is not None])
    return all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def apart(one: Gaussians, camera: Camera, renders: dict[str, Renderer]) -> dict[str, float]:
    """Largest difference of pictures from that of the CPU's kernels, by renderer."""
    with torch.no_grad():
        truth = renderer_for("cpu")(one.to("cpu"), camera.to("cpu")).image
        return {
            name: float((render(one, camera).image.cpu() - truth).abs().max())
            for name, render in renders.items()
        }


def main() -> None:
    """Measure, print tables, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[200_000, 1_000_000, 3_000_000])
    parser.add_argument("--size", type=int, nargs=2, default=[1600, 1000])
    parser.add_argument("--renderers", nargs="+", default=["native", "gsplat"])
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    device = torch.device("cuda")
    renders: dict[str, Renderer] = {}
    found: dict[str, Any] = {"card": torch.cuda.get_device_name(), "torch": torch.__version__}
    for name in asked.renderers:
        try:
            renders[name] = renderer_for(device, renderer=name)
        except (ValueError, RuntimeError, ImportError) as error:
            found[f"no {name}"] = str(error)
            print(f"{name} is left out: {error}", flush=True)
    found["copy, TB/s"] = copies(device)
    print(f"{found['card']}: a copy moves {found['copy, TB/s']:.2f} TB/s", flush=True)
    small = min(asked.counts)
    model, camera = scene(min(small, 20_000), asked.size, device)
    found["apart from the CPU"] = apart(model(camera), camera, renders)
    found["repeats"] = {
        name: repeats_to_the_bit(render, small, asked.size, device)
        for name, render in renders.items()
    }
    print("largest difference from the CPU's picture", found["apart from the CPU"])
    print("gradients repeat to the bit", found["repeats"], flush=True)
    found["steps"] = {}
    for n in asked.counts:
        runs: dict[str, Steps] = {}
        kinds = [(name, render, torch.float32) for name, render in renders.items()]
        if "native" in renders:
            kinds.append(("native, 16 bits", renders["native"], torch.bfloat16))
        for name, render, kept in kinds:
            model, camera = scene(n, asked.size, device, kept)
            photo = torch.rand(asked.size[1], asked.size[0], 3, device=device)
            runs[name] = Steps(render, model, camera, photo)
        for number in range(asked.repeats):
            for run in runs.values():
                run.step(number)
        record = {
            name: {**run.medians(), "memory, MB": run.memory / 1e6} for name, run in runs.items()
        }
        found["steps"][str(n)] = record
        print(f"\n{n:,} Gaussians, {asked.size[0]} x {asked.size[1]}, ms (medians)\n")
        columns = list(next(iter(record.values())))
        print(markdown(["renderer", *columns], [
            [name, *(f"{values[c]:.3f}" for c in columns)] for name, values in record.items()
        ]), flush=True)  # fmt: skip
        if asked.out is not None:
            asked.out.write_text(json.dumps(found, indent=1))
        del runs
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
