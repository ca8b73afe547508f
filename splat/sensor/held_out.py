"""Held-out photos, fitted before they are measured: on their left half, for their right one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from splat.evaluation.evaluate import HeldOutView
from splat.sensor.newton import downhill, huber_error
from splat.sensor.poses import FARTHEST, bend, exponential
from splat.sensor.tones import Map, fitted_tone, mapped
from splat.types import Batch, Camera, Gaussians, Needs, Rendered, Renderer

SMALL, FULL = 12, 6
"""Steps that look for a pose, on pictures of half the size and then on whole ones."""


@dataclass(frozen=True)
class HeldOutFit:
    """Held-out photos with their pose and exposure fitted on the left half.

    Neither its exposure nor the error of its pose can come from training. As is the custom since
    NeRF in the Wild (Martin-Brualla et al. 2021), they are fitted on the left half of the photo
    while the scene stays as it is; figures are of the right half.
    """

    gaussians: Callable[[Camera], Gaussians]
    render: Renderer
    background: Float[Tensor, "3"] | None
    exposure: bool
    """Whether exposures are fitted."""
    mixed: bool = False
    """Whether exposures are matrices, which mix channels."""
    pose: bool = False
    """Whether poses are fitted."""

    @property
    def text(self) -> str:
        """The protocol, in a sentence."""
        parts = [name for name, on in (("exposure", self.exposure), ("pose", self.pose)) if on]
        return (
            f"{' and '.join(parts)} of each held-out photo fitted on its left half,"
            " figures of its right half"
        )

    def __call__(self, batch: Batch) -> HeldOutView:
        camera = self._placed(batch) if self.pose else batch.camera
        with torch.no_grad():
            drawn = self.render(self._still(camera), camera, Needs(), self.background)
            tone = self._tone(drawn.image, batch)
        return HeldOutView(
            replace(batch, camera=camera),
            batch.camera.width // 2,
            lambda rendered: self._developed(rendered, tone),
        )

    @torch.enable_grad()
    def _placed(self, batch: Batch) -> Camera:
        """The camera at the best of several Newton steps on the mean error."""
        best = batch.camera.world_to_camera
        for photo, steps in ((half_size(batch), SMALL), (batch, FULL)):
            pose, least = best, torch.inf
            left = _left_half(photo)
            for _ in range(steps):
                twist = torch.zeros(6, device=self.render.device, requires_grad=True)
                camera = replace(photo.camera, world_to_camera=exponential(twist) @ pose)
                rendered = self.render(
                    self._still(camera), camera, Needs(depth=True), self.background
                )
                still = camera.detached()
                tone = self._tone(rendered.image.detach(), photo).to(rendered.image)
                rendered = replace(rendered, image=mapped(rendered.image, tone))
                assert left.mask is not None
                loss = (huber_error(rendered.image, photo.image) * left.mask).mean()
                if float(loss.detach()) < least:
                    least, best = float(loss.detach()), pose
                loss.backward()
                assert twist.grad is not None
                curvature = bend(rendered, replace(left, camera=still))
                pose = exponential(downhill(twist.grad, curvature, 1.0, 2 * FARTHEST)) @ pose
        return replace(batch.camera, world_to_camera=best)

    def _tone(self, image: Float[Tensor, "h w 3"], batch: Batch) -> Map:
        if not self.exposure:
            return torch.eye(3, 4, dtype=torch.float64, device=self.render.device)
        half = slice(None, batch.camera.width // 2)
        counts = None if batch.mask is None else batch.mask[:, half]
        return fitted_tone(image[:, half], batch.image[:, half], counts, mixed=self.mixed)

    @torch.no_grad()
    def _still(self, camera: Camera) -> Gaussians:
        return self.gaussians(camera.detached())

    def _developed(self, drawn: Rendered, tone: Map) -> Float[Tensor, "h w 3"]:
        image, alpha = drawn.image, drawn.alpha
        tone = tone.to(image)
        developed = mapped(image, tone)
        if self.background is None:
            return developed
        # What photos are laid over has no exposure.
        return developed + (1 - alpha)[..., None] * (
            self.background - mapped(self.background, tone)
        )


def undeveloped(batch: Batch, tone: Map) -> Batch:
    """A photo with its map of colours inverted, to 8 bits."""
    tone = tone.detach().double()
    back = torch.linalg.inv(tone[:, :3])
    values = (batch.image.double() - tone[:, 3]) @ back.T
    return replace(batch, pixels=values.clamp(0, 1).mul(255).round().to(torch.uint8))


def half_size(batch: Batch) -> Batch:
    """A photo and its mask at half their size."""
    camera = batch.camera.resized(max(1, batch.camera.width // 2), max(1, batch.camera.height // 2))
    size = (camera.width, camera.height)
    pixels = cv2.resize(batch.pixels.cpu().numpy(), size, interpolation=cv2.INTER_AREA)
    mask = None
    if batch.mask is not None:
        whole = cv2.resize(
            batch.mask.cpu().numpy() * np.uint8(255), size, interpolation=cv2.INTER_AREA
        )
        mask = torch.from_numpy((whole == 255).astype(np.uint8)).to(batch.pixels.device)
    small = torch.from_numpy(np.asarray(pixels)).to(batch.pixels.device)
    return Batch(camera, small, mask, batch.name, 2 * batch.shrink)


def _left_half(batch: Batch) -> Batch:
    """The photo with a mask in which only the left half counts."""
    mask = torch.ones_like(batch.pixels[..., 0]) if batch.mask is None else batch.mask.clone()
    mask[:, batch.camera.width // 2 :] = 0
    return replace(batch, mask=mask)
