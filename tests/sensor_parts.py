"""Scenes whose photos are exposed or posed in other ways than they say, and a small picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from splat import datasets
from splat.core.frame import frame_of
from splat.core.strategy import Fixed, Strategy
from splat.options import Options
from splat.sensor.poses import exponential
from splat.training.prepare import Job, prepare
from splat.types import Batch, Camera, Gaussians, Rendered, SceneData

STOPS = (0.5, -0.4, 0.0, 0.3)
"""Exposures of photos, one after another."""


def exposed(folder: Path, out: Path, stops: tuple[float, ...] = STOPS) -> SceneData:
    """The scene with its photos brightened and darkened."""
    scene = datasets.load(folder)

    def changed(view, i):  # type: ignore[no-untyped-def]
        pixels = cv2.imread(str(view.image)).astype(np.float32) * 0.6
        path = out / f"{i}.png"
        cv2.imwrite(str(path), np.rint(pixels * 2 ** stops[i % len(stops)]).clip(0, 255))
        return replace(view, image=path)

    views = [*scene.train, *scene.test]
    made = [changed(view, i) for i, view in enumerate(views)]
    split = len(scene.train)
    return replace(scene, train=tuple(made[:split]), test=tuple(made[split:]))


def planted(scene: SceneData, size: float = 0.01) -> tuple[SceneData, list[Float[Tensor, "4 4"]]]:
    """The scene with training poses that are off, and the true ones."""
    generator = torch.Generator().manual_seed(3)
    extent = 1 / frame_of([view.camera for view in scene.train]).scale
    sizes = size * torch.tensor([1, 1, 1, 2 * extent, 2 * extent, 2 * extent])
    views, truth = [], []
    for view in scene.train:
        twist = sizes * torch.randn(6, generator=generator)
        pose = exponential(twist) @ view.camera.world_to_camera.float()
        truth.append(view.camera.world_to_camera)
        views.append(replace(view, camera=replace(view.camera, world_to_camera=pose)))
    return replace(scene, train=tuple(views)), truth


def blobs(count: int = 40, dtype: torch.dtype = torch.float32) -> Gaussians:
    """A wall of soft blobs with depth, before a camera at the origin."""
    generator = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

    means = torch.cat([3 * drawn(count, 2) - 1.5, 2 + 2 * drawn(count, 1)], 1)
    return Gaussians(
        means=means,
        quats=torch.tensor([1.0, 0, 0, 0], dtype=dtype).repeat(count, 1),
        scales=0.15 + 0.2 * drawn(count, 3),
        opacities=0.6 + 0.35 * drawn(count),
        colors=drawn(count, 3),
    )


def camera(width: int = 64, height: int = 48, pose: Tensor | None = None) -> Camera:
    K = torch.tensor([[60.0, 0, width / 2], [0, 60.0, height / 2], [0, 0, 1]])
    return Camera(torch.eye(4) if pose is None else pose, K, width, height)


def shown(rendered: Rendered, seen: Camera) -> Batch:
    pixels = rendered.image.detach().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Batch(seen, pixels)


def with_job(
    scene: SceneData,
    options: Options,
    look: Callable[[Job], None],
    strategy: Strategy | None = None,
) -> None:
    job = prepare(scene, strategy or Fixed(), options)
    try:
        look(job)
    finally:
        job.close()
