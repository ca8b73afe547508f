"""Large sets, drawn by level of detail from the leaves of a tree that are visible."""

from __future__ import annotations

from typing import Any

import torch

from splat.kernels import NEAR
from splat.lod.store import Store
from splat.types import Camera, Contributions, Gaussians
from splat.viewer.source import Still

PER_PIXEL = 2.0
"""Gaussians a pixel that a picture is drawn from; the small pictures of a moving camera need fewer.
"""
FEWEST, MOST = 50_000, 1_000_000
"""Least and most Gaussians that a picture is drawn from."""


class Layered(Still):
    """Gaussians that do not change, too many to draw all for each picture."""

    def __init__(self, store: Store, **settings: Any) -> None:
        """`settings` is what `Still` is told beside its Gaussians."""
        super().__init__(store.finest, **settings)
        self._store = store
        near = self.drawing.near
        self._near = (NEAR if near is None else near) * self.frame.scale

    def gaussians(self, camera: Camera) -> Gaussians:
        budget = min(max(FEWEST, round(PER_PIXEL * camera.width * camera.height)), MOST)
        here = self._store.view(camera.to("cpu"), self._near, budget)
        return here.to(self.render.device)

    def baked(self) -> Gaussians:
        return self._store.whole().to(self.render.device)

    @torch.no_grad()
    def surveyed(self, index: int) -> Contributions:
        whole = Still(
            self.baked(),
            name=self.name,
            frame=self.frame,
            render=self.render,
            drawing=self.drawing,
            background=self.background,
            photos=self.photos,
            cameras=self.cameras,
        )
        return whole.surveyed(index)
