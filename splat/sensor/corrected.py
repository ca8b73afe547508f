"""Training photos with the learned poses and exposures applied, for training without a sensor."""

from __future__ import annotations

from dataclasses import replace

import torch

from splat.photos.loader import Loader
from splat.sensor.held_out import undeveloped
from splat.sensor.sensor import Sensor
from splat.types import Batch


class Corrected:
    """A loader's batches with learned poses, brought to the mean exposure."""

    def __init__(self, photos: Loader, sensor: Sensor) -> None:
        self._photos, self._sensor = photos, sensor
        with torch.no_grad():
            self.cameras = tuple(sensor.aim(camera) for camera in photos.cameras)
            """Cameras of all views at full size, in the frame of training."""

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        return self._corrected(self._photos(step))

    def batch_at(self, index: int, step: int) -> Batch:
        """View `index`, at the size that a step shows."""
        return self._corrected(self._photos.batch_at(index, step))

    @torch.no_grad()
    def _corrected(self, batch: Batch) -> Batch:
        sensor = self._sensor
        if sensor.tone is not None:
            batch = undeveloped(batch, sensor.tone.map(batch.camera.sensor))
        return replace(batch, camera=sensor.aim(batch.camera))
