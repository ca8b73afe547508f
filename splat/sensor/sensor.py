"""`Sensor`: poses and exposures of photographs, learned beside the scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from splat.core.model import TrainedModule
from splat.core.objective import Objective
from splat.options.exposure import Exposure
from splat.sensor.grids import Grids, Smooth
from splat.sensor.newton import Newton
from splat.sensor.poses import PosePrior, Poses
from splat.sensor.tones import Channels, Matrices, TonePrior, Tones, mapped
from splat.types import Batch, Camera, Rendered

SENSOR = POSES, TONE, GRID = "sensor.poses", "sensor.tone", "sensor.grid"
"""Names of its parts among the networks of a run."""


@dataclass(frozen=True)
class Sensor:
    """Refined poses of training cameras and exposures of their photos.

    Without parts it takes photos as they are given. Rows of its tables are numbers of
    `Camera.sensor`: one a photo, or one a camera of a rig that took many. It acts on training only:
    what is drawn for other cameras, or exported, is the scene in the mean exposure.
    """

    poses: Poses | None = None
    """Pose refinement; None: poses stay as given."""
    tone: Tones | None = None
    """Affine exposure of each photo; None: none."""
    grid: Grids | None = None
    """Bilateral grid of each photo, after `tone`; None: none."""
    parts: Mapping[str, TrainedModule] = field(default_factory=dict)
    """Its modules with their optimizers, by name."""
    each: str = "photo"
    """What has a row, in a word."""

    def aim(self, camera: Camera) -> Camera:
        """A training camera with its pose refined; differentiable."""
        if self.poses is None:
            return camera
        return replace(camera, world_to_camera=self.poses(camera.world_to_camera, camera.sensor))

    @property
    def idle(self) -> bool:
        """Whether it corrects nothing."""
        return not self.parts

    def seen_by(self, batch: Batch, camera: Camera) -> Batch:
        """A training view with the camera, as `aim` gave it, that its picture was drawn for."""
        return batch if self.idle else replace(batch, camera=camera.detached())

    def aimed(self, batch: Batch) -> Batch:
        """A training view with the pose of its camera refined."""
        return batch if self.poses is None else replace(batch, camera=self.aim(batch.camera))

    def developed(
        self, rendered: Rendered, camera: Camera, background: Float[Tensor, "3"] | None = None
    ) -> Rendered:
        """A picture as the photo of a training view would show it.

        A `background` that was given is in photos as it is, whatever their exposure.
        """
        if self.tone is None:
            return rendered
        image = self.tone(rendered.image, camera.sensor)
        if self.grid is not None:
            image = self.grid(image, camera.sensor)
        if background is not None:
            changed = mapped(background, self.tone.map(camera.sensor))
            image = image + (1 - rendered.alpha)[..., None] * (background - changed)
        return replace(rendered, image=image)

    def objectives(self) -> Mapping[str, Objective]:
        """Its terms of the loss."""
        terms: dict[str, Objective] = {}
        if self.poses is not None:
            terms["poses"] = PosePrior(self.poses, self._newton(POSES))
        if self.tone is not None:
            terms["exposure"] = TonePrior(self.tone, self._newton(TONE), *self.parts[TONE].rates)
        if self.grid is not None:
            terms["grid"] = Smooth(self.grid)
        return terms

    def _newton(self, part: str) -> Newton:
        optimizer = self.parts[part].optimizer
        assert isinstance(optimizer, Newton)
        return optimizer

    def text(self) -> str:
        """What it corrects, for people."""
        parts = []
        if self.tone is not None:
            parts.append(f"exposure ({(self.grid or self.tone).known_as})")
        if self.poses is not None:
            parts.append("pose")
        return f"learns {' and '.join(parts)} of each {self.each}"


def rows_for(cameras: Sequence[Camera]) -> int:
    """How many rows the tables have for training views, the cameras of all of them."""
    return max((camera.sensor + 1 for camera in cameras), default=0)


def each(cameras: Sequence[Camera]) -> str:
    """What has a row of its own, in a word."""
    return "camera" if rows_for(cameras) < len(cameras) else "photo"


def sensor_for(
    cameras: Sequence[Camera],
    steps: int,
    *,
    exposure: Exposure = "off",
    refine_poses: bool = False,
    gains: Float[Tensor, "v 3"] | None = None,
    device: torch.device | str = "cpu",
    at_once: int = 1,
) -> Sensor:
    """The sensor of a run of `steps`, by the cameras of its training views.

    `gains` are the exposures of rows as they were measured, to start from; a step shows so many
    photos `at_once`.
    """
    views = rows_for(cameras)
    parts: dict[str, Poses | Tones | Grids] = {}
    if refine_poses:
        parts[POSES] = poses = Poses(views)
    if exposure != "off":
        parts[TONE] = tone = Channels(views) if exposure == "channel" else Matrices(views)
        if gains is not None:
            tone.begin(gains)
    if exposure == "grid":
        parts[GRID] = grid = Grids(views)
    for part in parts.values():
        part.to(device)
    return Sensor(
        poses=poses if refine_poses else None,
        tone=None if exposure == "off" else tone,
        grid=grid if exposure == "grid" else None,
        parts={name: part.trained(steps, at_once) for name, part in parts.items()},
        each=each(cameras),
    )
