"""`Distilled`: score distillation, a term of the loss that a teacher's noise makes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splat.core.objective import Objective
from splat.core.step import Step
from splat.dream.teacher import Teacher
from splat.system.ranges import above, at_least, check_fields, within
from splat.types import Camera, Needs, Rendered


@dataclass(frozen=True)
class Ball:
    """What a thing lies in, units of training."""

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    radius: float = 0.87
    """Of the cube from -0.5 to 0.5, its corners."""


def nearness(rendered: Rendered, camera: Camera, ball: Ball) -> Float[Tensor, "h w"]:
    """The sum over Gaussians of blending weight times (far - z) / (far - near): 0 where nothing is
    drawn and at the far end of the ball, 1 at its near end; it needs `Needs(depth=True)`."""
    assert rendered.depth is not None
    place = torch.tensor((*ball.centre, 1.0), dtype=torch.float64)
    middle = float(camera.world_to_camera.double().cpu()[2] @ place)
    return rendered.alpha * (middle + ball.radius - rendered.depth) / (2 * ball.radius)


@dataclass(frozen=True)
class Distilled(Objective):
    """Score distillation (DreamFusion, Poole et al. 2023): the gradient with respect to the latent
    z of what is drawn is weight * mean of w (e0 + scale (e1 - e0) - e), w = 1 - abar.

    e is noise, e1 and e0 are the noise that the teacher sees in z_t with the text and `instead`.
    Times are even between `least` and an upper end that falls from `most` to `last` over the steps:
    what is large comes first, what is fine last. The value of the term is half the mean square of
    that gradient, which tells how much there is to correct, and is no loss that falls for certain.

    With `rows` "free" a second picture is drawn, of the Gaussians of rows that are not held
    (`Cloud.hold`), over the teacher's background.
    """

    teacher: Teacher = field(compare=False, repr=False)
    text: str
    instead: str = ""
    """What is said away from; empty: what is said without a text."""
    scale: Annotated[float, at_least(0)] = 10.0
    weight: Annotated[float, above(0)] = 1.0
    steps: Annotated[int, at_least(1)] = 1000
    """Steps of the run, over which times fall."""
    least: Annotated[float, within(0, 1, low_open=True, high_open=True)] = 0.02
    most: Annotated[float, within(0, 1, low_open=True, high_open=True)] = 0.98
    last: Annotated[float, within(0, 1, low_open=True, high_open=True)] = 0.5
    rows: Literal["all", "free"] = "all"
    ball: Ball = Ball()
    """What nearness is measured in."""
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """What is up in the scene, of unit length; the teacher is told of cameras as if it were z."""
    purpose: str = "distilled"
    """Name of its random stream: two such terms of a run have noise of their own."""

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.least <= min(self.most, self.last):
            raise ValueError(
                f"times are from {self.least:g} up to {self.most:g} and in the end {self.last:g};"
                " expected ends that are not below the beginning"
            )
        self.teacher.read(self.text), self.teacher.read(self.instead)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        return Needs(depth=self.teacher.channels == 4)

    def upper(self, step: int) -> float:
        """The latest time of a step."""
        done = min(step / self.steps, 1.0)
        return self.most + (self.last - self.most) * done

    def __call__(self, step: Step) -> Float[Tensor, ""]:
        camera, rendered = step.batch.camera, step.rendered
        if self.rows == "free":
            rendered = self._free(step)
        latent = self.teacher.latent(self._picture(rendered, camera))
        with torch.no_grad():
            wanted = latent - self.direction(latent, step, camera)
        # Half a square to something fixed has what is between the two as its gradient.
        return self.weight * 0.5 * (latent - wanted).square().mean()

    @torch.no_grad()
    def direction(self, latent: Tensor, step: Step, camera: Camera) -> Tensor:
        """w (e0 + scale (e1 - e0) - e), for a time and noise of the step's."""
        draw = step.generator(self.purpose)
        device = latent.device
        chance = float(torch.rand((), generator=draw, device=device))
        time = self.least + (self.upper(step.number) - self.least) * chance
        noise = torch.randn(latent.shape, generator=draw, device=device, dtype=latent.dtype)
        signal = self.teacher.signal(time)
        noisy = signal**0.5 * latent + (1 - signal) ** 0.5 * noise
        texts = (self.text, self.instead)
        said, free = self.teacher.noise(noisy, time, texts, upright(camera, self.up))
        away: Tensor = free + self.scale * (said - free)
        return (1 - signal) * (away - noise)

    def _picture(self, rendered: Rendered, camera: Camera) -> Float[Tensor, "c h w"]:
        size = self.teacher.size
        if rendered.image.shape[:2] != (size, size):
            height, width = rendered.image.shape[:2]
            raise ValueError(
                f"the teacher looks at pictures of {size}x{size} pixels, and those of this run have"
                f" {width}x{height}; draw them at its size"
            )
        picture = rendered.image.permute(2, 0, 1)
        if self.teacher.channels == 3:
            return picture
        near = nearness(rendered, camera, self.ball)
        return torch.cat([picture, near[None]])

    def _free(self, step: Step) -> Rendered:
        """A picture of the rows that are not held."""
        gaussians, held = step.rendered.gaussians, step.model.cloud.held
        if held is not None:
            gaussians = gaussians.take(free_slots(~held, gaussians.source, step.model.slots))
        behind = torch.tensor(self.teacher.background, device=gaussians.means.device)
        return step.render(gaussians, step.batch.camera, self.needs, behind)


def upright(camera: Camera, up: tuple[float, float, float]) -> Camera:
    """A camera in the world turned, by the shortest way, so that `up` is z."""
    x, y, z = up
    if z > 1 - 1e-9:
        return camera
    # About the cross product of up and z, (y, -x, 0); half around x where up is -z.
    cross = torch.tensor([[0, 0, -x], [0, 0, -y], [x, y, 0]], dtype=torch.float64)
    turn = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    if z > -1 + 1e-9:
        turn = torch.eye(3, dtype=torch.float64) + cross + cross @ cross / (1 + z)
    matrix = camera.world_to_camera.clone()
    matrix[:3, :3] = (matrix[:3, :3].double().cpu() @ turn.T).to(matrix)
    return replace(camera, world_to_camera=matrix)


def free_slots(free: Bool[Tensor, "rows"], source: Tensor | None, slots: int) -> Bool[Tensor, "n"]:
    """Which Gaussians are of the rows that are free."""
    return free if source is None else free[source // slots]
