"""Training photos with the learned poses and exposures applied, for training without a sensor."""

from __future__ import annotations

from dataclasses import replace

import torch

from splat.photos.loader import Loader
from splat.sensor.held_out import undeveloped
from splat.sensor.sensor import Sensor
from splat.sensor.tones import Map
from splat.types import Batch


class Corrected:
    """A loader's batches with learned poses, brought to one exposure."""

    def __init__(self, photos: Loader, sensor: Sensor, shown: Map | None = None) -> None:
        """`shown` is the map of that exposure; None: the mean one."""
        self._photos, self._sensor, self._shown = photos, sensor, shown
        with torch.no_grad():
            self.cameras = tuple(sensor.aim(camera) for camera in photos.cameras)
            """Cameras of all views at full size, in the frame of training."""

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        return self._corrected(self._photos(step))

    def batch(self, index: int) -> Batch:
        """View `index`, at full size."""
        return self._corrected(self._photos.batch(index))

    def batch_at(self, index: int, step: int) -> Batch:
        """View `index`, at the size that a step shows."""
        return self._corrected(self._photos.batch_at(index, step))

    @torch.no_grad()
    def _corrected(self, batch: Batch) -> Batch:
        sensor = self._sensor
        if sensor.tone is not None:
            tone = sensor.tone.map(batch.camera.sensor)
            batch = undeveloped(batch, tone if self._shown is None else _after(tone, self._shown))
        return replace(batch, camera=sensor.aim(batch.camera))


def _after(tone: Map, shown: Map) -> Map:
    """The map of a photo for colours that were mapped as `shown` says already."""
    mixed = tone[:, :3] @ torch.linalg.inv(shown[:, :3].to(tone))
    return torch.cat([mixed, (tone[:, 3] - mixed @ shown[:, 3].to(tone))[:, None]], 1)
