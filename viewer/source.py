"""Sources of pictures: a run in training, or Gaussians that do not change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splat.core.maps import Error
from splat.core.model import Model
from splat.core.score import survey
from splat.loop import Run
from splat.photos.loader import Loader
from splat.render import drawing_as
from splat.types import (
    Batch,
    Camera,
    Contributions,
    Drawing,
    Frame,
    Gaussians,
    Motion,
    PixelMap,
    Renderer,
)

ERROR: tuple[PixelMap, ...] = (Error(),)
"""Maps for a survey of photographs: the error of the picture."""


@dataclass(frozen=True)
class Seen:
    """A posed photograph of a scene."""

    name: str
    camera: Camera
    """The camera at the size of training, frame of training."""
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
        """Number of photographs that are trained on; they come first."""
        return len(self._train)

    def batch(self, index: int) -> Batch:
        """A photograph at full size, decoded."""
        if index < len(self._train):
            return self._train.batch(index)
        assert self._test is not None
        return self._test.batch(index - len(self._train))


class Source(ABC):
    """Gaussians that may change, and how they are drawn."""

    name: str
    frame: Frame
    render: Renderer
    drawing: Drawing
    background: Float[Tensor, "3"] | None
    photos: Photos | None = None
    """The photographs; None: there are none."""
    cameras: Sequence[Camera] = ()
    """Cameras of the photographs, frame of training; empty where they are not known."""
    psnr: float | None = None
    """PSNR on the held-out photos, dB; None: not measured."""
    slots: int = 1
    """Most Gaussians that a row makes."""
    unit: str = "Gaussians"
    """What a row is called, for people."""

    @property
    @abstractmethod
    def positions(self) -> Float[Tensor, "n 3"]:
        """Positions of the rows, frame of training."""

    @property
    @abstractmethod
    def step(self) -> int:
        """Number of steps trained."""

    @property
    @abstractmethod
    def stamp(self) -> Hashable:
        """A value that changes whenever the Gaussians may have."""

    @property
    @abstractmethod
    def count(self) -> int:
        """Number of rows."""

    @abstractmethod
    def gaussians(self, camera: Camera) -> Gaussians:
        """The Gaussians for a camera of the frame of training."""

    @abstractmethod
    def baked(self) -> Gaussians:
        """A copy for export, frame of training."""

    @abstractmethod
    def surveyed(self, index: int) -> Contributions:
        """Contributions of all rows to a view of `views`; with photos, their sum of error, too."""

    @property
    def moves(self) -> bool:
        """Whether what is drawn depends on the time."""
        return self.motion is not None

    @property
    def motion(self) -> Motion | None:
        """How rows that are Gaussians move; None: not at all."""
        return None

    @property
    def traits(self) -> Mapping[str, Float[Tensor, "n"]]:
        """Numbers of rows that only their model knows (`Model.traits`)."""
        return {}

    @property
    def views(self) -> int:
        """Number of views that can be surveyed."""
        return len(self.cameras) if self.photos is None else self.photos.trained

    def rows_of(self, gaussians: Gaussians) -> Int[Tensor, "n"]:
        """The row of each Gaussian of `gaussians(camera)`."""
        if gaussians.source is None:
            return torch.arange(len(gaussians), device=gaussians.means.device)
        return gaussians.source // self.slots

    def rows_where(self, gaussians: Gaussians, mask: Bool[Tensor, "n"]) -> Bool[Tensor, "m"]:
        """Rows that have Gaussians in a set, all of which are in the mask."""
        if gaussians.source is None:
            return mask
        rows, some = self.rows_of(gaussians), mask.new_zeros(self.count)
        return some.index_fill(0, rows[mask], True) & ~some.index_fill(0, rows[~mask], True)


class Live(Source):
    """A run between two steps."""

    def __init__(self, run: Run, photos: Photos, name: str) -> None:
        self.run, self.photos, self.name = run, photos, name
        self.frame, self.drawing = run.frame, run.drawing.plain
        self.render = run.model.drawn_by(
            drawing_as(self.drawing, run.frame, run.render.device, beside=False)
        )
        self.background, self.cameras = run.background, run.views
        self.slots, self.unit = run.model.slots, run.model.unit

    @property
    def positions(self) -> Float[Tensor, "n 3"]:
        return self.run.model.cloud[self.run.model.place].detach()

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
        gaussians = self.run.model(camera, self.run.step)
        return self.run.quantiser(gaussians, self.run.step)

    @property
    def motion(self) -> Motion | None:
        return self.run.model.motion()

    @property
    def traits(self) -> Mapping[str, Float[Tensor, "n"]]:
        return self.run.model.traits()

    def baked(self) -> Gaussians:
        return self.run.baked()

    def surveyed(self, index: int) -> Contributions:
        return self.run.survey(index, ERROR).rows


class Still(Source):
    """Gaussians that do not change: of a finished run, a checkpoint, a file, a snapshot."""

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
    def positions(self) -> Float[Tensor, "n 3"]:
        return self._gaussians.means

    @property
    def stamp(self) -> Hashable:
        return id(self._gaussians)

    @property
    def count(self) -> int:
        return len(self._gaussians)

    def gaussians(self, camera: Camera) -> Gaussians:
        del camera
        return self._gaussians

    @property
    def motion(self) -> Motion | None:
        return self._gaussians.motion

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


class Unbaked(Still):
    """A finished model that makes Gaussians for each camera."""

    def __init__(self, model: Model, **settings: Any) -> None:
        """`settings` is what `Still` is told beside its Gaussians."""
        super().__init__(_NOTHING, **settings)
        self._model = model
        self.slots, self.unit = model.slots, model.unit

    @property
    def positions(self) -> Float[Tensor, "n 3"]:
        return self._model.cloud[self._model.place].detach()

    @property
    def stamp(self) -> Hashable:
        return id(self._model)

    @property
    def count(self) -> int:
        return len(self._model.cloud)

    @torch.no_grad()
    def gaussians(self, camera: Camera) -> Gaussians:
        gaussians: Gaussians = self._model(camera)
        return gaussians

    @property
    def motion(self) -> Motion | None:
        return self._model.motion()

    @property
    def traits(self) -> Mapping[str, Float[Tensor, "n"]]:
        return self._model.traits()

    def baked(self) -> Gaussians:
        if self._gaussians is _NOTHING:
            self._gaussians = self._model.bake()
        return replace(self._gaussians)

    def surveyed(self, index: int) -> Contributions:
        if self.photos is not None:
            batch, maps = self.photos.batch(index), ERROR
        else:
            camera = self.cameras[index]
            pixels = torch.zeros(camera.height, camera.width, 3, dtype=torch.uint8)
            batch, maps = Batch(camera, pixels.to(self.render.device)), ()
        return survey(self._model, self.render, batch, maps, self.background).rows


_NOTHING = Gaussians(
    torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 3)
)
