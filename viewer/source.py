"""What can be looked at: a run as it trains, or Gaussians that stay as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splat.loader import Loader
from splat.maps import Error
from splat.run import Run
from splat.types import (
    Batch,
    Camera,
    Contributions,
    Drawing,
    Frame,
    Gaussians,
    PixelMap,
    Renderer,
)

ERROR: tuple[PixelMap, ...] = (Error(),)
"""Maps of a survey of photographs: how wrong the picture is."""


@dataclass(frozen=True)
class Seen:
    """One posed photograph of a scene."""

    name: str
    camera: Camera
    """At the size that is trained on, frame of training."""
    held_out: bool


class Photos:
    """The photographs of a scene, decoded when they are asked for; for one thread."""

    def __init__(self, train: Loader, test: Loader | None = None) -> None:
        self._train, self._test = train, test
        self.seen = [
            Seen(view.name, camera, loader is not train)
            for loader in (train, test)
            if loader is not None
            for view, camera in zip(loader.views, loader.cameras, strict=True)
        ]
        """Those that are trained on, in the order of training, then those held out."""

    def __len__(self) -> int:
        return len(self.seen)

    @property
    def trained(self) -> int:
        """How many are trained on; they come first."""
        return len(self._train)

    def batch(self, index: int) -> Batch:
        """A photograph at full size."""
        if index < len(self._train):
            return self._train.batch(index)
        assert self._test is not None
        return self._test.batch(index - len(self._train))


class Source(ABC):
    """Gaussians that may change, and what they are drawn with."""

    name: str
    frame: Frame
    render: Renderer
    drawing: Drawing
    background: Float[Tensor, "3"] | None
    photos: Photos | None = None
    """None where there are none to be had."""
    cameras: Sequence[Camera] = ()
    """From which it was photographed, frame of training; empty where that is not known."""
    psnr: float | None = None
    """dB on the held-out photos, as far as it was measured."""
    slots: int = 1
    """Gaussians that a row may make."""

    @property
    @abstractmethod
    def step(self) -> int:
        """Steps that it was trained for."""

    @property
    @abstractmethod
    def stamp(self) -> Hashable:
        """Changes whenever the Gaussians may have."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Rows."""

    @abstractmethod
    def gaussians(self, camera: Camera) -> Gaussians:
        """What is drawn for a camera of the frame of training."""

    @abstractmethod
    def baked(self) -> Gaussians:
        """What is exported: a copy, frame of training."""

    @abstractmethod
    def surveyed(self, index: int) -> Contributions:
        """What every row does in a view of `views`; with photos, its sum of error too."""

    @property
    def views(self) -> int:
        """Views that can be surveyed."""
        return len(self.cameras) if self.photos is None else self.photos.trained

    def rows_of(self, gaussians: Gaussians) -> Int[Tensor, "n"]:
        """The row that each Gaussian of `gaussians(camera)` comes from."""
        if gaussians.source is None:
            return torch.arange(len(gaussians), device=gaussians.means.device)
        return gaussians.source // self.slots


class Live(Source):
    """A run, as it is between two steps."""

    def __init__(self, run: Run, photos: Photos, name: str) -> None:
        self.run, self.photos, self.name = run, photos, name
        self.frame, self.render, self.drawing = run.frame, run.render, run.drawing
        self.background, self.cameras = run.background, run.views
        self.slots = run.model.slots

    @property
    def step(self) -> int:
        return self.run.step

    @property
    def stamp(self) -> Hashable:
        return self.run.step

    @property
    def count(self) -> int:
        return len(self.run.model.cloud)

    def gaussians(self, camera: Camera) -> Gaussians:
        found = self.run.model(camera, self.run.step)
        return self.run.finishing(found, self.run.step) if self.run.finishing else found

    def baked(self) -> Gaussians:
        return self.run.baked()

    def surveyed(self, index: int) -> Contributions:
        return self.run.survey(index, ERROR).rows


class Still(Source):
    """Gaussians that stay as they are: of a finished run, a checkpoint, a file, a moment."""

    def __init__(
        self,
        gaussians: Gaussians,
        *,
        name: str,
        frame: Frame,
        render: Renderer,
        drawing: Drawing,
        background: Float[Tensor, "3"] | None = None,
        photos: Photos | None = None,
        cameras: Sequence[Camera] = (),
        step: int = 0,
        psnr: float | None = None,
    ) -> None:
        self._gaussians, self._step = gaussians, step
        self.name, self.frame, self.render, self.drawing = name, frame, render, drawing
        self.background, self.photos, self.cameras = background, photos, cameras
        self.psnr = psnr

    @property
    def step(self) -> int:
        return self._step

    @property
    def stamp(self) -> Hashable:
        return id(self._gaussians)

    @property
    def count(self) -> int:
        return len(self._gaussians)

    def gaussians(self, camera: Camera) -> Gaussians:
        del camera
        return self._gaussians

    def baked(self) -> Gaussians:
        return replace(self._gaussians)

    def surveyed(self, index: int) -> Contributions:
        if self.photos is None:
            return self.render.survey(self._gaussians, self.cameras[index], self.background)[1]
        batch = self.photos.batch(index)
        return self.render.survey(
            self._gaussians,
            batch.camera,
            self.background,
            lambda rendered: torch.stack([each(rendered, batch) for each in ERROR], -1),
        )[1]
